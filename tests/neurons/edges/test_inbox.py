"""Frames of many sessions in one turn of the event loop: whose are taken, in which order, and how many."""

import asyncio

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import BinaryReceived, ConnectionClosed, FrameReceived, RequestBodyReceived, UnsignedReceived
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import MAX_PREDICTIONS
from bettensor.neurons.edges.inbox import (
    LIGHT_LATELY,
    MAX_HEAVY_ALONE,
    MAX_LIGHT,
    MAX_OF_ONE,
    MAX_PAUSE,
    MAX_TOGETHER,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    PAUSE,
    Heard,
    Inbox,
    weight_of,
)
from bettensor.neurons.simulation import EventLog

ONE, TWO, THREE, FOUR = (ConnectionId(number) for number in (1, 2, 3, 4))
TOOK = 0.004
"""Seconds of a heavy frame, on the bench's clock."""
LIGHT, HEAVY = b"{{}}", b"{" + b"{}" * 64 + b"}"


class Bench(EventLog):
    def __init__(self) -> None:
        super().__init__()
        self.bus = EventBus(ManualClock(), record=self.append)
        self.seconds = 0.0
        self.inbox = Inbox(self.bus, lambda: self.seconds)
        self.together: list[list[int]] = []
        """Whose events were on the bus already whenever one was heard."""
        self.bus.subscribe("*", lambda *_: self.together.append(self.connections()), "test")

    def put(self, connection: ConnectionId, *frames: bytes) -> None:
        for data in frames:
            self.inbox.put(FrameReceived(connection, data))

    def connections(self) -> list[int]:
        return [envelope.event.connection for envelope in self.envelopes]  # type: ignore[attr-defined]

    def data(self) -> list[bytes]:
        return [event.data for event in self.all(FrameReceived)]

    async def turn(self) -> list[int]:
        """Whose events one turn of the event loop takes."""
        before = len(self.envelopes)
        await asyncio.sleep(0)
        return self.connections()[before:]

    async def until(self, count: int) -> None:
        """Wait until so many events were taken, by a timer of the loop."""
        async with asyncio.timeout(30):
            while len(self.envelopes) < count:  # noqa: ASYNC110 - the timer has no event
                await asyncio.sleep(0.001)

    async def all_turns(self) -> list[list[int]]:
        """The same of all turns, until nothing is taken."""
        turns = []
        while taken := await self.turn():
            turns.append(taken)
        return turns


class Reader:
    """A session that waits."""

    def __init__(self) -> None:
        self.calls = 0

    def go_on(self) -> None:
        self.calls += 1


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_what_comes_in_one_turn_is_on_the_bus_before_any_of_it_is_heard(bench: Bench) -> None:
    bench.put(ONE, LIGHT, LIGHT)
    bench.put(TWO, LIGHT)
    assert not bench.envelopes
    await asyncio.sleep(0)
    assert bench.together == [[1, 1, 2]] * 3
    bench.put(THREE, LIGHT)
    await asyncio.sleep(0)
    assert bench.together[3:] == [[1, 1, 2, 3]]


async def test_of_each_session_a_few_and_then_of_each_some_more(bench: Bench) -> None:
    bench.put(ONE, *[LIGHT] * 2 * MAX_OF_ONE)
    bench.put(TWO, *[LIGHT] * 2)
    bench.put(THREE, LIGHT, HEAVY, LIGHT)
    assert await bench.all_turns() == [[*[1] * MAX_OF_ONE, 2, 2, 3, 3], [*[1] * MAX_OF_ONE, 3]]


async def test_frames_of_one_session_keep_their_order_and_its_end_comes_last(bench: Bench) -> None:
    said: list[Heard] = [
        FrameReceived(ONE, LIGHT),
        FrameReceived(ONE, HEAVY),
        BinaryReceived(ONE, 5),
        UnsignedReceived(ONE, 7, b"x"),
        FrameReceived(ONE, HEAVY),
        FrameReceived(ONE, LIGHT),
    ]
    for event in said:
        bench.inbox.put(event)
    closed = ConnectionClosed(ONE, 1000, "")
    bench.inbox.end(closed)
    await bench.all_turns()
    assert [envelope.event for envelope in bench.envelopes] == [*said, closed]


async def test_a_turn_takes_no_more_than_so_many_light_frames_of_one_session(bench: Bench) -> None:
    bench.put(ONE, *[LIGHT] * (MAX_OF_ONE + 1))
    bench.put(TWO, LIGHT)
    assert await bench.all_turns() == [[*[1] * MAX_OF_ONE, 2], [1]]


async def test_a_turn_takes_no_more_than_so_many_light_frames_of_all(bench: Bench) -> None:
    for number in range(MAX_TOGETHER + 1):
        bench.put(ConnectionId(number), LIGHT)
    bench.put(ConnectionId(0), *[LIGHT] * MAX_OF_ONE)
    turns = await bench.all_turns()
    assert [len(taken) for taken in turns] == [MAX_TOGETHER, MAX_OF_ONE + 1]
    assert turns[1][0] == MAX_TOGETHER - MAX_OF_ONE + 1  # the first that had no turn


async def test_light_frames_of_several_predictions_count_by_these(bench: Bench) -> None:
    for number in range(MAX_TOGETHER):
        bench.put(ConnectionId(number), b"{" + b"{}" * MAX_LIGHT + b"}")
    assert await bench.turn() == list(range(MAX_TOGETHER // MAX_LIGHT))


async def test_of_heavy_frames_a_turn_takes_one_and_all_light_ones_before_it(bench: Bench) -> None:
    bench.put(ONE, HEAVY, HEAVY)
    bench.put(TWO, HEAVY, HEAVY)
    bench.put(THREE, LIGHT, LIGHT)
    assert await bench.all_turns() == [[3, 3, 1], [2], [1], [2]]


async def test_a_turn_takes_as_many_heavy_frames_as_weigh_as_much_as_one_full_one(bench: Bench) -> None:
    ten = b"{" + b"{}" * 10 + b"}"
    for others in ([], [4]):
        bench.put(ONE, *[ten] * 5)
        bench.put(TWO, *[ten] * 3)
        bench.put(THREE, HEAVY)
        for connection in others:
            bench.put(ConnectionId(connection), LIGHT)
        turns = await bench.all_turns()
        assert turns == ([[4, 1, 2], [3], [1, 2, 1, 2, 1, 1]] if others else [[1, 2, 3, 1, 2, 1, 2, 1, 1]])


async def test_while_light_frames_come_heavy_ones_leave_time_for_them(bench: Bench) -> None:
    def take_time(event: FrameReceived, _: object) -> None:
        bench.seconds += TOOK if event.data == HEAVY else 0.0

    bench.bus.subscribe(FrameReceived, take_time, "slow")
    alone = MAX_HEAVY_ALONE // MAX_PREDICTIONS
    bench.put(ONE, *[HEAVY] * 2 * alone)
    assert await bench.all_turns() == [[1] * alone] * 2  # there is nobody else
    bench.put(ONE, HEAVY, HEAVY, HEAVY)
    bench.put(TWO, LIGHT)
    assert await bench.turn() == [2, 1]
    assert await bench.turn() == []
    bench.put(TWO, LIGHT)
    assert await bench.turn() == [2]
    await asyncio.sleep(4 * TOOK)  # the loop looks at the clock again
    assert await bench.turn() == []
    bench.seconds += (PAUSE + 1) * TOOK
    await bench.until(2 * alone + 4)
    bench.seconds += LIGHT_LATELY
    await bench.until(2 * alone + 5)


async def test_a_turn_that_took_very_long_delays_heavy_frames_no_longer_than_others(bench: Bench) -> None:
    def take_time(event: FrameReceived, _: object) -> None:
        bench.seconds += 60.0 if event.data == HEAVY else 0.0

    bench.bus.subscribe(FrameReceived, take_time, "slow")
    bench.put(TWO, LIGHT)
    bench.put(ONE, HEAVY, HEAVY)
    assert await bench.turn() == [2, 1]
    assert await bench.turn() == []
    bench.seconds += 2 * MAX_PAUSE
    await bench.until(3)


async def test_a_body_takes_its_turn_like_a_frame_and_may_be_dropped(bench: Bench) -> None:
    bench.put(ONE, HEAVY)
    bench.inbox.put(RequestBodyReceived(TWO, HEAVY))
    bench.inbox.put(RequestBodyReceived(THREE, HEAVY))
    bench.inbox.put(RequestBodyReceived(FOUR, LIGHT))
    bench.inbox.drop(TWO)
    assert await bench.all_turns() == [[4, 1], [3]]


async def test_what_is_held_back_comes_when_it_is_released(bench: Bench) -> None:
    bench.put(ONE, LIGHT)
    bench.inbox.hold(ONE)
    bench.put(ONE, LIGHT)
    bench.put(TWO, LIGHT)
    assert await bench.all_turns() == [[2]]
    bench.inbox.release(ONE)
    bench.inbox.release(ONE)
    assert await bench.all_turns() == [[1, 1]]
    bench.inbox.release(ONE)  # nothing waits
    bench.inbox.hold(ONE)
    bench.inbox.release(ONE)
    bench.put(ONE, LIGHT)
    assert await bench.all_turns() == [[1]]


async def test_a_session_that_is_held_and_released_at_once_has_one_turn_like_the_others(bench: Bench) -> None:
    bench.put(ONE, *[LIGHT] * 3)
    bench.put(TWO, *[LIGHT] * 3)
    bench.inbox.hold(ONE)
    bench.inbox.release(ONE)
    assert await bench.all_turns() == [[1, 1, 1, 2, 2, 2]]


async def test_what_is_held_back_is_dropped_at_the_end_of_its_session(bench: Bench) -> None:
    bench.put(ONE, LIGHT)
    bench.inbox.hold(ONE)
    bench.inbox.end(ConnectionClosed(ONE, 1006, ""))
    await bench.all_turns()
    assert [envelope.event for envelope in bench.envelopes] == [ConnectionClosed(ONE, 1006, "")]


async def test_what_is_dropped_never_comes(bench: Bench) -> None:
    for data in (LIGHT, HEAVY):
        bench.put(ONE, data)
        bench.inbox.drop(ONE)
        bench.put(TWO, LIGHT)
        assert await bench.all_turns() == [[2]]
    bench.inbox.drop(ONE)


@pytest.mark.parametrize("frames", [[LIGHT] * MAX_WAITING, [b"x" * MAX_WAITING_BYTES]], ids=["frames", "bytes"])
async def test_a_session_of_which_too_much_waits_is_called_when_less_does(bench: Bench, frames: list[bytes]) -> None:
    bench.put(ONE, *frames[:-1])
    assert not bench.inbox.is_full(ONE)
    bench.put(ONE, frames[-1])
    assert bench.inbox.is_full(ONE)
    assert not bench.inbox.is_full(TWO)
    reader = Reader()
    bench.inbox.call(ONE, reader)
    assert await bench.turn()
    assert (reader.calls, bench.inbox.is_full(ONE)) == (1, False)
    await bench.all_turns()
    assert reader.calls == 1
    assert bench.data() == frames


async def test_nothing_is_kept_of_sessions_that_have_nothing_to_say(bench: Bench) -> None:
    bench.put(ONE, LIGHT, HEAVY)
    bench.inbox.hold(TWO)
    await bench.all_turns()
    bench.inbox.release(TWO)
    assert not bench.inbox._lanes  # noqa: SLF001 - memory of each session


def test_a_frame_weighs_as_much_as_its_predictions_and_its_bytes() -> None:
    assert weight_of(BinaryReceived(ONE, 60_000)) == weight_of(ConnectionClosed(ONE, 1006, "")) == 1
    assert [weight_of(FrameReceived(ONE, data)) for data in (b"", LIGHT, HEAVY)] == [1, 1, 64]
    assert weight_of(FrameReceived(ONE, b"{" * 60_000)) == 64 + 14
    assert weight_of(FrameReceived(ONE, b" " * 60_000)) == 1 + 14
