"""Who has to leave a port when there is no room: the oldest stranger."""

import sys
from typing import Any

import pytest

from bettensor.actors.settings import PortLimits
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.edges import crowd as crowd_module
from bettensor.neurons.edges.crowd import Crowd, Room, Strangers, files_for, room_of


class Caller:
    """A connection, as the crowd sees it."""

    def __init__(self, crowd: Any = None) -> None:
        self.crowd = crowd
        self.is_here = True

    def abort(self) -> None:
        self.is_here = False
        if self.crowd is not None:
            self.crowd.leave(self)


class Told:
    """Those who have to leave, as the operator hears of them."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, str]] = []

    def __call__(self, limit: str, most: int, network: str) -> None:
        self.told.append((limit, most, network))


class Bench:
    """A crowd with room for five, and for three strangers of them."""

    def __init__(self, **changes: int) -> None:
        room = Room(
            connections=5,
            strangers=3,
            strangers_per_network=2,
            connections_per_hotkey=2,
            handshakes=1,
            handshakes_per_network=1,
            unadmitted_bytes=100,
        )
        self.told = Told()
        self.crowd = Crowd(room._replace(**changes), self.told)

    def come(self, remote: str) -> Caller:
        caller = Caller(self.crowd)
        self.crowd.enter(caller, remote)
        return caller

    def prove(self, hotkey: str, remote: str) -> Caller:
        caller = self.come(remote)
        self.crowd.recognise(caller, Hotkey(hotkey))
        return caller

    def limits(self) -> list[str]:
        return [limit for limit, _, _ in self.told.told]


# --- strangers


def test_the_oldest_leaves_if_there_is_no_room_and_none_if_there_is() -> None:
    told = Told()
    strangers = Strangers("strangers", 3, 3, told)
    guests = [Caller() for _ in range(5)]
    for number, guest in enumerate(guests):
        strangers.enter(guest, f"198.51.100.{number}")
    assert [guest.is_here for guest in guests] == [False, False, True, True, True]
    assert told.told == [("strangers", 3, "198.51.100.0"), ("strangers", 3, "198.51.100.1")]
    assert len(strangers) == 3
    strangers.leave(guests[2])
    strangers.leave(guests[2])
    assert guests[2] not in strangers
    strangers.enter(Caller(), "203.0.113.1")
    assert len(told.told) == 2


def test_a_network_with_many_makes_room_for_itself() -> None:
    told = Told()
    strangers = Strangers("handshakes", 10, 2, told)
    old, one, two, three = (Caller() for _ in range(4))
    strangers.enter(old, "203.0.113.1")
    for guest in (one, two, three):
        strangers.enter(guest, "198.51.100.1")
    assert [guest.is_here for guest in (old, one, two, three)] == [True, False, True, True]
    assert told.told == [("handshakes_per_network", 2, "198.51.100.1")]
    strangers.leave(two)
    strangers.enter(Caller(), "198.51.100.1")
    assert len(told.told) == 1


def test_a_preferred_guest_leaves_after_all_others_except_for_its_own_network() -> None:
    strangers = Strangers("strangers", 3, 2, Told())
    first, second, other = Caller(), Caller(), Caller()
    strangers.enter(first, "203.0.113.1", preferred=True)
    strangers.enter(second, "203.0.113.1", preferred=True)
    strangers.enter(other, "198.51.100.1")
    strangers.enter(Caller(), "198.51.100.2")
    assert [guest.is_here for guest in (first, second, other)] == [True, True, False]
    strangers.enter(Caller(), "203.0.113.1", preferred=True)
    assert [guest.is_here for guest in (first, second)] == [False, True]


# --- the whole crowd


def test_all_addresses_of_64_bits_are_one_network() -> None:
    bench = Bench()
    callers = [bench.come(f"2001:db8:0:1::{number}") for number in range(4)]
    assert [caller.is_here for caller in callers] == [False, False, True, True]
    assert bench.told.told[0] == ("strangers_per_network", 2, "2001:db8:0:1::/64")


def test_who_has_proven_a_hotkey_leaves_for_no_stranger() -> None:
    bench = Bench(connections=100)
    friend = bench.prove("one", "203.0.113.1")
    for number in range(20):
        bench.come(f"198.51.100.{number}")
    assert friend.is_here
    assert len(bench.crowd) == 4


def test_in_a_storm_who_comes_from_where_a_hotkey_was_proven_stays_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd_module, "MAX_HOMES", 2)
    bench = Bench(connections=100)
    for hotkey, remote in (("one", "203.0.113.1"), ("one", "203.0.113.2"), ("two", "203.0.113.3")):
        bench.crowd.leave(bench.prove(hotkey, remote))  # the first has moved
    former, moved, other = (bench.come(f"203.0.113.{number}") for number in (1, 2, 3))
    for number in range(9):
        bench.come(f"198.51.100.{number}")
    assert [caller.is_here for caller in (former, moved, other)] == [False, True, True]
    bench.crowd.leave(bench.prove("three", "203.0.113.4"))  # of too many, the one not seen for longest is forgotten
    bench.crowd.leave(moved)
    again = bench.come("203.0.113.2")
    bench.come("198.51.100.1")
    bench.come("198.51.100.2")
    assert (again.is_here, other.is_here) == (False, True)


def test_two_hotkeys_of_one_address_keep_it_known_until_both_have_moved() -> None:
    bench = Bench(connections=100)
    for hotkey, remote in (("one", "203.0.113.1"), ("two", "203.0.113.1"), ("one", "203.0.113.2")):
        bench.crowd.leave(bench.prove(hotkey, remote))
    caller = bench.come("203.0.113.1")
    for number in range(9):
        bench.come(f"198.51.100.{number}")
    assert caller.is_here


def test_of_the_connections_of_one_hotkey_the_oldest_leaves() -> None:
    bench = Bench()
    first, second, third = (bench.prove("one", "203.0.113.1") for _ in range(3))
    other = bench.prove("two", "203.0.113.1")
    assert [caller.is_here for caller in (first, second, third, other)] == [False, True, True, True]
    assert bench.limits() == ["connections_per_hotkey"]
    bench.crowd.recognise(third, Hotkey("one"))  # again, by its next request
    assert second.is_here


def test_when_no_file_is_left_strangers_leave_first_then_the_known_and_sessions_never() -> None:
    bench = Bench(strangers=2, connections_per_hotkey=9)
    sessions = [bench.prove("one", "203.0.113.1") for _ in range(3)]
    for session in sessions:
        assert bench.crowd.may_begin_session(session)
        bench.crowd.begin_session(session)
    known, stranger = bench.prove("two", "203.0.113.2"), bench.come("198.51.100.1")
    assert bench.crowd.may_begin_session(known) is False  # strangers keep their room
    newcomer = bench.come("198.51.100.2")
    assert [caller.is_here for caller in (known, stranger, newcomer)] == [True, False, True]
    bench.crowd.recognise(newcomer, Hotkey("three"))
    last = bench.come("198.51.100.3")
    assert [caller.is_here for caller in (known, newcomer, last)] == [False, True, True]
    for caller in (newcomer, last):
        bench.crowd.begin_session(caller)
    late = bench.come("198.51.100.4")
    assert not late.is_here
    assert all(session.is_here for session in sessions)
    assert bench.limits() == ["connections"] * 4
    bench.crowd.leave(sessions[0])
    assert bench.come("198.51.100.4").is_here


def test_who_makes_us_hold_bytes_for_longest_leaves_if_they_are_too_many() -> None:
    bench = Bench()
    first, second, third = (bench.come(f"198.51.100.{number}") for number in range(3))
    bench.crowd.hold(second, 40)
    bench.crowd.hold(first, 60)
    bench.crowd.hold(second, 40)
    assert bench.limits() == []
    bench.crowd.hold(second, 41)
    assert [caller.is_here for caller in (first, second, third)] == [True, False, True]
    assert bench.told.told == [("unadmitted_bytes", 100, "198.51.100.1")]
    bench.crowd.hold(third, 40)
    bench.crowd.release(first)
    bench.crowd.hold(third, 100)
    assert third.is_here


def test_bytes_of_who_has_proven_a_hotkey_or_left_count_no_more() -> None:
    bench = Bench()
    friend, leaving, staying = (bench.come(f"198.51.100.{number}") for number in range(3))
    bench.crowd.hold(friend, 50)
    bench.crowd.recognise(friend, Hotkey("one"))
    bench.crowd.hold(friend, 1000)
    bench.crowd.hold(leaving, 50)
    bench.crowd.leave(leaving)
    bench.crowd.hold(staying, 100)
    bench.crowd.hold(leaving, 1000)
    assert bench.limits() == []


def test_who_has_left_is_neither_recognised_nor_has_a_session() -> None:
    bench = Bench()
    gone = bench.come("198.51.100.1")
    bench.crowd.leave(gone)
    bench.crowd.leave(gone)
    bench.crowd.recognise(gone, Hotkey("one"))
    bench.crowd.begin_session(gone)
    assert len(bench.crowd) == 0


# --- behind a proxy


def test_behind_a_proxy_each_counts_for_himself_from_when_he_is_named() -> None:
    bench = Bench()
    first, second = bench.come("10.0.0.1 1"), bench.come("10.0.0.1 2")
    for caller in (first, second):
        bench.crowd.move(caller, "203.0.113.7")
    third = bench.come("10.0.0.1 3")
    bench.crowd.move(third, "203.0.113.7")
    assert [caller.is_here for caller in (first, second, third)] == [False, True, True]
    assert bench.told.told == [("strangers_per_network", 2, "203.0.113.7")]
    bench.crowd.move(second, "203.0.113.8")
    bench.crowd.move(bench.come("10.0.0.1 4"), "203.0.113.7")
    assert second.is_here
    bench.crowd.move(first, "203.0.113.9")  # who has left is nowhere
    assert len(bench.crowd) == 3


def test_whoever_comes_next_on_a_connection_of_a_proxy_is_a_stranger_with_all_that_he_holds() -> None:
    bench = Bench()
    moving = bench.prove("one", "203.0.113.7")
    bench.crowd.move(moving, "203.0.113.7")
    bench.crowd.hold(moving, 1000)  # the same peer: known
    assert bench.limits() == []
    bench.crowd.move(moving, "203.0.113.8")
    bench.crowd.hold(moving, 60)
    bench.crowd.move(moving, "203.0.113.9")
    bench.crowd.hold(bench.come("198.51.100.1"), 50)
    assert not moving.is_here
    assert bench.told.told == [("unadmitted_bytes", 100, "203.0.113.9")]


# --- how many there may be


def test_limits_follow_from_the_open_files() -> None:
    room = room_of(PortLimits(), 1024)
    assert room[:3] == (720, 192, 96)
    assert room.connections + room.handshakes + crowd_module.SPARE_FILES <= 1024
    large = room_of(PortLimits(), sys.maxsize)
    assert (large.strangers, large.strangers_per_network, large.handshakes) == (1024, 256, 256)
    assert large.handshakes_per_network == 64


def test_what_is_configured_holds_but_for_more_connections_than_files() -> None:
    limits = PortLimits(connections=10**6, strangers=7, strangers_per_network=5, handshakes=3, handshakes_per_network=2)
    room = room_of(limits, 1024)
    assert room[1:3] == (7, 5)
    assert room[4:6] == (3, 2)
    assert room.connections == 1024 - crowd_module.SPARE_FILES - 3
    assert room_of(PortLimits(connections=9), 1024).connections == 9


@pytest.mark.parametrize("connections", [2, 9, 100, 10**6])
def test_of_few_connections_a_quarter_is_for_strangers(connections: int) -> None:
    room = room_of(PortLimits(connections=connections), 65536)
    assert room.strangers == min(1024, max(1, connections // 4)) < room.connections


@pytest.mark.parametrize("limits", [PortLimits(), PortLimits(strangers=50), PortLimits(handshakes=7)])
def test_the_files_that_are_asked_for_suffice(limits: PortLimits) -> None:
    for sessions in (1, 64, 4096):
        room = room_of(limits, files_for(limits, sessions))
        assert room.connections - room.strangers >= sessions
        assert room.strangers == (limits.strangers or 1024)


def test_there_is_some_room_however_few_files_there_are() -> None:
    assert min(room_of(PortLimits(), 0)) >= 16
