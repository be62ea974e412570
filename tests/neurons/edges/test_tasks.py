"""No task of an edge ends unnoticed, and none outlives its edge."""

import asyncio

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import EdgeFailed
from bettensor.neurons.edges.tasks import Tasks
from bettensor.neurons.simulation import EventLog


class Bench(EventLog):
    def __init__(self) -> None:
        super().__init__()
        self.tasks = Tasks(EventBus(ManualClock(), record=self.append), "door")
        self.done: list[str] = []

    async def do(self, name: str, *then: str) -> None:
        """Something, and what follows from it."""
        await asyncio.sleep(0)
        self.done.append(name)
        for following in then[:1]:
            self.tasks.start(self.do(following, *then[1:]), following)

    async def hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.done.append("ended")


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def fail() -> None:
    raise RuntimeError("not foreseen")


async def test_a_task_that_raises_is_told_with_its_name_and_traceback(bench: Bench) -> None:
    bench.tasks.start(fail(), "opening the door")
    await bench.tasks.settle()
    (failure,) = bench.all(EdgeFailed)
    assert (failure.edge, failure.task) == ("door", "opening the door")
    assert "in fail" in failure.error
    assert "RuntimeError: not foreseen" in failure.error


async def test_a_task_that_ends_by_itself_is_not(bench: Bench) -> None:
    bench.tasks.start(bench.do("a"), "a")
    assert bench.tasks
    await bench.tasks.settle()
    assert (bench.done, bool(bench.tasks), bench.all(EdgeFailed)) == (["a"], False, [])


async def test_a_task_that_has_just_ended_runs_no_longer(bench: Bench) -> None:
    seen: list[bool] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(lambda: seen.append(bool(bench.tasks)))  # before the task is forgotten

    bench.tasks.start(work(), "work")
    await bench.tasks.settle()
    assert seen == [False]


async def test_to_settle_ends_after_its_patience_also_in_a_task_that_was_cancelled(bench: Bench) -> None:
    bench.tasks.start(bench.hang(), "hanging")

    async def end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await bench.tasks.settle(0.01)
            bench.done.append("settled")
            await bench.tasks.cancel()

    ending = asyncio.create_task(end())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert bench.done == ["settled", "ended"]


async def test_to_settle_is_to_wait_for_what_follows_too(bench: Bench) -> None:
    bench.tasks.start(bench.do("a", "b", "c"), "a")
    await bench.tasks.settle()
    assert bench.done == ["a", "b", "c"]


async def test_patience_has_an_end_and_ends_no_task(bench: Bench) -> None:
    bench.tasks.start(bench.hang(), "hangs")
    await bench.tasks.settle(0.001)
    assert (bool(bench.tasks), bench.done) == (True, [])
    await bench.tasks.cancel()


async def test_who_waits_may_be_cancelled_and_the_work_goes_on(bench: Bench) -> None:
    bench.tasks.start(bench.hang(), "hangs")
    waiting = asyncio.create_task(bench.tasks.settle())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (bool(bench.tasks), bench.done) == (True, [])
    await bench.tasks.cancel()


async def test_a_task_that_is_cancelled_has_ended_and_is_no_failure(bench: Bench) -> None:
    for _ in range(2):
        bench.tasks.start(bench.hang(), "hangs")
    await asyncio.sleep(0)
    await bench.tasks.cancel()
    assert (bench.done, bool(bench.tasks), bench.all(EdgeFailed)) == (["ended", "ended"], False, [])


async def test_where_there_is_nothing_there_is_nothing_to_wait_for(bench: Bench) -> None:
    async with asyncio.timeout(1):
        await bench.tasks.settle()
        await bench.tasks.cancel()
