"""Feed what was observed, compare what is decided.

An observed event stands in the log exactly where it was published, in the middle of a drain or between two. So it is
fed as soon as all that stands before it has been published again.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bus.bus import EventBus
from bus.clock import ManualClock
from bus.envelope import Envelope
from bus.errors import NotAllowed
from bus.events import Event, Observed


class Difference(NamedTuple):
    """The first place where a replay left its recording; None where one of them had ended."""

    recorded: Envelope | None
    replayed: Envelope | None


class ReplayBus(EventBus):
    """A bus whose world is a recording."""

    def __init__(self, recording: Iterable[Envelope]) -> None:
        self.replayed: list[Envelope] = []
        self._ahead = deque(envelope for envelope in recording if isinstance(envelope.event, Observed))
        super().__init__(ManualClock(), record=self.replayed.append)

    def run(self) -> None:
        """Feed the whole recording, and deliver all that follows from it."""
        self._feed()
        self._drain()
        while self._ahead:  # a decision of the recording was not repeated; go on without it, the comparison will tell
            self._seq = self._ahead[0].seq - 1
            self._feed()
            self._drain()

    def publish(self, event: Event, causes: tuple[int, ...] | None = None) -> int:
        if isinstance(event, Observed):
            raise NotAllowed(f"{event.topic} was published during a replay, whose only world is the recording")
        return super().publish(event, causes)

    def _append(self, envelope: Envelope) -> None:
        super()._append(envelope)
        self._feed()

    def _feed(self) -> None:
        while self._ahead and self._ahead[0].seq <= self._seq + 1:
            envelope = self._ahead.popleft()
            self._seq = max(self._seq, envelope.seq)
            self._at, self._mono = envelope.at, envelope.mono
            super()._append(envelope)


def replay(recording: list[Envelope], build: Callable[[EventBus], object]) -> Difference | None:
    """Decide everything again, and compare.

    Args:
        recording: all envelopes of one run, in order, from its start.
        build: subscribes the actors, as they were, to the bus that it is given.

    Returns:
        The first difference, or None where the replay equals its recording.
    """
    bus = ReplayBus(recording)
    build(bus)
    bus.run()
    for recorded, replayed in zip(recording, bus.replayed, strict=False):
        if recorded != replayed:
            return Difference(recorded, replayed)
    longer = max(recording, bus.replayed, key=len)
    if len(recording) == len(bus.replayed):
        return None
    first_extra = longer[min(len(recording), len(bus.replayed))]
    return Difference(first_extra, None) if longer is recording else Difference(None, first_extra)
