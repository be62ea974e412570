"""The vocabulary of a neuron, and the one queue that its actors share.

Knows no actor, no socket and no database. It exports the names that subscribers need. Names are
loaded when they are used: a command line that only wants ``bettensor.bus.errors`` need not wait for a hundred events.
"""

from typing import TYPE_CHECKING

# the folder itself may be on the path: a second copy of these modules would have a registry of events of its own
if __name__ != "bettensor.bus":
    raise ImportError("this is bettensor.bus: import it by that name, and not bus")

from bettensor._doors import open_door

if TYPE_CHECKING:
    from bettensor.bus import codes, errors, events, games, identifiers, messages
    from bettensor.bus.bus import EVERYTHING, EventBus
    from bettensor.bus.clock import Clock, ManualClock, SystemClock
    from bettensor.bus.envelope import Envelope
    from bettensor.bus.events import Decided, Event, Observed
else:
    __getattr__, __dir__ = open_door(
        __name__,
        {
            "bettensor.bus": ("codes", "errors", "events", "games", "identifiers", "messages"),
            "bettensor.bus.bus": ("EVERYTHING", "EventBus"),
            "bettensor.bus.clock": ("Clock", "ManualClock", "SystemClock"),
            "bettensor.bus.envelope": ("Envelope",),
            "bettensor.bus.events": ("Decided", "Event", "Observed"),
        },
    )

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
    "codes",
    "errors",
    "events",
    "games",
    "identifiers",
    "messages",
]
