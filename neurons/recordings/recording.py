"""Recordings of neurons: makes a log's header from its neuron, and rebuilds the neuron's actors from the log."""

import gzip
import re
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from io import BufferedReader, RawIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, Self, cast

from msgspec import Raw

from bettensor.actors.actor import Actor
from bettensor.bus.bus import EventBus
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BadEventLog, BettensorError, ConfigurationError
from bettensor.bus.eventlog import MAX_LINE, ActorCheckpoint, Checkpoint, Header, LogReader, LogWriter, Row, row_of
from bettensor.bus.events import TOPICS, Scheme, SettingsReloaded
from bettensor.bus.identifiers import Hotkey, Micros
from bettensor.bus.messages import KINDS
from bettensor.bus.redaction import actors_without_secrets
from bettensor.bus.replay import Difference, ReplayBus, WhatIfBus, is_observed
from bettensor.bus.text import hint, printable
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.config.former_names import explain
from bettensor.neurons.config.plugins import import_from_here, module_of
from bettensor.neurons.config.settings import ROLES, Settings, parse, plain_settings
from bettensor.neurons.edges.recorder import closed_files
from bettensor.neurons.system.files import open_regular, size, temporary_file

READ_BYTES: Final = 1 << 20
"""Bytes of a file that are read at a time."""
_OTHER_SETTINGS: Final = (
    "recorded under settings that this release, or this folder, does not take (`bettensor log` and `audit` need none)"
)
_GZIP: Final = b"\x1f\x8b"
_OWN: Final = "bettensor."


# --- from a neuron to its log


def log_header(settings: Settings, hotkey: Hotkey, scheme: Scheme, seed: int, previous: str = "") -> Header:
    """The first line of a neuron's log.

    Args:
        settings: resolved; possible secrets are left out.
        hotkey: the neuron's.
        scheme: the hotkey's signature scheme.
        seed: the seed of the neuron's jitter.
        previous: the last hash of the file before.
    """
    defined = [event.__module__ for event in TOPICS.values()] + [kind.__module__ for kind in KINDS.values()]
    return Header(
        role=cast("Any", settings.role),
        netuid=settings.netuid,
        hotkey=hotkey,
        scheme=scheme,
        record=settings.recorder.record,
        seed=seed,
        settings=plain_settings(settings) | {"actors": actors_without_secrets(settings.actors)},
        previous=previous,
        started=rfc3339(Micros(time.time_ns() // 1000)),
        modules=tuple(dict.fromkeys(module for module in defined if not module.startswith(_OWN))),
        versions=_versions(),
    )


@cache
def _versions() -> dict[str, str]:
    """The versions of this project and of its dependencies."""
    asked = [asks for asks in metadata.requires("bettensor") or () if "extra ==" not in asks]
    names = ["bettensor", *(re.split(r"[^\w.-]", asks, maxsplit=1)[0] for asks in asked)]
    return {name: metadata.version(name) for name in names} | {"python": sys.version.split()[0]}


def take_checkpoint(bus: EventBus, actors: Iterable[Actor]) -> Checkpoint:
    """The state of all actors, between two drains."""
    states = {
        actor.name: ActorCheckpoint(plain_settings(actor.settings), Raw(actor.snapshot_json())) for actor in actors
    }
    return Checkpoint(*bus.position, states)


# --- from a log to its neuron


def settings_of(header: Header, instead: Mapping[str, str] | None = None) -> Settings:
    """The settings under which a log was recorded.

    Args:
        header: the log's.
        instead: ``module:Class`` of replacements, by the name of the replaced actor.

    Raises:
        BadEventLog: this release does not know the settings.
    """
    document = dict(header.settings)
    try:
        actors = {name: dict(section) for name, section in document.get("actors", {}).items()}
    except (AttributeError, TypeError, ValueError):
        raise BadEventLog(f"{_OTHER_SETTINGS}: the log's settings: actors: expected keys with values") from None
    for name, cls in (instead or {}).items():
        actors.setdefault(name, {})["class"] = cls
    try:
        settings: Settings = parse(ROLES[header.role], document | {"actors": actors}, "the log's settings")
    except ConfigurationError as error:
        raise BadEventLog(f"{_OTHER_SETTINGS}: {error}") from None
    return settings


def actors_of(
    header: Header,
    checkpoint: Checkpoint | None,
    instead: Mapping[str, str] | None = None,
    imports: Collection[str] = (),
) -> list[Actor]:
    """The actors of a log's neuron, in their state at the beginning of the log.

    Args:
        header: the log's.
        checkpoint: the state; None at the neuron's start.
        instead: ``module:Class`` of replacements, by the name of the replaced actor.
        imports: the modules of other people that may be imported, besides those of ``instead``.

    Raises:
        BadEventLog, ConfigurationError: the actors cannot be built here.
    """
    from bettensor.neurons.composition import ACTORS, build_actors

    recorded = settings_of(header)
    known = sorted({cls.name for cls in ACTORS[header.role]} | set(recorded.actors))
    for name in instead or {}:
        if name not in known:
            raise ConfigurationError(f"no actor of this log is called {name!r}{hint(name, known)}")
    settings = settings_of(header, instead)
    _require_imports(_modules_of(settings, instead or {}), imports)
    import_events(header, imports)
    try:
        actors = build_actors(settings, "the log's settings")
    except ConfigurationError as error:
        if instead:
            raise
        raise BadEventLog(f"{_OTHER_SETTINGS}: {error}") from None
    if checkpoint is not None:
        _restore(actors, checkpoint)
    return actors


def _modules_of(settings: Settings, instead: Mapping[str, str]) -> list[str]:
    """The modules of the actors that a log names by itself."""
    from bettensor.neurons.composition import PREDICTOR

    named = {name: section.get("class") for name, section in settings.actors.items() if name not in instead}
    own = [cls for name, cls in named.items() if cls is not None and name != PREDICTOR]
    return [module_of(str(cls), "actors") for cls in own]


def import_events(header: Header, imports: Collection[str] = ()) -> None:
    """Import the modules whose events and messages a log has.

    Args:
        header: the log's.
        imports: the modules of other people that may be imported.

    Raises:
        BadEventLog: a module may not be imported, or cannot be imported here.
    """
    _require_imports(header.modules, imports)
    for module in header.modules:
        try:
            import_from_here(module)
        except ImportError as error:
            raise BadEventLog(
                f"the log has events of {module}, which cannot be imported here: {explain(error)}"
            ) from None


def _require_imports(modules: Iterable[str], imports: Collection[str]) -> None:
    """Let a log, which anybody may have made, import nothing that was not named by the person who reads it.

    A module that this process has imported already runs nothing when it is imported again.

    Raises:
        BadEventLog: modules must be named first.
    """
    allowed = ("bettensor", *imports)
    unnamed = [
        module
        for module in dict.fromkeys(modules)
        if module and module not in sys.modules and not _is_within(module, allowed)
    ]
    if unnamed:
        flags = " ".join(f"--import {module}" for module in unnamed)
        raise BadEventLog(
            f"this log was made with code of {', '.join(map(printable, unnamed))}, which a log does not import by "
            f"itself: add {printable(flags)} if you trust this code (pytest: --recordings-import)"
        )


def _is_within(module: str, packages: Collection[str]) -> bool:
    """Whether ``module`` is one of ``packages`` or a part of one; not a module that is a program."""
    inside = any(module == package or module.startswith(f"{package}.") for package in packages)
    return inside and not module.endswith("__main__")


def _restore(actors: Sequence[Actor], checkpoint: Checkpoint) -> None:
    """Restore new actors: first their settings, at which new actors publish nothing, then their state."""
    reloaded = SettingsReloaded({name: known.settings for name, known in checkpoint.actors.items()}, (), ())
    at = Envelope(checkpoint.seq, checkpoint.at, checkpoint.mono, (), reloaded)
    for actor in actors:
        known = checkpoint.actors.get(actor.name)
        if known is not None:
            try:
                actor.reload(reloaded, at)
                actor.restore(known.plain())
            except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
                raise BadEventLog(f"the checkpoint is not one of the actor {actor.name!r}: {error}") from None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay."""

    difference: Difference | None
    """The first one; None if the replay equals its recording."""
    trail: tuple[Envelope, ...]
    """The causes of the difference, the first cause first."""
    surplus: int
    """Decisions that the replay made beyond those in the log, negative if fewer; 0 if the log has no end."""
    events: int
    seconds: float

    @property
    def equal(self) -> bool:
        """Whether every decision is the same."""
        return self.difference is None and not self.surplus


class NotReplayable(BadEventLog):
    """The log can be read, but its actors cannot be built here."""


class ReplayedEvent(NamedTuple):
    """One event of a replay."""

    row: Row
    actor: str
    """The actor that decided it; empty for an observed event."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The decisions of other actors, compared with the recorded ones."""

    unchanged: int
    """Number of decisions that are the same."""
    changes: tuple[Difference, ...]
    """Decisions that differ, are new, or are missing; in order."""


class Recording:
    """One file of a log: ``events.jsonl``, or a closed and compressed one. It is read once, from its start to its end.

    It is closed after its last line or a failure; ``with`` closes it earlier.

    Args:
        file: the file.
        chained: refuse a line whose hash does not follow from the line before.
        imports: modules and packages that a replay may import if the log has actors, events or messages of them. It
            imports no other that is not of Bettensor: the log may be somebody else's.

    Raises:
        BadEventLog: it is not a log, or cannot be read here.
    """

    def __init__(self, file: Path, *, chained: bool = True, imports: Collection[str] = ()) -> None:
        self.file = file
        self._imports = imports
        self._stack = ExitStack()
        try:
            stream = self._stack.enter_context(_open(file))
        except (OSError, ValueError) as error:
            raise BadEventLog(f"{file}: cannot be read: {error}") from None
        try:
            self.reader = LogReader(_lines(stream, file), str(file), chained=chained)
        except BadEventLog:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, and close the file."""
        self._stack.close()

    @property
    def header(self) -> Header:
        """The first line: neuron, settings and versions."""
        return self.reader.header

    def rows(self) -> Iterator[Row]:
        """Every event, in order; once.

        Raises:
            BadEventLog: a line is damaged.
        """
        with self:
            yield from self.reader.rows()

    def bus(self, record: Callable[[Envelope], None] | None = None) -> ReplayBus:
        """A bus with the actors of this recording, ready to run it.

        Args:
            record: called with each envelope of the replay.

        Raises:
            BadEventLog: the actors cannot be built here.
        """
        return self._populated(ReplayBus(self.rows(), decided=self.header.record == "all", record=record), None)

    def replay(self, record: Callable[[Envelope], None] | None = None) -> Replayed:
        """Make every decision again, and compare with the recording.

        Args:
            record: called with each envelope of the replay.

        Raises:
            BadEventLog: a line is damaged, or the actors cannot be built here.
        """
        begun = time.perf_counter()
        bus = self.bus(record)
        first = bus.position[0]
        with self:
            bus.run()
        return self._replayed(bus, first, begun)

    def decided(self) -> Generator[ReplayedEvent, None, Replayed]:
        """Every event, in order; all decisions are made again. Returns the comparison with the recording.

        Raises:
            NotReplayable: the actors cannot be built here.
            BadEventLog: a line is damaged.
        """
        begun = time.perf_counter()
        made: deque[ReplayedEvent] = deque()

        def take(envelope: Envelope) -> None:
            actor = "" if is_observed(envelope) else bus.speaker
            made.append(ReplayedEvent(row_of(envelope), actor))

        bus = self.bus(take)
        first = bus.position[0]
        with self:
            for _ in bus.drains():
                while made:
                    yield made.popleft()
        return self._replayed(bus, first, begun)

    def _replayed(self, bus: ReplayBus, first: int, begun: float) -> Replayed:
        sealed, last = self.reader.sealed, bus.position[0]
        difference = None if bus.beyond and sealed is None else bus.difference
        surplus = 0 if sealed is None else last - sealed.seal.seq
        trail = causes_of(difference, bus.recent)
        return Replayed(difference, trail, surplus, last - first, time.perf_counter() - begun)

    def what_if(self, instead: Mapping[str, str], record: Callable[[Envelope], None] | None = None) -> WhatIf:
        """The decisions of other actors on the same observations.

        Args:
            instead: ``module:Class`` of replacements, by the name of the replaced actor.
            record: called with each envelope of the replay.

        Raises:
            BadEventLog: a line is damaged, or the actors cannot be built here.
            ConfigurationError: a class does not exist.
        """
        if self.header.record != "all":
            with TemporaryDirectory(prefix="bettensor-") as folder:
                whole = Path(folder) / self.file.name
                with saving(whole, self.header, self.reader.checkpoint) as copy:
                    self.replay(copy)
                return Recording(whole, imports=self._imports).what_if(instead, record)
        changes: list[Difference] = []
        bus = WhatIfBus(self.rows(), record=record, changed=changes.append)
        self._populated(bus, instead)
        with self:
            bus.run()
        return WhatIf(bus.unchanged, tuple(changes))

    def _populated(self, bus: ReplayBus, instead: Mapping[str, str] | None) -> ReplayBus:
        checkpoint = self.reader.checkpoint
        try:
            actors = actors_of(self.header, checkpoint, instead, self._imports)
        except BadEventLog as error:
            self.close()
            raise NotReplayable(f"{self.file}: {error}") from None
        except BettensorError:
            self.close()
            raise
        for actor in actors:
            actor.attach(bus)
        if checkpoint is not None:
            bus.begin_after(checkpoint.seq, checkpoint.at, checkpoint.mono)
        return bus


def causes_of(difference: Difference | None, trail: Iterable[Envelope]) -> tuple[Envelope, ...]:
    """The causes of a difference, as far as they are remembered."""
    place = None if difference is None else difference.replayed or difference.recorded
    if place is None:
        return ()
    known = {envelope.seq: envelope for envelope in trail}
    wanted, chain = list(place.causes), {}
    while wanted:
        seq = wanted.pop()
        if seq in known and seq not in chain:
            chain[seq] = known[seq]
            wanted.extend(known[seq].causes)
    return tuple(chain[seq] for seq in sorted(chain))


@contextmanager
def saving(file: Path, header: Header, checkpoint: Checkpoint | None = None) -> Iterator[Callable[[Envelope], None]]:
    """Write a recording with all its decisions: the block gets a function that takes the envelopes in order.

    Its seal has no signature. ``file`` appears only when it is complete.
    """
    writer = LogWriter(replace(header, record="all"))
    with temporary_file(file.with_name(f".{file.name}.part")) as part:
        with part.open("wb", buffering=READ_BYTES) as out:
            out.write(writer.first)
            if checkpoint is not None:
                out.write(writer.checkpoint(checkpoint))
            last = 0 if checkpoint is None else checkpoint.seq

            def record(envelope: Envelope) -> None:
                nonlocal last
                last = envelope.seq
                out.write(writer.row(envelope))

            yield record
            out.write(writer.seal(last, Micros(0), "saved", lambda _: b""))
        part.rename(file)


def log_files(place: Path) -> list[Path]:
    """The files of a log, the oldest first: all files of a folder, or the file itself."""
    if not place.is_dir():
        return [place]
    newest = place / "events.jsonl"
    found = {file.name.removesuffix(".gz"): file for file in closed_files(newest)}  # both may exist for a moment
    files = [*found.values(), *([newest] if newest.exists() else [])]
    if not files:
        raise BadEventLog(f"{place}: no event log is in this folder; if recorder.path is set, name its files")
    return files


def _open(file: Path) -> BufferedReader:
    """The file, inflated as it is read."""
    stream = open_regular(file)
    if stream.read(2) == _GZIP:
        stream.close()
        return BufferedReader(cast("RawIOBase", gzip.open(file)), READ_BYTES)
    stream.seek(0)
    return BufferedReader(stream, READ_BYTES)


def _lines(stream: BufferedReader, file: Path) -> Iterator[bytes]:
    """Each line; a file of a few kilobytes may hold a line of gigabytes, and is not inflated as a whole."""
    read = partial(stream.readline, MAX_LINE + 1)
    try:
        for number, line in enumerate(iter(read, b""), start=1):
            if len(line) > MAX_LINE:
                raise BadEventLog(f"{file}: line {number}: a line has more than {size(MAX_LINE)}")
            yield line
    except (OSError, EOFError, zlib.error) as error:
        raise BadEventLog(f"{file}: cannot be read to its end: {error}") from None
