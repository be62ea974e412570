"""Verifies a log: its chain of hashes, the seals of its files, and every signature of a peer in it.

Trusts no conclusion of the neuron: each signature is verified again, over the bytes as they were received, by the
scheme that the neuron's operator had pinned for the hotkey; in a log of 0.1.0, by the scheme that the peer named.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bettensor.actors.miner.synapse import Inadmissible, read_claims
from bettensor.actors.schemes import DEFAULT, SCHEMES, pinned_scheme
from bettensor.bus import codec
from bettensor.bus.errors import BadEventLog, Unreadable
from bettensor.bus.eventlog import Checkpoint, Row, SignedSeal
from bettensor.bus.events import (
    AxonAnswered,
    ConnectionClosed,
    FrameReceived,
    HttpRequestReceived,
    MetagraphFetched,
    NeuronStarted,
    QueryReceived,
    RequestBodyReceived,
    Role,
    Scheme,
    SettingsReloaded,
    SignatureChecked,
)
from bettensor.bus.identifiers import Hotkey
from bettensor.bus.messages import WelcomeMessage
from bettensor.bus.synapse import signed_text
from bettensor.bus.text import counted, printable
from bettensor.neurons.edges.keys import verify, verify_bytes, verify_request
from bettensor.neurons.recordings.recording import Recording

_PINNING: Final[dict[Role, str]] = {"validator": "auth", "miner": "connection"}
"""The actor that pins the schemes of peers."""


@dataclass(slots=True)
class Words:
    """The number of one hotkey's proven frames and requests."""

    frames: int = 0
    """Frames with its valid signature."""
    requests: int = 0
    """Requests with its valid signature."""


@dataclass(slots=True)
class Report:
    """The findings of an audit."""

    files: list[dict[str, Any]] = field(default_factory=list)
    """For each file: name, owner, lines, last hash, kind of end, and the signer of the end."""
    signers: dict[Hotkey, Words] = field(default_factory=dict)
    endpoints: Counter[Hotkey] = field(default_factory=Counter)
    """Predictions by the miner whose endpoint gave them over Synapse. Nobody signs those, so there is nothing to
    verify."""
    unproven: int = 0
    """Frames and requests with a wrong signature or none, which the neuron refused or did not verify."""
    partial: int = 0
    """Requests that the neuron found to be signed, of which the query is not recorded whole: nobody can verify them."""
    faults: list[str] = field(default_factory=list)
    """The faults of the log; empty for a log that passes the audit."""


@dataclass(slots=True)
class _Claim:
    """A frame or request that arrived over one connection, and whether its signature is valid."""

    line: int
    what: str
    hotkey: Hotkey
    proven: bool | None
    """None: the log does not have all that was signed."""


def audit(files: Iterable[Path]) -> Report:
    """Check the files of a log, the oldest first. Each is read to its end, or to the first broken line.

    Takes about 50 us for each signature.
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
                lines = witness(recording, report)
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


def witness(recording: Recording, report: Report) -> int:
    """Check all that peers signed in one file, and add it to ``report``; returns the number of lines.

    Raises:
        BadEventLog: a line is damaged.
    """
    return _Witness(recording, report).hear()


def _seal(sealed: SignedSeal | None, recording: Recording, report: Report) -> dict[str, Any]:
    if sealed is None:
        return {"ends_by": None, "signed": False}
    header = recording.header
    signed = bool(sealed.signature) and verify(header.hotkey, header.scheme, sealed.payload, sealed.signature)
    if sealed.signature and not signed:
        report.faults.append(f"{recording.file}: its seal is not signed by {header.hotkey}, whose log it says it is")
    return {"ends_by": sealed.seal.reason, "signed": signed}


class _Pins:
    """The scheme by which each peer must sign, at each moment of a file."""

    def __init__(self, recording: Recording) -> None:
        header, checkpoint = recording.header, recording.reader.checkpoint
        self._file = recording.file
        self._actor = _PINNING[header.role]
        self._in_force = True
        self._configured = self._configured_in(header.settings)
        self._listed: dict[Hotkey, Scheme | None] = {}
        if checkpoint is not None:
            self._remember(checkpoint)

    def _remember(self, checkpoint: Checkpoint) -> None:
        pinning, metagraph = checkpoint.actors.get(self._actor), checkpoint.actors.get("metagraph")
        if pinning is not None:
            with _expected(f"{self._file}: line 2: the checkpoint is not one of the actor {self._actor!r}"):
                self._in_force = pinning.plain().get("pins_schemes", True)
            self._configured = self._configured_in(pinning.settings)
        if metagraph is not None:
            with _expected(f"{self._file}: line 2: the checkpoint is not one of the actor 'metagraph'"):
                neurons = metagraph.plain().get("neurons", {}).items()
                self._listed = {hotkey: SCHEMES.get(neuron.get("crypto")) for hotkey, neuron in neurons}

    def hear(self, event: Any) -> None:
        """Take what the neuron learned about schemes."""
        match event:
            case NeuronStarted():
                self._in_force = not event.is_of_0_1
            case MetagraphFetched():
                self._listed = {neuron.hotkey: neuron.crypto for neuron in event.neurons}
            case SettingsReloaded() if self._actor in event.actors:
                self._configured = self._configured_in(event.actors[self._actor])

    def scheme(self, hotkey: Hotkey, named: str) -> Scheme:
        """The scheme of ``hotkey``, whose own message names ``named``."""
        if self._in_force:
            return pinned_scheme(hotkey, self._configured, self._listed.get(hotkey))
        return SCHEMES.get(named, DEFAULT)

    def _configured_in(self, settings: dict[str, Any]) -> dict[Hotkey, Scheme]:
        """``auth.schemes`` of a neuron, or of one of its actors; 0.1.0 had none."""
        with _expected(f"{self._file}: its header or a checkpoint has wrong settings of auth.schemes"):
            schemes = settings.get("auth", {}).get("schemes", {}).items()
            return {Hotkey(hotkey): SCHEMES[scheme] for hotkey, scheme in schemes}


class _Witness:
    """Verifies one file."""

    def __init__(self, recording: Recording, report: Report) -> None:
        checkpoint = recording.reader.checkpoint
        self._recording = recording
        self._report = report
        self._me = recording.header.hotkey
        self._before = 0 if checkpoint is None else checkpoint.seq
        """Requests for verification up to here, and their frames, are in the previous file."""
        self._pins = _Pins(recording)
        self._schemes = {} if checkpoint is None else _schemes_at(recording.file, checkpoint)
        """By connection."""
        self._digests: dict[int, str] = {}
        """By connection, the digest of the body that its request was signed with."""
        self._claims: dict[int, deque[_Claim]] = {}
        """Claims that the neuron may still check, by connection, in the order of their arrival."""
        self._passed: dict[int, _Claim] = {}
        """By connection, the last claim that the neuron seems to have skipped: it checked a later claim first."""
        self._listeners: Final[dict[str, Callable[[Row, Any], None]]] = {
            HttpRequestReceived.topic: self._hear_request,
            RequestBodyReceived.topic: self._hear_body,
            QueryReceived.topic: self._hear_query,
            FrameReceived.topic: self._hear_frame,
            SignatureChecked.topic: self._compare,
            AxonAnswered.topic: self._count_answer,
            ConnectionClosed.topic: self._forget_connection,
        } | dict.fromkeys(
            (NeuronStarted.topic, MetagraphFetched.topic, SettingsReloaded.topic),
            lambda _, event: self._pins.hear(event),
        )

    def hear(self) -> int:
        """Verify the whole file; returns the number of its lines.

        Raises:
            BadEventLog: a line is damaged.
        """
        line = 1
        for row in self._recording.rows():
            line = row.line
            listener = self._listeners.get(row.topic)
            if listener is not None:
                listener(row, row.event)
        for claims in self._claims.values():
            for claim in claims:
                self._judge(claim)
        return line + (self._recording.reader.sealed is not None)

    def _hear_request(self, row: Row, request: Any) -> None:
        headers = dict(request.headers)
        hotkey = Hotkey(headers.get("x-bittensor-hotkey", ""))
        scheme = self._pins.scheme(hotkey, headers.get("x-bittensor-crypto", DEFAULT))
        self._schemes[request.connection], self._digests[request.connection] = scheme, request.digest
        if hotkey:
            proven = verify_request(request, self._me, scheme) if request.is_whole else None
            self._claim(request.connection, _Claim(row.line, "request", hotkey, proven))

    def _hear_body(self, row: Row, received: Any) -> None:
        if self._digests.get(received.connection) != sha256(received.body).hexdigest():
            self._report.faults.append(
                f"{self._where(row.line)}: the body of this request is not the one that was signed"
            )

    def _hear_query(self, row: Row, query: Any) -> None:
        try:
            claims = read_claims(query)
        except Inadmissible:
            self._report.unproven += 1
            return
        text = signed_text(claims.nonce, claims.hotkey, self._me, claims.uuid)
        proven = verify_bytes(claims.hotkey, self._pins.scheme(claims.hotkey, DEFAULT), text, claims.signature)
        self._claim(query.connection, _Claim(row.line, "request", claims.hotkey, proven))

    def _hear_frame(self, row: Row, event: Any) -> None:
        try:
            frame = codec.split(event.data)
            message = codec.read(frame.payload)
        except Unreadable:
            self._report.unproven += 1
            return
        hotkey = message.sender_hotkey
        if isinstance(message, WelcomeMessage):
            self._schemes[event.connection] = self._pins.scheme(hotkey, message.crypto)
        scheme = self._schemes.get(event.connection, DEFAULT)
        proven = verify(hotkey, scheme, frame.payload, frame.signature)
        self._claim(event.connection, _Claim(row.line, "frame", hotkey, proven))

    def _count_answer(self, _: Row, answer: Any) -> None:
        self._report.endpoints[answer.hotkey] += len(answer.predictions)

    def _forget_connection(self, _: Row, closed: Any) -> None:
        self._schemes.pop(closed.connection, None)
        self._digests.pop(closed.connection, None)

    def _claim(self, connection: int, claim: _Claim) -> None:
        self._claims.setdefault(connection, deque()).append(claim)

    def _compare(self, row: Row, checked: Any) -> None:
        """Compare the neuron's check with the present one.

        Several frames may arrive before the first of them is checked. Some are never checked, but the checks are in the
        order of arrival. So a check belongs to the first waiting frame for which it is right.
        """
        if checked.request <= self._before:
            return
        connection, found = checked.connection, checked.valid
        claims = self._claims.get(connection, deque())
        if claims and claims[0].proven is None:
            claims.popleft()
            self._report.partial += found
            self._report.unproven += not found
        elif any(claim.proven == found for claim in claims):
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
    """The schemes of the connections that were open when the file began."""
    known = checkpoint.actors.get("connection")
    with _expected(f"{file}: line 2: the checkpoint is not one of the actor 'connection'"):
        sessions = {} if known is None else known.plain().get("sessions", {})
        return {int(connection): SCHEMES[session["scheme"]] for connection, session in sessions.items()}


@contextmanager
def _expected(otherwise: str) -> Iterator[None]:
    """Raise ``BadEventLog`` if plain data does not have the shape that neurons give it."""
    try:
        yield
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise BadEventLog(otherwise) from None


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    signers = {hotkey: {"frames": w.frames, "requests": w.requests} for hotkey, w in report.signers.items()}
    return {
        "ok": not report.faults,
        "files": report.files,
        "signers": signers,
        "endpoints": dict(report.endpoints),
        "unproven": report.unproven,
        "partial": report.partial,
        "faults": report.faults,
    }


def text(report: Report) -> Iterator[str]:
    """The report for people, line by line."""
    for file in report.files:
        end = {
            "stop": "ends with the stop of its neuron",
            "rotation": "continues in the next file",
            "saved": "a recording made from another log",
            None: "no seal: the neuron is still running or was killed",
        }.get(file["ends_by"], file["ends_by"])
        signed = f"; signed by {file['hotkey']}" if file["signed"] else "; not signed"
        cut = f", line {file['cut_line']} is cut off" if file["cut_line"] else ""
        yield f"{file['file']}: {file['lines']} lines, unchanged; {end}{signed}{cut}"
        yield f"  last hash: {file['hash']}"
    for hotkey, words in sorted(report.signers.items()):
        yield f"{hotkey} signed {counted(words.frames, 'frame')} and {counted(words.requests, 'request')}"
    for hotkey, predictions in sorted(report.endpoints.items()):
        yield f"{hotkey}: {counted(predictions, 'prediction')} from its endpoint over Synapse, which nobody signs"
    if report.unproven:
        yield f"{report.unproven} frames and requests have no valid signature; the neuron did not accept them"
    if report.partial:
        yield f"{counted(report.partial, 'request')} cannot be verified: the query is not recorded whole"
    yield from (f"FAULT {fault}" for fault in report.faults)
