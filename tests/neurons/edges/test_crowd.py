"""Who has to leave a port when there is no room: the oldest stranger."""

from bettensor.neurons.edges.crowd import Strangers


class Caller:
    """A connection, as the crowd sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_here = True

    def __repr__(self) -> str:
        return self.name

    def abort(self) -> None:
        self.is_here = False


def test_the_oldest_leaves_if_there_is_no_room_and_none_if_there_is() -> None:
    strangers = Strangers(3, 3)
    guests = [Caller(str(number)) for number in range(5)]
    leaving = [strangers.enter(guest, f"198.51.100.{guest}") for guest in guests]
    assert leaving == [None, None, None, guests[0], guests[1]]
    assert len(strangers) == 3
    strangers.leave(guests[2])
    strangers.leave(guests[2])
    assert guests[2] not in strangers
    assert strangers.enter(Caller("5"), "203.0.113.1") is None
    assert strangers.oldest() is guests[3]


def test_a_network_with_many_makes_room_for_itself() -> None:
    strangers = Strangers(10, 2)
    old, one, two, three = (Caller(name) for name in ("old", "one", "two", "three"))
    assert strangers.enter(old, "203.0.113.1") is None
    assert [strangers.enter(guest, "198.51.100.1") for guest in (one, two, three)] == [None, None, one]
    strangers.leave(two)
    assert strangers.enter(Caller("four"), "198.51.100.1") is None


def test_a_preferred_guest_leaves_after_all_others_except_for_its_own_network() -> None:
    strangers = Strangers(3, 2)
    first, second, other = Caller("first"), Caller("second"), Caller("other")
    strangers.enter(first, "203.0.113.1", preferred=True)
    strangers.enter(second, "203.0.113.1", preferred=True)
    strangers.enter(other, "198.51.100.1")
    assert strangers.enter(Caller("another"), "198.51.100.2") is other
    assert strangers.enter(Caller("third"), "203.0.113.1", preferred=True) is first
    assert strangers.oldest() is not second


def test_nobody_is_the_oldest_of_none() -> None:
    assert Strangers(1, 1).oldest() is None
