"""Who is written to next, and what may wait for all readers together."""

from bettensor.bus.identifiers import Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage
from bettensor.neurons.edges.outlet import Outlet
from bettensor.neurons.edges.shared_frames import Frames, SharedFrame
from tests.support import NETUID

UPDATE = GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(2), updated_games={})


def frames(*sizes: int) -> Frames:
    made = tuple(SharedFrame(lambda size=size: (UPDATE, b"x" * size)) for size in sizes)  # type: ignore[misc]
    for frame in made:
        frame.make()
    return made


class Reader:
    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.waits: list[Frames] = []
        self.given_up: list[str] = []

    def wait(self, waiting: Frames) -> None:
        self.waits.append(waiting)
        self.outlet.hold(waiting, self)

    def give_up(self, reason: str) -> None:
        self.given_up.append(reason)
        for waiting in self.waits:
            self.outlet.release(waiting, self)


def test_the_readers_of_the_oldest_frames_are_given_up_when_too_much_waits() -> None:
    outlet = Outlet(1000)
    readers = [Reader(outlet) for _ in range(4)]
    old, newer, newest = frames(200, 200), frames(600), frames(100)
    readers[0].wait(old)
    readers[1].wait(old)
    readers[2].wait(newer)
    assert not any(reader.given_up for reader in readers)
    readers[3].wait(newest)
    assert [bool(reader.given_up) for reader in readers] == [True, True, False, False]
    assert readers[0].given_up == ["more than 1000 bytes wait to be read, and these the longest"]


def test_frames_count_once_however_many_wait_for_them() -> None:
    outlet = Outlet(1000)
    readers = [Reader(outlet) for _ in range(50)]
    for reader in readers:
        reader.wait(frames(0))
        reader.wait(SHARED)
    assert not any(reader.given_up for reader in readers)


SHARED = frames(900)


def test_what_was_sent_counts_no_longer() -> None:
    outlet = Outlet(1000)
    first, second = Reader(outlet), Reader(outlet)
    for _ in range(20):
        sent = frames(900)
        outlet.hold(sent, first)
        outlet.release(sent, first)
    second.wait(frames(900))
    outlet.release(sent, first)  # once more
    assert not first.given_up + second.given_up


def test_frames_that_are_too_large_alone_may_wait_all_the_same() -> None:
    outlet = Outlet(1000)
    reader = Reader(outlet)
    reader.wait(frames(5000))
    assert not reader.given_up


def test_no_frames_are_nothing_to_wait_for() -> None:
    outlet = Outlet(10)
    first, second = Reader(outlet), Reader(outlet)
    first.wait(())
    second.wait(frames(50))
    assert not first.given_up + second.given_up
