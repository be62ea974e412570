"""Remembers the events on a bus."""

from typing import TypeVar

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event

Wanted = TypeVar("Wanted", bound=Event)


class EventLog:
    """Remembers every envelope: ``EventBus(clock, record=event_log.append)``."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        """All envelopes, in order."""

    def append(self, envelope: Envelope) -> None:
        """Remember one more envelope."""
        self.envelopes.append(envelope)

    def all(self, kind: type[Wanted]) -> list[Wanted]:
        """Every event of ``kind`` so far, in order."""
        return [envelope.event for envelope in self.envelopes if isinstance(envelope.event, kind)]

    def last(self, kind: type[Wanted]) -> Wanted:
        """The newest event of ``kind``.

        Raises:
            LookupError: there is none.
        """
        for envelope in reversed(self.envelopes):
            if isinstance(envelope.event, kind):
                return envelope.event
        raise LookupError(f"no {kind.topic} among {list(dict.fromkeys(e.event.topic for e in self.envelopes))}")
