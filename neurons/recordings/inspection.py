"""Traces one prediction through a recorded log, filters the log's events, and computes figures."""

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import msgspec

from bettensor.bus.errors import BadEventLog
from bettensor.bus.eventlog import Row
from bettensor.bus.identifiers import SECOND, Hotkey, Micros
from bettensor.bus.percentiles import percentile
from bettensor.bus.replay import Recorded
from bettensor.neurons.recordings.recording import Recording, ReplayedEvent
from bettensor.neurons.recordings.text import said_in, topic

REMEMBERED: Final = 200_000
"""Events that are kept while a prediction is traced, to find the causes of its events."""
REMEMBERED_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all of them together, as JSON; one more than fits is kept."""


# --- the trace of one prediction


@dataclass(slots=True)
class Step:
    """One event of the trace."""

    envelope: Recorded
    actor: str
    """The actor that decided it; empty for an observed event."""
    event: dict[str, Any]
    """Its fields; lists are cut down to the entries of this prediction."""
    following: "list[Step]" = field(default_factory=list)
    """The events that it led to."""


def trace(recording: Recording, prediction_id: str) -> Iterator[Step]:
    """All events about a prediction, as trees of causes; several roots if the prediction arrived several times.

    Raises:
        BadEventLog: the recording cannot be replayed here, or is damaged further on. In the latter case it is raised
            after all events before the damage.
    """
    return trace_in(recording.decided(), prediction_id)


def trace_in(events: Iterable[ReplayedEvent], prediction_id: str) -> Iterator[Step]:
    """The same of ``events`` in order; what they raise is raised after all events before it."""
    named = re.compile(rb"(?<![\w-])%b(?![\w-])" % re.escape(prediction_id).encode())
    recent: dict[int, ReplayedEvent] = {}
    order: deque[tuple[int, int]] = deque()
    """The numbers of these events, the oldest first, and their sizes in bytes."""
    kept = 0
    found: dict[int, ReplayedEvent] = {}
    fault = None
    try:
        for decided in events:
            seq = decided.row.seq
            recent[seq] = decided
            order.append((seq, len(decided.row.raw)))
            kept += len(decided.row.raw)
            while len(order) > REMEMBERED or (kept > REMEMBERED_BYTES and len(order) > 1):
                oldest, size = order.popleft()
                recent.pop(oldest, None)
                kept -= size
            if named.search(decided.row.raw):
                _remember(seq, recent, found)
    except BadEventLog as error:
        fault = error
    yield from _grown(found, named)
    if fault is not None:
        raise fault


def prediction_ids(rows: Iterable[Row], beginning: str) -> Iterator[str]:
    """The ids of predictions in ``rows`` that begin so, each as often as it occurs."""
    named = re.compile(rb'prediction_id\\*"\s*:\s*\\*"(%b[\w-]*)' % re.escape(beginning).encode())
    for row in rows:
        yield from (found.decode() for found in named.findall(row.raw))


def _remember(seq: int, recent: dict[int, ReplayedEvent], found: dict[int, ReplayedEvent]) -> None:
    """Keep an event, and, if none of its causes is kept yet, the first chain of causes up to an observed event."""
    while seq in recent and seq not in found:
        found[seq] = recent[seq]
        causes = recent[seq].row.causes
        if any(cause in found for cause in causes):
            return
        seq = causes[0] if causes else 0


def _grown(found: dict[int, ReplayedEvent], named: re.Pattern[bytes]) -> list[Step]:
    steps: dict[int, Step] = {}
    roots: list[Step] = []
    for seq in sorted(found):
        row, actor = found[seq]
        steps[seq] = step = Step(row, actor, _narrowed(row.fields, named))
        parent = next((cause for cause in row.causes if cause in steps), None)
        (roots if parent is None else steps[parent].following).append(step)
    return _without_repetitions(roots)


def _without_repetitions(roots: list[Step]) -> list[Step]:
    """An existing miner repeats its open predictions in each answer: one that led to nothing need not be shown."""
    answers = [step for step in roots if topic(step.envelope) == "axon_answered"]
    telling = [step for step in answers if step.following] or answers[:1]
    return [step for step in roots if step not in answers or step in telling]


def _narrowed(value: Any, named: re.Pattern[bytes]) -> Any:
    if isinstance(value, dict):
        return {key: _narrowed(part, named) for key, part in value.items()}
    if isinstance(value, list):
        about = [part for part in value if named.search(msgspec.json.encode(part))]
        return [_narrowed(part, named) for part in about or value]
    return value


# --- filters


class EventFilter(NamedTuple):
    """The wanted events of a log; a field that is None or empty excludes nothing."""

    topics: tuple[str, ...] = ()
    """Patterns as in a shell, such as ``frame_*``; an event must match one of them."""
    hotkey: Hotkey | None = None
    """Whole, its beginning, or its short form as in ``5DFzyX…8mTv``."""
    since: Micros | None = None
    until: Micros | None = None

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The wanted ones of ``rows``, in order."""
        connections: set[int] = set()
        named = None if self.hotkey is None else _naming(self.hotkey)
        for row in rows:
            if named is not None and not _concerned(row, named, connections):
                continue
            if (self.since is not None and row.at < self.since) or (self.until is not None and row.at > self.until):
                continue
            if not self.topics or any(fnmatchcase(row.topic, pattern) for pattern in self.topics):
                yield row


def _naming(hotkey: Hotkey) -> re.Pattern[bytes]:
    begin, _, end = hotkey.partition("…")
    return re.compile(rb"%b\w*%b" % (re.escape(begin).encode(), re.escape(end).encode()))


_FIRST_OF_A_CONNECTION: Final = ("http_request_received", "connection_opened", "query_received", "axon_query_requested")


def _concerned(row: Row, named: re.Pattern[bytes], connections: set[int]) -> bool:
    """Whether it names the hotkey, or belongs to one of its ``connections``, which this keeps up to date."""
    names = named.search(row.raw) is not None
    connection = row.fields.get("connection")
    if not isinstance(connection, int):
        return names
    if row.topic in _FIRST_OF_A_CONNECTION:
        # a restarted neuron gives the same numbers to other connections
        (connections.add if names else connections.discard)(connection)
    return names or connection in connections


# --- figures


@dataclass(slots=True)
class Summary:
    """A log in figures."""

    events: Counter[str] = field(default_factory=Counter)
    """Number of events by topic."""
    codes: Counter[str] = field(default_factory=Counter)
    """Number of results by code."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from a message with predictions to each message that answers it."""
    first: Micros | None = None
    """The wall clock at the first event; ``last`` is that of the last one."""
    last: Micros | None = None
    seconds: float = 0.0
    """Seconds from the first event to the last of each run, by the monotonic clock."""
    _asked: dict[str, Micros] = field(default_factory=dict)
    _began: Micros | None = None
    _mono: Micros = Micros(0)

    def add(self, row: Row) -> None:
        """Count one event."""
        self.events[row.topic] += 1
        self.first = row.at if self.first is None else self.first
        self.last = row.at
        if self._began is None or row.mono < self._mono:  # another run, with another monotonic clock
            self._began = row.mono
            self._asked.clear()
        else:
            self.seconds += (row.mono - self._mono) / SECOND
        self._mono = row.mono
        message = _message(row)
        if message.get("message_type") == "prediction":
            self._asked.setdefault(message["message_id"], row.mono)
        elif message.get("message_type") == "confirmation":
            self._count(message["results"], row.mono)

    def _count(self, results: list[dict[str, Any]], now: Micros) -> None:
        self.codes.update(result["code"] for result in results)
        for about in dict.fromkeys(result["about"] for result in results):
            asked = self._asked.get(about)
            if asked is not None:
                self.latencies.append((now - asked) / SECOND)

    def as_json(self) -> dict[str, Any]:
        """The figures as plain data; latencies in milliseconds, rates per second."""
        ordered = sorted(self.latencies)
        rate = 1 / self.seconds if self.seconds else 0.0
        return {
            "first": self.first,
            "last": self.last,
            "seconds": self.seconds,
            "events": dict(self.events.most_common()),
            "events_per_second": {name: count * rate for name, count in self.events.most_common()},
            "results": dict(self.codes.most_common()),
            "results_per_second": self.codes.total() * rate,
            "latency_ms": {
                name: 1000 * percentile(ordered, share)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
                if ordered
            },
        }


def _message(row: Row) -> dict[str, Any]:
    """The message of this event; empty if it has none."""
    message: Any = {}
    if row.topic == "frame_written":
        message = row.fields.get("message")
    elif row.topic in ("frame_received", "request_body_received", "http_request_received"):  # the last one in 0.1.0
        fields = row.fields
        text = fields.get("data") or fields.get("body", "")
        message = said_in(text) if isinstance(text, str) else {}
    return message if isinstance(message, dict) and _is_whole(message) else {}


def _is_whole(message: dict[str, Any]) -> bool:
    """Whether the counted fields exist: a stranger's message may be anything."""
    if message.get("message_type") == "prediction":
        return isinstance(message.get("message_id"), str)
    if message.get("message_type") == "confirmation":
        results = message.get("results")
        return isinstance(results, list) and all(
            isinstance(result, dict) and isinstance(result.get("code"), str) and isinstance(result.get("about"), str)
            for result in results
        )
    return False
