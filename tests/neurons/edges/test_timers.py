"""The real timers look at the clocks; their contract with the simulated ones is in tests/contracts."""

import asyncio

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import ClockStepped
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.edges import timers
from bettensor.neurons.edges.timers import Timers


async def test_a_neuron_that_hears_nothing_notices_that_its_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "CLOCK_LOOK", 0.001)
    clock, steps = ManualClock(), asyncio.Queue[ClockStepped]()
    bus, edge = EventBus(clock), Timers(clock)
    bus.subscribe(ClockStepped, lambda event, _: steps.put_nowait(event), "test")
    edge.attach(bus)
    await edge.open()
    clock.step_wall(Micros(-60 * SECOND))
    async with asyncio.timeout(10):
        assert await steps.get() == ClockStepped(Micros(-60 * SECOND))
    await edge.close()
    clock.step_wall(Micros(60 * SECOND))
    await asyncio.sleep(0.01)
    assert steps.empty()
