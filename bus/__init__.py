"""The vocabulary of a neuron, and the one queue that its actors share.

Knows no actor, no socket and no database. What is exported here is what people need who subscribe to events. Names are
loaded when they are used: a command line that only wants ``bus.errors`` need not wait for a hundred events.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bus.bus import EVERYTHING, EventBus
    from bus.clock import Clock, ManualClock, SystemClock
    from bus.envelope import Envelope
    from bus.events import Decided, Event, Observed

__all__ = [
    "EVERYTHING",
    "Clock",
    "Decided",
    "Envelope",
    "Event",
    "EventBus",
    "ManualClock",
    "Observed",
    "SystemClock",
]

_HOMES = {
    "bus.bus": ("EVERYTHING", "EventBus"),
    "bus.clock": ("Clock", "ManualClock", "SystemClock"),
    "bus.envelope": ("Envelope",),
    "bus.events": ("Decided", "Event", "Observed"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'bus' has no attribute {name!r}")
