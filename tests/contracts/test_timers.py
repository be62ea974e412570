"""Timers: keyed, in order, cancelled; by the loop's clock and by a manual one."""

import asyncio
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock, SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import TimerCancelled, TimerFired, TimerRequested
from bettensor.bus.identifiers import Micros
from bettensor.neurons.edges.timers import Timers
from bettensor.neurons.simulation import SimulatedTimers
from tests.support import Injected


class Bench:
    def __init__(self, real: bool) -> None:
        clock = ManualClock()
        self.clock: SystemClock | ManualClock = SystemClock() if real else clock
        self.bus = EventBus(self.clock)
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        self.fired: list[str] = []
        self.due: list[int] = []
        self.bus.subscribe(TimerFired, self._note, "test")
        self.real = real
        self.timers: Any = Timers(self.clock) if real else SimulatedTimers(clock)
        self.timers.attach(self.bus)

    def _note(self, event: TimerFired, envelope: Envelope) -> None:
        self.fired.append(event.key)
        self.due.append(envelope.mono)

    def ask(self, key: str, after: int, owner: str = "me") -> int:
        """``after`` milliseconds."""
        deadline = Micros(self.clock.mono() + after * 1000)
        self.bus.publish(Injected(TimerRequested(owner, key, deadline)))
        return deadline

    def cancel(self, key: str) -> None:
        self.bus.publish(Injected(TimerCancelled("me", key)))

    async def fire(self, count: int) -> list[str]:
        """What fires within the next second, of which ``count`` is expected."""
        if not self.real:
            self.timers.advance(Micros(1_000_000))
            return self.fired
        async with asyncio.timeout(5):
            while len(self.fired) < count:  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.002)
        await self.timers.close()
        return self.fired


@pytest.fixture(params=["real", "simulated"])
async def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param == "real")


async def test_timers_fire_in_the_order_of_their_deadlines_and_not_early(bench: Bench) -> None:
    deadlines = {key: bench.ask(key, after) for key, after in (("c", 30), ("a", 10), ("b", 20))}
    assert await bench.fire(3) == ["a", "b", "c"]
    assert all(due >= deadlines[key] for key, due in zip("abc", bench.due, strict=True))


async def test_simultaneous_timers_fire_in_the_order_of_their_requests(bench: Bench) -> None:
    deadline = Micros(bench.clock.mono() + 5000)
    for key in ("z", "a", "m"):
        bench.bus.publish(Injected(TimerRequested("me", key, deadline)))
    assert await bench.fire(3) == ["z", "a", "m"]


async def test_a_timer_of_the_same_name_replaces_and_another_owner_does_not(bench: Bench) -> None:
    bench.ask("x", 5)
    bench.ask("x", 30)
    bench.ask("x", 15, owner="you")
    assert await bench.fire(2) == ["x", "x"]


async def test_a_cancelled_timer_does_not_fire(bench: Bench) -> None:
    bench.ask("x", 5)
    bench.ask("y", 15)
    bench.cancel("x")
    bench.cancel("unknown")
    assert await bench.fire(1) == ["y"]


async def test_a_timer_that_is_overdue_fires_at_once(bench: Bench) -> None:
    bench.ask("late", -5)
    assert await bench.fire(1) == ["late"]


async def test_a_timer_may_be_set_again_from_its_own_firing(bench: Bench) -> None:
    bench.bus.subscribe(TimerFired, lambda event, _: bench.ask("again", 5) if event.key == "first" else None, "test")
    bench.ask("first", 5)
    assert await bench.fire(2) == ["first", "again"]
