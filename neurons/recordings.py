"""Recordings of neurons: what a log must hold of a neuron, and a neuron's actors again of a log."""

import gzip
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import IO, Any, Final, cast

from pydantic import TypeAdapter

from actors.actor import Actor
from bus.bus import EventBus
from bus.envelope import Envelope
from bus.errors import BadEventLog, ConfigurationError
from bus.eventlog import ActorCheckpoint, Checkpoint, Header, LogReader, LogWriter, Row
from bus.events import TOPICS, Scheme, SettingsReloaded
from bus.identifiers import Hotkey, Micros
from bus.messages import KINDS
from bus.replay import Difference, Recorded, ReplayBus
from bus.timestamps import rfc3339
from neurons.settings import ROLES, Settings, parse

REMEMBERED: Final = 20_000
"""Events of a replay that are kept, to show what led to a difference."""
HIDDEN: Final = "(not recorded)"
"""Stands for what may be a secret."""
_SECRET: Final = re.compile(r"passw|passphrase|secret|token|api_?key|private|credential", re.IGNORECASE)
_VERSIONS: Final = ("bettensor", "bittensor", "msgspec", "pydantic", "pyee", "websockets")
_OWN: Final = ("bus.", "actors.", "neurons.")


# --- from a neuron to its log


def log_header(settings: Settings, hotkey: Hotkey, scheme: Scheme, previous: str = "") -> Header:
    """The first line of a neuron's log.

    Args:
        settings: resolved; what looks like a secret in the settings of an operator's own actors is left out.
        hotkey: the neuron's.
        scheme: of its signatures.
        previous: the last hash of the file before.
    """
    defined = [event.__module__ for event in TOPICS.values()] + [kind.__module__ for kind in KINDS.values()]
    plain: dict[str, Any] = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    return Header(
        role=cast("Any", settings.role),
        netuid=settings.netuid,
        hotkey=hotkey,
        scheme=scheme,
        record=settings.recorder.record,
        settings=without_secrets(plain),
        previous=previous,
        started=rfc3339(Micros(time.time_ns() // 1000)),
        modules=tuple(dict.fromkeys(module for module in defined if not module.startswith(_OWN))),
        versions={name: metadata.version(name) for name in _VERSIONS} | {"python": sys.version.split()[0]},
    )


def without_secrets(plain: Any) -> Any:
    """Settings, with what has the name of a secret left out."""
    if not isinstance(plain, dict):
        return plain
    return {
        key: HIDDEN if _SECRET.search(key) and isinstance(value, str) else without_secrets(value)
        for key, value in plain.items()
    }


def take_checkpoint(bus: EventBus, actors: Iterable[Actor]) -> Checkpoint:
    """All actors as they are. Between two drains."""
    states = {actor.name: ActorCheckpoint(asdict(actor.settings), actor.snapshot()) for actor in actors}
    return Checkpoint(*bus.position, states)


# --- from a log to its neuron


def settings_of(header: Header, instead: Mapping[str, str] | None = None) -> Settings:
    """The settings under which a log was recorded.

    Args:
        header: the log's.
        instead: ``module:Class`` by the name of the actor in whose place it is to be.

    Raises:
        BadEventLog: this release does not know them.
    """
    document = dict(header.settings)
    actors = {name: dict(section) for name, section in document.get("actors", {}).items()}
    for name, cls in (instead or {}).items():
        actors.setdefault(name, {})["class"] = cls
    try:
        settings: Settings = parse(ROLES[header.role], document | {"actors": actors}, "the log's settings")
    except ConfigurationError as error:
        raise BadEventLog(f"recorded under settings that this release does not take: {error}") from None
    return settings


def actors_of(header: Header, checkpoint: Checkpoint | None, instead: Mapping[str, str] | None = None) -> list[Actor]:
    """The actors that a log was recorded with, as they were at its beginning.

    Raises:
        BadEventLog, ConfigurationError: they cannot be built here.
    """
    from neurons.launch import build_actors

    for module in header.modules:
        try:
            import_module(module)
        except ImportError as error:
            raise BadEventLog(f"the log has events of {module}, which cannot be imported here: {error}") from None
    actors = build_actors(settings_of(header, instead), "the log's settings")
    if checkpoint is not None:
        _restore(actors, checkpoint)
    return actors


def _restore(actors: Sequence[Actor], checkpoint: Checkpoint) -> None:
    reloaded = SettingsReloaded({name: known.settings for name, known in checkpoint.actors.items()}, (), ())
    at = Envelope(checkpoint.seq, checkpoint.at, checkpoint.mono, (), reloaded)
    for actor in actors:
        known = checkpoint.actors.get(actor.name)
        if known is not None:
            try:
                actor.reload(reloaded, at)
                actor.restore(known.state)
            except ValueError as error:
                raise BadEventLog(f"the checkpoint is not one of the actor {actor.name!r}: {error}") from None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay went."""

    header: Header
    difference: Difference | None
    """The first one; None where the replay equals its recording."""
    trail: tuple[Envelope, ...]
    """What led to the difference, the first cause first."""
    events: int
    seconds: float
    sealed: bool
    """Whether the log ends in good order."""
    cut: int | None
    """The line that was cut off, if one was."""


class Recording:
    """One file of a log: ``events.jsonl``, or a closed and compressed one."""

    def __init__(self, file: Path, *, chained: bool = True) -> None:
        """
        Raises:
            BadEventLog: it is no log, or cannot be read here.
        """
        self.file = file
        self._stack = ExitStack()
        try:
            stream: IO[bytes] = gzip.open(file, "rb") if _is_packed(file) else file.open("rb")  # type: ignore[assignment] # noqa: SIM115
        except OSError as error:
            raise BadEventLog(f"{file}: cannot be read: {error}") from None
        self._stack.enter_context(stream)
        self.reader = LogReader(_lines(stream, file), str(file), chained=chained)

    @property
    def header(self) -> Header:
        """What was recorded, and how."""
        return self.reader.header

    def rows(self) -> Iterator[Row]:
        """Every event, in order; once.

        Raises:
            BadEventLog: a line is not as it was written.
        """
        with self._stack:
            yield from self.reader.rows()

    def replay(
        self,
        *,
        instead: Mapping[str, str] | None = None,
        record: Callable[[Envelope], None] | None = None,
    ) -> Replayed:
        """Decide everything again, and compare with what is recorded.

        Args:
            instead: other actors, see ``settings_of``.
            record: called with each envelope of the replay.

        Raises:
            BadEventLog: a line is not as it was written, or the actors cannot be built here.
        """
        begun = time.perf_counter()
        trail: deque[Envelope] = deque(maxlen=REMEMBERED)

        def remember(envelope: Envelope) -> None:
            trail.append(envelope)
            if record is not None:
                record(envelope)

        bus = ReplayBus(self.rows(), decided=self.header.record == "all", record=remember)
        checkpoint = self.reader.checkpoint
        for actor in actors_of(self.header, checkpoint, instead):
            actor.attach(bus)
        if checkpoint is not None:
            bus.begin_after(checkpoint.seq, checkpoint.at, checkpoint.mono)
        first = bus.position[0]
        bus.run()
        return Replayed(
            self.header,
            bus.difference,
            causes_of(bus.difference, trail),
            bus.position[0] - first,
            time.perf_counter() - begun,
            self.reader.sealed is not None,
            self.reader.cut,
        )


def causes_of(difference: Difference | None, trail: Iterable[Envelope]) -> tuple[Envelope, ...]:
    """What led to a difference, as far as it is remembered."""
    if difference is None:
        return ()
    known = {envelope.seq: envelope for envelope in trail}
    place: Recorded | None = difference.replayed or difference.recorded
    wanted, chain = list(place.causes if place is not None else ()), {}
    while wanted:
        seq = wanted.pop()
        if seq in known and seq not in chain:
            chain[seq] = known[seq]
            wanted.extend(known[seq].causes)
    return tuple(chain[seq] for seq in sorted(chain))


def save(file: Path, header: Header, envelopes: Iterable[Envelope], checkpoint: Checkpoint | None = None) -> None:
    """Write a recording with all its decisions; it has no seal, because nobody signed it."""
    writer = LogWriter(replace(header, record="all"))
    with file.open("wb") as out:
        out.write(writer.first)
        if checkpoint is not None:
            out.write(writer.checkpoint(checkpoint))
        for envelope in envelopes:
            out.write(writer.row(envelope))


def log_files(place: Path) -> list[Path]:
    """The files of a log, the oldest first: of a folder all, of a file itself."""
    if not place.is_dir():
        return [place]
    found = sorted(place.glob("*.[0-9]*.jsonl*")) + sorted(place.glob("events.jsonl"))
    if not found:
        raise BadEventLog(f"{place}: no event log is in this folder")
    return found


def _is_packed(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _lines(stream: Iterable[bytes], file: Path) -> Iterator[bytes]:
    try:
        yield from stream
    except (OSError, EOFError) as error:
        raise BadEventLog(f"{file}: cannot be read to its end: {error}") from None
