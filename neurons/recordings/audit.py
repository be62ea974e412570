"""Who said what, provably: a log's chain of hashes, the seals of its files, and every signature of a peer in it.

Trusts nothing that the neuron concluded: each signature is verified again, over the bytes as they were received.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bettensor.bus import codec
from bettensor.bus.errors import BadEventLog, Unreadable
from bettensor.bus.eventlog import Checkpoint, Row, SignedSeal
from bettensor.bus.events import ConnectionClosed, FrameReceived, HttpRequestReceived, Scheme, SignatureChecked
from bettensor.bus.identifiers import Hotkey
from bettensor.bus.messages import WelcomeMessage
from bettensor.bus.text import counted, printable
from bettensor.neurons.edges.keys import verify, verify_request
from bettensor.neurons.recordings.recording import Recording

_SCHEMES: Final[dict[str, Scheme]] = {"sr25519": "sr25519", "ed25519": "ed25519"}


@dataclass(slots=True)
class Words:
    """What one hotkey said, as far as it is proven."""

    frames: int = 0
    """With its signature."""
    requests: int = 0
    """With its signature."""


@dataclass(slots=True)
class Report:
    """What an audit of a log found."""

    files: list[dict[str, Any]] = field(default_factory=list)
    """Of each: file, owner, lines, the last hash, how it ends, and by whom that is signed."""
    signers: dict[Hotkey, Words] = field(default_factory=dict)
    unproven: int = 0
    """Frames and requests with a wrong signature or none, which the neuron has refused or never looked at."""
    faults: list[str] = field(default_factory=list)
    """What is not as it should be; empty for a log that can be believed."""


@dataclass(slots=True)
class _Claim:
    """What came by one connection, and whether it is proven."""

    line: int
    what: str
    hotkey: Hotkey
    proven: bool


def audit(files: Iterable[Path]) -> Report:
    """Check the files of a log, the oldest first. Each is read to its end, or to where it cannot be believed any more.

    About 50 us a signature.
    """
    report = Report()
    previous: tuple[Path, str] | None = None
    for file in files:
        try:
            with Recording(file) as recording:
                header = recording.header
                if previous is not None and header.previous != previous[1]:
                    fault = f"{file}: it does not go on where {previous[0]} ends: a file is missing or changed"
                    report.faults.append(fault)
                lines = _Witness(recording, report).hear()
        except BadEventLog as error:
            report.faults.append(str(error))
            previous = None
            continue
        previous = file, recording.reader.hash
        report.files.append(
            {
                "file": str(file),
                "hotkey": header.hotkey,
                "role": header.role,
                "lines": lines,
                "hash": recording.reader.hash,
                "cut_line": recording.reader.cut,
                **_seal(recording.reader.sealed, recording, report),
            }
        )
    return report


def _seal(sealed: SignedSeal | None, recording: Recording, report: Report) -> dict[str, Any]:
    if sealed is None:
        return {"ends_by": None, "signed": False}
    header = recording.header
    signed = bool(sealed.signature) and verify(header.hotkey, header.scheme, sealed.payload, sealed.signature)
    if sealed.signature and not signed:
        report.faults.append(f"{recording.file}: its seal is not signed by {header.hotkey}, whose log it says it is")
    return {"ends_by": sealed.seal.reason, "signed": signed}


class _Witness:
    """Hears one file again."""

    def __init__(self, recording: Recording, report: Report) -> None:
        checkpoint = recording.reader.checkpoint
        self._recording = recording
        self._report = report
        self._me = recording.header.hotkey
        self._before = 0 if checkpoint is None else checkpoint.seq
        """Questions up to here are of the file before, and so is what they are about."""
        self._schemes = {} if checkpoint is None else _schemes_at(recording.file, checkpoint)
        self._claims: dict[int, deque[_Claim]] = {}
        """What may still be checked, by connection, in the order in which it came."""
        self._passed: dict[int, _Claim] = {}
        """By connection, the last claim that seems never to have been checked: a later one was checked before it."""

    def hear(self) -> int:
        """All of it; returns the number of its lines.

        Raises:
            BadEventLog: a line is not as it was written.
        """
        line = 1
        for row in self._recording.rows():
            line = row.line
            if row.topic == HttpRequestReceived.topic:
                self._hear_request(row, row.event)
            elif row.topic == FrameReceived.topic:
                self._hear_frame(row, row.event)
            elif row.topic == SignatureChecked.topic:
                self._compare(row, row.event)
            elif row.topic == ConnectionClosed.topic:
                self._forget_scheme(row.event)
        for claims in self._claims.values():
            for claim in claims:
                self._judge(claim)
        return line + (self._recording.reader.sealed is not None)

    def _hear_request(self, row: Row, request: Any) -> None:
        headers = dict(request.headers)
        scheme = _SCHEMES.get(headers.get("x-bittensor-crypto", "sr25519"), "sr25519")
        self._schemes[request.connection] = scheme
        hotkey = Hotkey(headers.get("x-bittensor-hotkey", ""))
        if hotkey:
            proven = verify_request(request, self._me, row.at, scheme)
            self._claim(request.connection, _Claim(row.line, "request", hotkey, proven))

    def _hear_frame(self, row: Row, event: Any) -> None:
        try:
            frame = codec.split(event.data)
            message = codec.read(frame.payload)
        except Unreadable:
            self._report.unproven += 1
            return
        hotkey = message.sender_hotkey
        if isinstance(message, WelcomeMessage):  # the validator's scheme, for its session
            self._schemes[event.connection] = _SCHEMES.get(message.crypto, "sr25519")
        scheme = self._schemes.get(event.connection, "sr25519")
        proven = verify(hotkey, scheme, frame.payload, frame.signature)
        self._claim(event.connection, _Claim(row.line, "frame", hotkey, proven))

    def _forget_scheme(self, closed: Any) -> None:
        self._schemes.pop(closed.connection, None)

    def _claim(self, connection: int, claim: _Claim) -> None:
        self._claims.setdefault(connection, deque()).append(claim)

    def _compare(self, row: Row, checked: Any) -> None:
        """What the neuron found, beside what is found now.

        Several frames may arrive before the first of them is checked. Some are never checked, but those that are, are
        checked in the order of their arrival. So a check belongs to the first waiting frame that it is true of.
        """
        if checked.request <= self._before:
            return
        connection, found = checked.connection, checked.valid
        claims = self._claims.get(connection, deque())
        if any(claim.proven == found for claim in claims):
            while (claim := claims.popleft()).proven != found:
                self._judge(claim)
                self._passed[connection] = claim
            self._judge(claim)
        elif claims:
            self._contradict(claims.popleft(), row)
        elif connection in self._passed:
            claim = self._passed.pop(connection)
            self._report.unproven -= not claim.proven
            self._contradict(claim, row)
        else:
            self._report.faults.append(f"{self._where(row.line)}: a signature was checked, and there is none")

    def _contradict(self, claim: _Claim, row: Row) -> None:
        is_, found = ("good", "bad") if claim.proven else ("bad", "good")
        self._report.faults.append(
            f"{self._where(claim.line)}: the signature of this {claim.what} by {printable(claim.hotkey)} is {is_}, "
            f"and line {row.line} says that it was found {found}"
        )

    def _judge(self, claim: _Claim) -> None:
        if not claim.proven:
            self._report.unproven += 1
            return
        words = self._report.signers.setdefault(claim.hotkey, Words())
        if claim.what == "frame":
            words.frames += 1
        else:
            words.requests += 1

    def _where(self, line: int) -> str:
        return f"{self._recording.file}: line {line}"


def _schemes_at(file: Path, checkpoint: Checkpoint) -> dict[int, Scheme]:
    """Of the connections that were open when a file went on from another."""
    known = checkpoint.actors.get("connection")
    sessions = {} if known is None else known.state.get("sessions", {})
    try:
        return {int(connection): _SCHEMES[session["scheme"]] for connection, session in sessions.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadEventLog(f"{file}: line 2: the checkpoint is not one of the actor 'connection'") from None


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    signers = {hotkey: {"frames": w.frames, "requests": w.requests} for hotkey, w in report.signers.items()}
    return {
        "ok": not report.faults,
        "files": report.files,
        "signers": signers,
        "unproven": report.unproven,
        "faults": report.faults,
    }


def text(report: Report) -> Iterator[str]:
    """The report for people, line by line."""
    for file in report.files:
        end = {
            "stop": "ends with the stop of its neuron",
            "rotation": "continues in the next file",
            "saved": "derived from another log",
            None: "without a seal: its neuron is running, or died",
        }.get(file["ends_by"], file["ends_by"])
        signed = f", signed by {file['hotkey']}" if file["signed"] else ", not signed"
        cut = f", line {file['cut_line']} is cut off" if file["cut_line"] else ""
        yield f"{file['file']}: {file['lines']} lines, unchanged; {end}{signed}{cut}"
        yield f"  last hash: {file['hash']}"
    for hotkey, words in sorted(report.signers.items()):
        yield f"{hotkey} signed {counted(words.frames, 'frame')} and {counted(words.requests, 'request')}"
    if report.unproven:
        yield f"{report.unproven} frames and requests have no valid signature; the neuron did not accept them"
    yield from (f"FAULT {fault}" for fault in report.faults)
