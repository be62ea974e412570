"""Feeds observed events, and compares decisions.

An observed event stands in the log exactly where it was published. One that has a cause may stand in the middle of a
drain: it is fed as soon as all that stands before it has been published again. One without begins a drain. Recordings
are read as they are needed: one of a million events takes no more memory than one of a hundred.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Final, NamedTuple

from bettensor.bus.bus import EventBus, Handler, Topic
from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BadEventLog, NotAllowed
from bettensor.bus.eventlog import Row
from bettensor.bus.events import Event, FrameWritten, Observed, SendFailed, WriteRequested
from bettensor.bus.identifiers import Micros
from bettensor.bus.messages import WebSocketMessage

REMEMBERED: Final = 20_000
"""Events of a replay that are kept, to show what led to a difference."""

MOST_DECISIONS: Final = 200_000
"""Decisions between two observations, all of which are kept: one update goes to at most 4,096 sessions."""

Recorded = Envelope | Row


class Difference(NamedTuple):
    """The first place at which a replay differs from its recording; None stands for the side that had ended."""

    recorded: Recorded | None
    replayed: Envelope | None


class ReplayBus(EventBus):
    """A bus whose observed events come from a recording.

    Args:
        recording: envelopes or rows, in order.
        decided: whether decisions are among them; otherwise only their number is known, and what was written.
        record: called with each envelope of the replay.
    """

    def __init__(
        self,
        recording: Iterable[Recorded],
        *,
        decided: bool = True,
        record: Callable[[Envelope], None] | None = None,
    ) -> None:
        self.difference: Difference | None = None
        """The first, once there is one."""
        self.beyond = False
        """Whether it is a decision that follows the last line of a recording, which may have been cut off there."""
        self._tape = iter(recording)
        self._decided = decided
        self._expected: deque[Recorded] = deque()
        """Recorded decisions before the next observed event."""
        self._next: Recorded | None = None
        self._written: dict[int, WriteRequested] = {}
        """Requested writes by ``seq``, until the recording has the written frame."""
        self._fault: BadEventLog | None = None
        """Why the recording cannot be read any further."""
        self.speaker = ""
        """The actor whose handler is being called, and which therefore decides."""
        self._copy = record
        super().__init__(ManualClock(), record=self._compare)
        self.recent = deque(maxlen=REMEMBERED)

    def begin_after(self, seq: int, at: Micros, mono: Micros) -> None:
        """Continue from a checkpoint."""
        self._seq, self._at, self._mono = seq, at, mono

    def run(self) -> None:
        """Feed the whole recording, and deliver all events that follow.

        Raises:
            BadEventLog: the recording cannot be read to its end.
        """
        for _ in self.drains():
            pass

    def drains(self) -> Iterator[None]:
        """The same as ``run``, but yields after every drain.

        Raises:
            BadEventLog: the recording cannot be read to its end.
        """
        self._advance()
        while self._next is not None:
            if self._next.seq > self._seq + 1:  # fewer decisions than recorded; go on without them
                self._differ(self._expected[0] if self._expected else self._next, None)
                self._seq = self._next.seq - 1
            self._feed_due()
            self._drain()
            yield
        if self._fault is not None:
            raise self._fault
        if self._expected:
            self._differ(self._expected[0], None)

    def publish(self, event: Event, causes: tuple[int, ...] | None = None) -> int:
        if isinstance(event, Observed):
            raise NotAllowed(f"{event.topic} was published during a replay: only the recording may observe")
        return super().publish(event, causes)

    def subscribe(self, topic: Topic, handler: Handler, name: str, address: str | None = None) -> None:
        def speak(event: Event, envelope: Envelope) -> None:
            self.speaker = name
            handler(event, envelope)

        super().subscribe(topic, speak, name, address)

    def _append(self, envelope: Envelope) -> None:
        self._take(envelope)
        self._feed_due(caused=True)

    def _take(self, envelope: Envelope) -> None:
        super()._append(envelope)

    def _feed_due(self, *, caused: bool = False) -> None:
        """Feed the observed events that are due: in the middle of a drain, only those with a cause."""
        try:
            while self._next is not None and (self._next.causes or not caused) and self._is_due(self._next):
                self._feed(self._next)
        except BadEventLog as fault:  # raised after the drain: in its middle a handler would seem to have failed
            self._fault, self._next = fault, None

    def _is_due(self, recorded: Recorded) -> bool:
        """Whether all that stands before it in the recording has been published again."""
        return recorded.seq <= self._seq + 1

    def _feed(self, recorded: Recorded) -> None:
        """Publish an observed event of the recording, and read on to the next one."""
        if recorded.seq <= self._seq:
            self._differ(recorded, self.recent[-1] if self.recent else None)  # more decisions than recorded
        self._seq = max(self._seq, recorded.seq)
        self._at, self._mono = recorded.at, recorded.mono
        event = recorded.event
        if isinstance(event, FrameWritten | SendFailed):
            self._compare_written(recorded, event.message)
        self._advance()
        self._take(Envelope(recorded.seq, recorded.at, recorded.mono, recorded.causes, event))

    def _advance(self) -> None:
        """Read up to the next observed event."""
        for recorded in self._tape:
            if is_observed(recorded):
                self._next = recorded
                return
            self._expected.append(recorded)
            if len(self._expected) > MOST_DECISIONS:
                raise BadEventLog(f"more than {MOST_DECISIONS} decisions follow on one observation; no neuron does so")
        self._next = None

    # --- the comparison

    def _compare(self, envelope: Envelope) -> None:
        event = envelope.event
        if self._copy is not None:
            self._copy(envelope)
        if isinstance(event, Observed):
            return
        if not self._decided:
            if isinstance(event, WriteRequested):
                self._written[envelope.seq] = event
        elif self.difference is None:
            recorded = self._expected.popleft() if self._expected else None
            if recorded is None or not same(recorded, envelope):
                self._differ(recorded, envelope)

    def _compare_written(self, recorded: Recorded, written: WebSocketMessage) -> None:
        """Compare a written frame with the decision to write it, if the recording has no decisions."""
        request = self._written.pop(recorded.causes[0], None) if recorded.causes else None
        if request is not None and any(
            getattr(request.message, f.name) != getattr(written, f.name, None)
            for f in fields(request.message)
            if f.name not in STAMPS
        ):
            self._differ(recorded, Envelope(recorded.causes[0], recorded.at, recorded.mono, (), request))

    def _differ(self, recorded: Recorded | None, replayed: Envelope | None) -> None:
        if self.difference is None:
            self.difference = Difference(recorded, replayed)
            self.beyond = recorded is None and self._next is None


class WhatIfBus(ReplayBus):
    """A replay in which some actors are replaced by others: what would they have decided?

    The world stays as it was recorded, whatever they decide. A decision is the one of the recording that has its topic
    and stands between the same two observations, and keeps its ``seq``, so that what the world answered finds it.

    Args:
        recording: with its decisions.
        record: called with each envelope of the replay.
        changed: called with each decision that is another one, is new, or is missing.
    """

    def __init__(
        self,
        recording: Iterable[Recorded],
        *,
        record: Callable[[Envelope], None] | None = None,
        changed: Callable[[Difference], None],
    ) -> None:
        super().__init__(recording, record=record)
        self.unchanged = 0
        """Decisions that are as recorded."""
        self._changed = changed
        self._extra = itertools.count(FIRST_EXTRA)

    def drains(self) -> Iterator[None]:
        self._advance()
        while self._next is not None:
            self._feed_due()
            self._drain()
            yield
            while self._expected:  # no actor decides this any more
                self._changed(Difference(self._expected.popleft(), None))
        if self._fault is not None:
            raise self._fault

    def _stamp(self, event: Event, causes: tuple[int, ...]) -> int:
        recorded = next((known for known in self._expected if _topic(known) == event.topic), None)
        if recorded is not None:
            self._expected.remove(recorded)
        seq = next(self._extra) if recorded is None else recorded.seq
        envelope = Envelope(seq, self._at, self._mono, causes, event)
        if recorded is not None and same_event(recorded, event):
            self.unchanged += 1
        else:
            self._changed(Difference(recorded, envelope))
        self._append(envelope)
        return seq

    def _is_due(self, _: Recorded) -> bool:
        return not self._expected

    def _feed(self, recorded: Recorded) -> None:
        event = recorded.event
        self._at, self._mono = recorded.at, recorded.mono
        self._advance()
        self._take(Envelope(recorded.seq, recorded.at, recorded.mono, recorded.causes, event))

    def _compare(self, envelope: Envelope) -> None:
        if self._copy is not None:
            self._copy(envelope)


FIRST_EXTRA: Final = 1 << 40
"""Where the numbers of decisions begin that a recording does not know."""

STAMPS = frozenset({"message_id", "sender_hotkey", "timestamp"})
"""The fields that the writer fills in when it sends a message."""


def is_observed(recorded: Recorded) -> bool:
    """Whether it is an observed event, which a replay is fed."""
    return recorded.observed if isinstance(recorded, Row) else isinstance(recorded.event, Observed)


def same(recorded: Recorded, replayed: Envelope) -> bool:
    """Whether a replay repeated a decision."""
    return recorded.same(replayed) if isinstance(recorded, Row) else recorded == replayed


def same_event(recorded: Recorded, event: Event) -> bool:
    """Whether the same was decided, at any place."""
    return recorded.same_event(event) if isinstance(recorded, Row) else recorded.event == event


def _topic(recorded: Recorded) -> str:
    return recorded.topic if isinstance(recorded, Row) else recorded.event.topic


def replay(recording: Iterable[Recorded], build: Callable[[EventBus], object]) -> Difference | None:
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
    return bus.difference
