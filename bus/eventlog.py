"""The recorded event log: its lines and their chain. Knows no file: bytes in, bytes out.

A log is one JSON object a line::

    {"bettensor":"event log","format":1,"role":...,"settings":{...},...,"hash":H1}      the header
    {"checkpoint":{"seq":...,"actors":{...}},"hash":H2}                        where a file goes on from another
    {"seq":1,"at":...,"mono":...,"causes":[],"topic":"neuron_started","event":{...},"hash":H3}
    ...
    {"seal":{"lines":...,"reason":"stop",...},"signature":"0x...","hash":Hn}   the end, signed by the hotkey;
                                                          unsigned in a recording derived from another

Each ``hash`` is SHA-256 over the hash of the line before (the header: over the last hash of the file before, or
nothing) and the line's own bytes up to its ``,"hash"``; so a line that was changed, left out or moved is found.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Annotated, Any, Final, NamedTuple, Self

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BadEventLog, Unreadable
from bettensor.bus.event_json import decode_event, encode_event, plain_event
from bettensor.bus.events import TOPICS, Event, Observed, Role, Scheme
from bettensor.bus.identifiers import Hotkey, Micros, Netuid
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.bus.upcasts import UPCASTS, as_much_as, without_words

FORMAT: Final = 2
"""The format that is written; earlier ones are read through ``bus/upcasts.py``."""
MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes of a line. The longest is a checkpoint; one of 4,000 sessions and 20,000 games has 20 MB."""
MARK: Final = "event log"
HEADER_MARK: Final = b'{"bettensor":"event log"'
"""How every header begins."""
_HASH: Final = len(',"hash":""}') + 64
"""Bytes at the end of each line."""
_FAULTS: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What reading JSON raises; the last one if it is nested too deeply."""
_READ_ON: Final = "`bettensor replay`, `trace` and `log` read on with --unchained"

_encoder: Final = msgspec.json.Encoder()
_object: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The data that a replay needs before the first event."""

    bettensor: str = MARK
    format: int = FORMAT
    role: Role
    netuid: Netuid
    hotkey: Hotkey
    scheme: Scheme
    record: str
    """``observed``, or ``all``: whether decisions are in it too."""
    settings: dict[str, Any]
    """The neuron's, resolved."""
    seed: int = 0
    """Of this run's jitter; ``neuron_started`` tells it to the actors."""
    previous: str = ""
    """The last hash of the file before this one."""
    started: str = ""
    """RFC 3339."""
    modules: tuple[str, ...] = ()
    """The modules that define the operator's own events and kinds of message."""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActorCheckpoint:
    """The settings and the state of one actor."""

    settings: dict[str, Any]
    state: msgspec.Raw
    """JSON, as the actor wrote it: a large one is written often, and seldom read."""

    @classmethod
    def of(cls, settings: dict[str, Any], state: dict[str, Any]) -> Self:
        """The same of plain data."""
        return cls(settings, msgspec.Raw(_encoder.encode(state)))

    def plain(self) -> dict[str, Any]:
        """The state as plain data.

        Raises:
            ValueError: it is no JSON object.
        """
        plain: dict[str, Any] = msgspec.json.decode(self.state, type=dict[str, Any])
        return plain


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All actors between two drains."""

    seq: int
    """Of the last event before."""
    at: Micros
    mono: Micros
    actors: dict[str, ActorCheckpoint]


@dataclass(frozen=True, slots=True)
class Seal:
    """The end of a file that was closed cleanly."""

    lines: int
    """Before this one."""
    seq: int
    """Of the last event, whether it is recorded or not."""
    at: Micros
    reason: str
    hash: str
    """Hash of the previous line; the signature covers it."""


class Row(NamedTuple):
    """One event of a log. It is decoded when it is asked for."""

    line: int
    seq: int
    at: Micros
    mono: Micros
    causes: tuple[int, ...]
    topic: str
    raw: bytes
    """The event as JSON."""
    where: str = ""
    """The file, for messages."""
    words_count: bool = True
    """Whether sentences for people are compared; see ``bus/upcasts.py``."""

    @property
    def observed(self) -> bool:
        """Whether it is an observed event, which a replay is fed."""
        return issubclass(_event_class(self), Observed)

    @property
    def event(self) -> Event:
        """
        Raises:
            BadEventLog: its fields are not those of its topic.
        """
        try:
            return decode_event(_event_class(self), self.raw)
        except ValidationError as error:  # pydantic's own text has several lines for each field
            faults = "; ".join(_told(details) for details in error.errors())
            raise self.fault(f"not a {self.topic}: {faults}") from None
        except (*_FAULTS, AttributeError, LookupError, TypeError, Unreadable) as error:
            raise self.fault(f"not a {self.topic}: {error}") from None

    @property
    def fields(self) -> dict[str, Any]:
        """The event as plain JSON data, whatever it is.

        Raises:
            BadEventLog: it is not JSON.
        """
        try:
            return _object.decode(self.raw)
        except _FAULTS as error:
            raise self.fault(f"not a {self.topic}: {error}") from None

    def fault(self, fault: str) -> BadEventLog:
        """The exception for a fault of this line."""
        return BadEventLog(f"{self.where}: line {self.line}: {fault}" if self.where else f"line {self.line}: {fault}")

    def same(self, replayed: Envelope) -> bool:
        """Whether a replay published the same event at the same place."""
        return self[1:5] == replayed[:4] and self.same_event(replayed.event)

    def same_event(self, event: Event) -> bool:
        """Whether ``event`` has the same topic and fields."""
        if self.topic != event.topic:
            return False
        again = encode_event(event)
        if again == self.raw:
            return True
        known, now = self.fields, _object.decode(again)
        if not self.words_count:
            now = as_much_as(known, self.topic, now)
            known, now = without_words(self.topic, known), without_words(self.topic, now)
        return known == now


def row_of(envelope: Envelope) -> Row:
    """An event that stands in no file, as a row."""
    seq, at, mono, causes, event = envelope
    return Row(0, seq, at, mono, causes, event.topic, encode_event(event))


def _told(details: ErrorDetails) -> str:
    return ": ".join(filter(None, (".".join(map(str, details["loc"])), details["msg"])))


def _event_class(row: Row) -> type[Event]:
    known = TOPICS.get(row.topic)
    if known is None:
        raise row.fault(f"no event is called {row.topic!r}; import the module that defines it")
    return known


# --- lines


class LogWriter:
    """Makes the lines of one file, each chained to the one before."""

    def __init__(self, header: Header) -> None:
        self.hash = header.previous
        self.lines = 0
        self.first = self._line(_encoder.encode(header)[:-1])
        """The header's line."""

    def checkpoint(self, checkpoint: Checkpoint) -> bytearray:
        """The line with which a file goes on from another. It may be long, so it is not copied."""
        line = bytearray(b'{"checkpoint":')
        _encoder.encode_into(checkpoint, line, -1)
        line += self._end(line)
        return line

    def row(self, envelope: Envelope) -> bytes:
        """The line of one event.

        Raises:
            TypeError, ValueError: it cannot be written as JSON, or is too long.
        """
        seq, at, mono, causes, event = envelope
        return self._line(_encoder.encode(_WrittenRow(seq, at, mono, causes, event.topic, plain_event(event)))[:-1])

    def seal(self, seq: int, at: Micros, reason: str, sign: Callable[[bytes], bytes]) -> bytes:
        """The last line; ``sign`` makes the hotkey's signature over its JSON."""
        seal = _encoder.encode(Seal(self.lines, seq, at, reason, self.hash))
        return self._line(b'{"seal":%b,"signature":"0x%b"' % (seal, sign(seal).hex().encode()))

    def _line(self, body: bytes) -> bytes:
        return body + self._end(body)

    def _end(self, body: bytes | bytearray) -> bytes:
        """The end of the line that begins with ``body``."""
        if len(body) > MAX_LINE - _HASH - 1:
            raise ValueError(f"a line of {len(body)} bytes is too long for an event log")
        self.hash = _chain(self.hash, body)
        self.lines += 1
        return b',"hash":"%b"}\n' % self.hash.encode()


class _WrittenRow(msgspec.Struct, gc=False):
    """Made, encoded and forgotten: the encoder takes it at once."""

    seq: int
    at: int
    mono: int
    causes: tuple[int, ...]
    topic: str
    event: Any


def _chain(before: str, body: bytes | bytearray) -> str:
    digest = sha256(before.encode())
    digest.update(body)
    return digest.hexdigest()


class SignedSeal(NamedTuple):
    """A seal with its signed bytes and signature."""

    seal: Seal
    payload: bytes
    signature: bytes
    """Empty if the seal is not signed."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Instant = Annotated[int, msgspec.Meta(ge=0, le=parse_rfc3339("9999-12-31T23:59:59.999999Z"))]


class _Line(msgspec.Struct):
    """Any line but the header."""

    seq: _Count = 0
    at: _Instant = 0
    mono: _Count = 0
    causes: tuple[int, ...] = ()
    topic: str = ""
    event: msgspec.Raw = msgspec.Raw(b"")
    checkpoint: msgspec.Raw = msgspec.Raw(b"")
    seal: msgspec.Raw = msgspec.Raw(b"")
    signature: str = ""


_line: Final = msgspec.json.Decoder(_Line)


class LogReader:
    """Reads one file, from its header on.

    Args:
        lines: the file's lines, with their ends.
        where: the file, for messages.
        chained: whether a line that does not follow from the one before is refused.

    Raises:
        BadEventLog: the first line is not a header that this release can read.
    """

    def __init__(self, lines: Iterable[bytes], where: str, *, chained: bool = True) -> None:
        self._lines = enumerate(lines, start=1)
        self._where = where
        self._chained = chained
        self.header = self._read_header()
        self.hash = self.header.previous
        """Of the last line that was read."""
        self.checkpoint: Checkpoint | None = None
        self.sealed: SignedSeal | None = None
        self.cut: int | None = None
        """The line that was being written when the neuron, or its disk, died; all before it counts."""
        self._follow(1, self._first)
        self._ahead = next(self._rows(), None)

    def rows(self) -> Iterator[Row]:
        """Every event, in order.

        Raises:
            BadEventLog: a line was changed, left out or moved, or is not a line of a log.
        """
        if self._ahead is not None:
            yield self._ahead
            yield from self._rows()

    def _rows(self) -> Iterator[Row]:
        for number, line in self._lines:
            if self.sealed is not None:
                raise self._fault(number, "a line follows the seal")
            if not line.endswith(b"}\n"):
                if not line.endswith(b"\n") and next(self._lines, None) is None:  # the writer died within it
                    self.cut = number
                    return
                raise self._fault(number, "not a line of an event log")
            before = self.hash
            self._follow(number, line)
            try:
                read = _line.decode(line)
            except _FAULTS as error:
                raise self._fault(number, f"not a line of an event log: {error}") from None
            if read.topic:
                topic, raw = read.topic, bytes(read.event)
                if self._format < FORMAT:
                    topic, raw = self._up_to_date(number, topic, raw)
                at, mono, words_count = Micros(read.at), Micros(read.mono), self._format == FORMAT
                yield Row(number, read.seq, at, mono, read.causes, topic, raw, self._where, words_count)
            elif read.signature:
                self.sealed = self._seal(number, before, read)
            elif read.checkpoint:
                self.checkpoint = self._read_checkpoint(number, bytes(read.checkpoint))
            else:
                raise self._fault(number, "not a line of an event log: neither event, checkpoint nor seal")

    def _read_header(self) -> Header:
        number, line = next(self._lines, (1, b""))
        self._first = line
        try:
            document = _object.decode(line)
        except _FAULTS:
            document = {}
        if not line.endswith(b"\n") and HEADER_MARK.startswith(line[: len(HEADER_MARK)]):
            text = "cut off" if line else "the file is empty"
            raise self._fault(number, f"{text}; the neuron or its disk died before anything was recorded")
        if document.get("bettensor") != MARK:
            raise self._fault(number, "not an event log of this project: its first line is not a header")
        version = document.get("format")
        if not isinstance(version, int) or version > FORMAT:
            text = f"format {version} is newer than format {FORMAT} of this release: install the release that wrote it"
            raise self._fault(number, text)
        if version < FORMAT and any(step not in UPCASTS for step in range(version, FORMAT)):
            raise self._fault(number, f"format {version} is too old: there is no upcast from it")
        self._format = version
        try:
            _, raw = self._up_to_date(number, "header", _encoder.encode(document))
            return replace(msgspec.json.decode(raw, type=Header), format=FORMAT)
        except msgspec.ValidationError as error:
            raise self._fault(number, f"the header lacks a field that a replay needs: {error}") from None

    def _read_checkpoint(self, number: int, raw: bytes) -> Checkpoint:
        _, raw = self._up_to_date(number, "checkpoint", raw)
        try:
            checkpoint = msgspec.json.decode(raw, type=Checkpoint)
            msgspec.convert({"seq": checkpoint.seq, "at": checkpoint.at, "mono": checkpoint.mono}, _Line)
        except _FAULTS as error:
            raise self._fault(number, f"neither an event nor a checkpoint: {error}") from None
        return checkpoint

    def _follow(self, number: int, line: bytes) -> None:
        body, given = line[: -_HASH - 1], line[-67:-3].decode("latin-1")
        self.hash, before = given, self.hash
        if self._chained and _chain(before, body) != given:
            what = "it was changed" if number == 1 else "it was changed, or lines before it are missing or out of order"
            raise self._fault(number, f"its hash does not follow: {what}; {_READ_ON}")

    def _up_to_date(self, number: int, topic: str, raw: bytes) -> tuple[str, bytes]:
        try:
            event = _object.decode(raw)
            for version in range(self._format, FORMAT):
                for upcast in UPCASTS[version]:
                    topic, event = upcast(topic, event)
        except (*_FAULTS, AttributeError, LookupError, TypeError) as error:
            raise self._fault(number, f"not a {topic} of format {self._format}: {error!r}") from None
        return topic, _encoder.encode(event)

    def _seal(self, number: int, before: str, read: _Line) -> SignedSeal:
        try:
            seal = msgspec.json.decode(read.seal, type=Seal)
            signature = bytes.fromhex(read.signature.removeprefix("0x"))
        except _FAULTS as error:
            raise self._fault(number, f"not a seal: {error}") from None
        if self._chained and (seal.lines, seal.hash) != (number - 1, before):
            fault = "the seal is not of these lines: they were rewritten, or some are missing"
            raise self._fault(number, f"{fault}; {_READ_ON}", vouched=False)
        return SignedSeal(seal, bytes(read.seal), signature)

    def _fault(self, number: int, fault: str, *, vouched: bool = True) -> BadEventLog:
        vouched = vouched and self._chained and number > 1
        still = f"; lines 1 to {number - 1} are unchanged" if vouched else ""
        return BadEventLog(f"{self._where}: line {number}: {fault}{still}")
