"""``bus``: events that the bus delivers per second, and its share of a prediction's cost."""

import time
from typing import Final

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event, TimerCancelled, TimerFired
from bettensor.neurons.bench import budget
from bettensor.neurons.bench.confirm import Load
from bettensor.neurons.bench.figures import Figures

HANDLERS: Final = 3
ROUNDS: Final = 5
EVENTS: Final = 100_000
DECISIONS: Final = 100
"""Decided events that follow from one observed event."""


def bus(load: Load) -> Figures:
    """Observed events from outside, decided events within a drain, and the budget of a prediction."""
    return {
        "events_per_second": max(_observed() for _ in range(ROUNDS)),
        "decided_events_per_second": max(_decided() for _ in range(ROUNDS)),
        **budget.measure(load),
    }


def _observed() -> float:
    bus = _heard(TimerFired)
    event, begin = TimerFired("bench", "tick", None), time.perf_counter()
    for _ in range(EVENTS):
        bus.publish(event)
    return EVENTS / (time.perf_counter() - begin)


def _decided() -> float:
    bus = _heard(TimerCancelled)
    decision = TimerCancelled("bench", "tick", None)

    def decide(_event: Event, _envelope: Envelope) -> None:
        for _ in range(DECISIONS):
            bus.publish(decision)

    bus.subscribe(TimerFired, decide, "bench")
    event, begin = TimerFired("bench", "tick", None), time.perf_counter()
    for _ in range(EVENTS // DECISIONS):
        bus.publish(event)
    return EVENTS / (time.perf_counter() - begin)


def _heard(topic: type[Event]) -> EventBus:
    bus = EventBus(SystemClock())
    for _ in range(HANDLERS):
        bus.subscribe(topic, lambda _event, _envelope: None, "bench")
    return bus
