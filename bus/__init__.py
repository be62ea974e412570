"""The vocabulary of a neuron, and the one queue that its actors share.

Knows no actor, no socket and no database. What is exported here is what people need who subscribe to events.
"""

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
