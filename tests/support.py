"""What tests share: factories, and a harness that shows actors events and collects what they decide."""

import itertools
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bettensor.actors.actor import Actor
from bettensor.bus import codec
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.events import Decided, Event, Observed, ProposedVerdict
from bettensor.bus.games import content_digest
from bettensor.bus.identifiers import SECOND, Hotkey, MessageId, Micros, Millionths, SessionId
from bettensor.bus.messages import PointToPoint, WebSocketMessage
from bettensor.bus.timestamps import DAY, rfc3339
from bettensor.neurons.edges.edge import Edge
from bettensor.neurons.simulation import EventLog, SimulatedTimers, at_once
from bettensor.neurons.simulation.factories import (
    NETUID,
    NOW,
    make_game,
    make_hotkey,
    make_identity,
    make_prediction,
    make_soccer_game,
)

__all__ = [
    "HOUR",
    "NETUID",
    "NOW",
    "Harness",
    "Injected",
    "OwnClock",
    "as_json",
    "frame_size",
    "interruptible",
    "make_game",
    "make_hex32",
    "make_hotkey",
    "make_identity",
    "make_prediction",
    "make_proposal",
    "make_soccer_game",
    "rfc3339_from_now",
    "stamp",
]

HOUR = Micros(3600 * SECOND)

_numbers = itertools.count(1)
Wanted = TypeVar("Wanted", bound=Event)


def rfc3339_from_now(seconds: float) -> str:
    """For games of real neurons, which know no manual clock."""
    return rfc3339(Micros(round((time.time() + seconds) * SECOND)))


def make_hex32() -> str:
    return f"{next(_numbers):032x}"


def make_proposal(hotkey: Hotkey | None = None, **changes: Any) -> ProposedVerdict:
    """An acceptance that waits to be stored; changes of ``prediction`` change its digest too."""
    prediction = changes.pop("prediction", None) or make_prediction()
    proposal = ProposedVerdict(
        hotkey or make_hotkey(),
        prediction,
        content_digest(prediction),
        VerdictCode.ACCEPTED,
        "",
        NOW,
        Millionths(10_000_000),
        Micros(NOW + 31 * DAY),
    )
    return replace(proposal, **changes)


def stamp(message: WebSocketMessage, sender: Hotkey) -> WebSocketMessage:
    """``message`` as its sender would write it."""
    return codec.stamp(message, message_id=MessageId(make_hex32()), sender=sender, timestamp=rfc3339(NOW))


def frame_size(message: PointToPoint) -> int:
    """Bytes of the frame that ``message`` becomes late in a long session."""
    placed = codec.place(message, SessionId(make_hex32()), 2**53 - 1)
    return len(codec.join(codec.Frame(codec.encode(stamp(placed, make_hotkey())), bytes(64))))


@dataclass(frozen=True, slots=True)
class Injected(Observed):
    """Lets a test publish a decision as if an actor had made it."""

    decision: Decided


class OwnClock(ManualClock):
    """Goes with another clock, but can be set by itself."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self.ahead = 0

    def wall(self) -> Micros:
        return Micros(self._clock.wall() + self.ahead)

    def mono(self) -> Micros:
        return self._clock.mono()


class Harness(EventLog):
    """A bus with a manual clock, its actors, and a memory of all that happened."""

    def __init__(self, *actors: Actor) -> None:
        super().__init__()
        self.clock = ManualClock(NOW)
        self.bus = EventBus(self.clock, record=self.append)
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        for actor in actors:
            actor.attach(self.bus)
        self.timers = SimulatedTimers(self.clock)
        self.timers.attach(self.bus)

    def add(self, edge: Edge) -> None:
        """Attach and open a simulated edge."""
        edge.attach(self.bus)
        at_once(edge.open())

    def observe(self, *events: Event) -> None:
        """Publish ``events`` one after the other, whoever's they are."""
        for event in events:
            self.bus.publish(event if isinstance(event, Observed) else Injected(event))  # type: ignore[arg-type]

    def advance(self, seconds: float) -> None:
        """Let time pass, and timers fire."""
        self.timers.advance(Micros(round(seconds * SECOND)))

    def during(self, act: Callable[[], object], kind: type[Wanted]) -> list[Wanted]:
        """The events of ``kind`` that ``act`` led to."""
        before = len(self.envelopes)
        act()
        return [envelope.event for envelope in self.envelopes[before:] if isinstance(envelope.event, kind)]


def as_json(payload: bytes | str) -> Any:
    return json.loads(payload)


def interruptible() -> None:
    """For ``preexec_fn``: a shell has what it starts in the background ignore SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
