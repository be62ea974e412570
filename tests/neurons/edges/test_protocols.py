"""What sessions hear in one turn of the event loop, and how it reaches the bus."""

import asyncio

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import BinaryReceived
from bettensor.bus.identifiers import ConnectionId
from bettensor.neurons.edges.protocols import MAX_TOGETHER, Inbox
from bettensor.neurons.simulation import EventLog


class Bench(EventLog):
    def __init__(self) -> None:
        super().__init__()
        self.bus = EventBus(ManualClock(), record=self.append)
        self.inbox = Inbox(self.bus)
        self.drains: list[list[int]] = []
        """What was on the bus whenever a handler was called."""
        self.bus.subscribe(BinaryReceived, lambda *_: self.drains.append(self.sizes()), "test")

    def put(self, *sizes: int) -> None:
        for size in sizes:
            self.inbox.put(BinaryReceived(ConnectionId(1), size))

    def sizes(self) -> list[int]:
        return [event.size for event in self.all(BinaryReceived)]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_what_comes_in_one_turn_is_on_the_bus_before_any_of_it_is_heard(bench: Bench) -> None:
    bench.put(1, 2, 3)
    assert bench.sizes() == []
    await asyncio.sleep(0)
    assert bench.drains == [[1, 2, 3]] * 3


async def test_what_comes_in_the_next_turn_comes_after_it(bench: Bench) -> None:
    bench.put(1)
    await asyncio.sleep(0)
    bench.put(2)
    await asyncio.sleep(0)
    assert bench.drains == [[1], [1, 2]]


async def test_there_are_never_more_than_so_many_together(bench: Bench) -> None:
    bench.put(*range(MAX_TOGETHER + 1))
    assert bench.sizes() == list(range(MAX_TOGETHER))
    await asyncio.sleep(0)
    assert bench.sizes() == list(range(MAX_TOGETHER + 1))
    assert len(bench.drains) == MAX_TOGETHER + 1


async def test_what_was_put_can_be_had_at_once(bench: Bench) -> None:
    bench.put(1)
    bench.inbox.flush()
    assert bench.sizes() == [1]
    bench.inbox.flush()
    await asyncio.sleep(0)
    assert bench.sizes() == [1]
