"""Every event of a neuron. Their order on the bus is the neuron's complete history.

An **observed** event reports the outside world; only edges publish them. A **decided** event is what an actor
concluded; only actors publish them, and a replay of what was observed decides the same again. Events are frozen, are
named in the past tense (requests to the world end in ``Requested``), and have no behaviour.

A subclass of ``Observed`` or ``Decided`` anywhere is an event: its topic is its name in snake case.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Final, Literal

from bettensor.bus.codes import RefusalCode, VerdictCode
from bettensor.bus.games import Prediction, TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import (
    ConnectionId,
    Epoch,
    GameId,
    Hotkey,
    LedgerId,
    Micros,
    Millionths,
    Netuid,
    Offset,
    PredictionId,
    SessionId,
    Uid,
)
from bettensor.bus.messages import Broadcast, GameUpdateMessage, WebSocketMessage
from bettensor.bus.records import quick
from bettensor.bus.synapse import LeftOut, Result

Role = Literal["validator", "miner"]
Scheme = Literal["sr25519", "ed25519"]
Purpose = Literal["session", "predictions", "games"]
"""The purpose of a miner's request: a WebSocket, or one HTTP exchange."""

BarCause = Literal["network", "everybody", "hotkey"]
"""Whose budget is spent for which a request is turned away."""
TimerKey = int | str | tuple[str, ...] | None
"""The object of a timer: a connection, a hotkey, or a hotkey and a game."""
Road = Literal["websocket", "http", "synapse"]
Proof = Literal["signature", "endpoint", "imported"]
"""What shows whose a prediction is: its miner's signature; only that it came from its miner's endpoint, over Synapse;
or the database of another program, from which it was imported."""
FallbackCause = Literal["no_session", "no_connection", "no_verdict", "disabled"]
"""No session; a failed dial; a session that brings no verdicts; a WebSocket disabled here."""
PauseCause = Literal["answers", "work"]
"""Too many predictions of a session wait for their answers; or its hotkey has given this validator too much work."""
TlsTrouble = Literal["wanted", "handshake", "other_key"]
"""What answered a plain request may expect TLS; no TLS handshake succeeded; the certificate is of another key than the
expected one."""

TOPICS: Final[dict[str, type["Event"]]] = {}
"""Topic -> event class: all that can be subscribed to."""

NO_BODY: Final = sha256().hexdigest()
"""The digest of a request without a body."""

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Event:
    """Something that happened."""

    __slots__ = ()
    topic: ClassVar[str]
    route: ClassVar[str]
    """By which the bus finds who hears the event: its topic, unless it has an address (see ``route_to``)."""

    def __init_subclass__(cls) -> None:
        cls.topic = _WORD_START.sub("_", cls.__name__).lower()
        if "route" not in vars(cls):
            cls.route = cls.topic
        if cls.__name__ in ("Observed", "Decided"):
            return
        known = TOPICS.get(cls.topic)
        # dataclass(slots=True) makes each class twice; two different classes of one name are a mistake
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"the topic {cls.topic!r} belongs to {known.__module__}.{known.__qualname__}; rename one")
        TOPICS[cls.topic] = cls


def route_to(topic: str, address: str) -> str:
    """The route of events of ``topic`` that concern only the one subscriber at ``address``."""
    return f"{topic} {address}"


class Observed(Event):
    """An event that an edge reports."""

    __slots__ = ()


class Decided(Event):
    """We concluded."""

    __slots__ = ()


class FromPeer:
    """Marks events that one message of one peer leads to: a failure while one is handled is charged to that peer."""

    __slots__ = ()
    connection: ConnectionId


# --- the neuron itself


@dataclass(frozen=True, slots=True)
class NeuronStarted(Observed):
    """The first event of every run."""

    role: Role
    netuid: Netuid
    hotkey: Hotkey
    scheme: Scheme
    seed: int
    """The seed of the jitter of delays, and of nothing else; new for each run."""
    is_of_0_1: bool = False
    """True in logs of release 0.1.0: the actors decide as that release did, which for example pinned no schemes."""


@dataclass(frozen=True, slots=True)
class ListeningBegun(Observed):
    """A validator accepts connections, or a miner the questions of existing validators."""

    endpoint: str
    """The bound address and port."""


@dataclass(frozen=True, slots=True)
class ConnectionsShed(Observed):
    """A limit of the public port has closed connections; told at once, and then at most once a minute."""

    limit: str
    """Its key in the section ``limits``."""
    most: int
    """Its value."""
    count: int
    """Connections that it has closed since this was told last."""
    network: str
    """Where one of them came from: an IPv4 address, or 64 bits of IPv6."""


@dataclass(frozen=True, slots=True)
class AcceptingFailed(Observed):
    """The system gives the public port no further connection, such as for too many open files; the port tries again."""

    reason: str


@dataclass(frozen=True, slots=True)
class AcceptingResumed(Observed):
    """The public port has had all connections for some seconds."""


@dataclass(frozen=True, slots=True)
class NeuronDraining(Observed):
    """A neuron is about to stop: it accepts nothing more, and still answers what it has."""


@dataclass(frozen=True, slots=True)
class NeuronStopping(Observed):
    """The operator or a failure ends this run: no new work begins, and sessions end."""

    reason: str


@dataclass(frozen=True, slots=True)
class NeuronStopped(Observed):
    """The last event of a run: all edges are closed, and ``state_dir`` is free. It becomes a log line, but is in no
    recording, and no user's handler hears it.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class TimerRequested(Decided):
    """``timer`` shall fire when the monotonic clock reads ``deadline``; replaces the owner's timer of the same name
    and key.
    """

    owner: str
    """The actor that sets the timer, and hears it."""
    timer: str
    """The timer's name: one of the owner's ``@on_timer``."""
    key: TimerKey
    """The object of the timer; None if the owner has only one timer of this name."""
    deadline: Micros


@dataclass(frozen=True, slots=True)
class TimerCancelled(Decided):
    """Cancel a timer; without effect if it is not set."""

    owner: str
    timer: str
    key: TimerKey


@dataclass(frozen=True, slots=True)
class TimerFired(Observed):
    """A deadline has passed. Delivered to ``owner``, and to subscribers that hear the timers of all owners."""

    owner: str
    timer: str
    key: TimerKey

    @property
    def route(self) -> str:  # type: ignore[override]
        """The owner's own."""
        return route_to(self.topic, self.owner)


@dataclass(frozen=True, slots=True)
class ClockStepped(Observed):
    """The wall clock departed from the monotonic clock by more than five seconds within a minute."""

    by: Micros
    """Forward if positive."""


@dataclass(frozen=True, slots=True)
class ActorFailed(Decided):
    """A handler of an actor or an edge raised. The other handlers still got the event."""

    actor: str
    seq: int
    """The ``seq`` of the event that was being handled."""
    handling: str
    """The topic of that event."""
    connection: ConnectionId | None
    """The peer to which the failure is charged; None if it is our own."""
    error: str
    """The traceback."""


@dataclass(frozen=True, slots=True)
class EdgeFailed(Observed):
    """A task of an edge raised an unexpected exception; the neuron stops."""

    edge: str
    task: str
    error: str
    """The traceback."""


@dataclass(frozen=True, slots=True)
class NeuronFailed(Decided):
    """This neuron cannot continue; it stops with a non-zero exit code."""

    reason: str


@dataclass(frozen=True, slots=True)
class StatusRequested(Observed):
    """An operator asks how the neuron is doing. Answered by ``StatusReported``."""

    request: int
    slates: bool = False
    """In runs of release 0.1.0: whether all games belong in the answer."""


@dataclass(frozen=True, slots=True)
class StatusReported(Decided):
    """The neuron's status, which ``top`` and ``peers`` show."""

    request: int
    status: dict[str, Any]
    """Plain JSON data."""


@dataclass(frozen=True, slots=True)
class SettingsReloaded(Observed):
    """The operator changed the configuration; the keys that a running neuron can change are in force."""

    actors: dict[str, dict[str, Any]]
    """All settings of each actor that has new ones, by the actor's name; already checked."""
    taken: tuple[str, ...]
    """The changed keys that are in force."""
    waiting: tuple[str, ...]
    """The keys whose new values wait for a restart."""


@dataclass(frozen=True, slots=True)
class MetricsUnavailable(Observed):
    """The metrics cannot be served; the neuron does without."""

    reason: str


@dataclass(frozen=True, slots=True)
class WatchRefused(Observed):
    """The system sends no notifications of changed files; the neuron checks its files every second instead."""

    reason: str


@dataclass(frozen=True, slots=True)
class RecordingFailed(Observed):
    """The recording cannot be written; it has ended, and the neuron goes on without it."""

    reason: str


@dataclass(frozen=True, slots=True)
class RecordingResumed(Observed):
    """The disk works again: a new file begins with the state of all actors. The events in between are in no file."""


@dataclass(frozen=True, slots=True)
class StateDirTightened(Observed):
    """Other users could read or change files in ``state_dir``, such as those of release 0.1.0; now they cannot."""

    what: tuple[str, ...]
    """Each file, or the folder, with its former permissions."""


@dataclass(frozen=True, slots=True)
class UpgradeBegun(Observed):
    """A database of an older release is being upgraded; the neuron starts when this is done."""

    file: str
    """The file's name, in ``state_dir``."""
    schema: int
    """The present version of its schema."""
    newest: int
    """The new version of its schema."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class ReloadFailed(Observed):
    """The configuration, or a file that it names, cannot be read; the old settings stay in force."""

    reason: str
    """File, key and the expected value."""


@quick
@dataclass(frozen=True, slots=True)
class LineLogged(Decided):
    """A line for the operator's log."""

    level: str
    """loguru's: ``DEBUG``, ``INFO``, ``SUCCESS``, ``WARNING``, ``ERROR``, ``CRITICAL``."""
    text: str


@dataclass(frozen=True, slots=True)
class HandlerFailed(Observed):
    """A user's handler raised. Nothing else is affected."""

    handler: str
    handling: str
    """The topic."""
    error: str


@dataclass(frozen=True, slots=True)
class HandlerOverflowed(Observed):
    """A user's handler is too slow for its topic: events were dropped for it alone."""

    handler: str
    handling: str
    """The topic."""
    dropped: int
    """Number of dropped events so far in this run."""


# --- the neurons of the subnet


@dataclass(frozen=True, slots=True)
class NeuronInfo:
    """One row of the metagraph."""

    uid: Uid
    hotkey: Hotkey
    coldkey: str = ""
    validator_permit: bool = False
    stake: float = 0.0
    """In the subnet's own token."""
    axon: str | None = None
    """``ip:port`` at which this neuron serves; None if it serves nowhere."""
    crypto: Scheme | None = None
    """The scheme of its signatures; None where the metagraph does not say."""


MetagraphSource = Literal["file", "chain", "disk"]


@dataclass(frozen=True, slots=True)
class MetagraphFetched(Observed):
    """The subnet's neurons, from the operator's file, from the chain, or from the copy kept on disk."""

    neurons: tuple[NeuronInfo, ...]
    source: MetagraphSource = "file"
    block: int = 0
    """The chain's block; 0 for a file."""
    fetched_at: Micros = Micros(0)
    """Wall clock at the reading."""


@dataclass(frozen=True, slots=True)
class MetagraphSynced(Decided):
    """All neurons of the subnet, from now on: the fetched metagraph is accepted."""

    neurons: tuple[NeuronInfo, ...]
    changed: tuple[Hotkey, ...] = ()
    """Hotkeys that are new, are gone, or have changed in anything except the stake."""
    source: MetagraphSource = "file"
    block: int = 0
    fetched_at: Micros = Micros(0)


@dataclass(frozen=True, slots=True)
class MetagraphDoubted(Decided):
    """The fetched metagraph is implausible: it is not accepted until another reading confirms it."""

    reason: str


@dataclass(frozen=True, slots=True)
class EndpointDoubted(Decided):
    """The metagraph names a wrong endpoint for this validator, or this miner that serves Synapse; or none."""

    reason: str
    """Empty if the endpoint is right again."""


@dataclass(frozen=True, slots=True)
class ValidatorsMissed(Decided):
    """The metagraph has no validator that this miner could connect to."""

    reason: str
    """Empty if there is one again."""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class SyncRequested(Decided):
    """Read the chain now, before the next reading is due. Without effect if the metagraph comes from a file."""

    reason: str


@dataclass(frozen=True, slots=True)
class ChainFailed(Observed):
    """The chain cannot be read; the last good metagraph, if there is one, stays in force, and the neuron retries."""

    reason: str
    delay: Micros
    """Time until the next attempt."""


@dataclass(frozen=True, slots=True)
class AnnounceRequested(Decided):
    """Announce this neuron's endpoint on the chain. Answered by ``Announced`` or ``AnnounceFailed``."""

    endpoint: str
    """``ip:port``."""


@dataclass(frozen=True, slots=True)
class AnnouncePlanned(Observed):
    """The effect and the cost of the announcement that is about to be made."""

    endpoint: str
    plan: str


@dataclass(frozen=True, slots=True)
class Announced(Observed):
    """The chain has accepted the announcement."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class AnnounceFailed(Observed):
    """The chain has refused the announcement, or gives no answer."""

    endpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class AnnouncementContested(Decided):
    """The chain has another endpoint than the one that it took from us: another process of this hotkey announced it."""

    ours: str
    theirs: str
    ours_at: Micros | None
    """Wall clock when the chain last took our announcement; None if it had our endpoint when this run began."""
    theirs_seen_at: Micros
    """Wall clock at the reading that showed the other endpoint."""
    yields: bool
    """Whether this process leaves the entry to the other one, which was there first."""
    delay: Micros
    """Time until ours is announced again; 0: at once."""
    rounds: int
    """How often this has happened before, since it was last settled."""


@dataclass(frozen=True, slots=True)
class AnnouncementSettled(Decided):
    """No other process of this hotkey contests our announcement any more."""

    endpoint: str | None
    """Ours, which the chain has again; None if the settings name another one now."""


@dataclass(frozen=True, slots=True)
class BlacklistLoaded(Observed):
    """The operator's whole present blacklist."""

    hotkeys: tuple[Hotkey, ...]
    coldkeys: tuple[str, ...] = ()
    """Coldkeys; all hotkeys below them are refused."""
    networks: tuple[str, ...] = ()
    """IP networks in CIDR form."""


# --- connections


@dataclass(frozen=True, slots=True)
class CertificateLoaded(Observed):
    """A certificate of this validator's TLS is in force: its own, or that of the proxy where its TLS ends."""

    key: str
    """SHA-256 of its SubjectPublicKeyInfo, in hex."""
    names: tuple[str, ...] = ()
    """The host names and IP addresses that it names."""
    not_after: Micros | None = None
    """Wall clock at which it expires; None if only the key is known."""
    faults: tuple[str, ...] = ()
    """Why the operator should replace it, although it is in force."""
    of_proxy: bool = False


@dataclass(frozen=True, slots=True)
class CertificateRefused(Observed):
    """A changed certificate cannot be used; the old one stays in force."""

    reason: str


@dataclass(frozen=True, slots=True)
class HttpRequestReceived(Observed, FromPeer):
    """A whole HTTP request, or a WebSocket handshake, that waits for its answer.

    Anybody may have sent it, so it has only what decisions, the audit and the trace need: ``neurons/edges/incoming.py``
    says what that is. A value of another form is ``redaction.HIDDEN``.
    """

    connection: ConnectionId
    method: str
    target: str
    """Path and query."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order received, duplicates included."""
    remote: str
    """The peer's IP address."""
    upgrade: bool
    """Whether this is a WebSocket handshake."""
    salt: str
    """32 random hex digits, for the session that this request may become."""
    digest: str = NO_BODY
    """SHA-256 of the body as received, 64 hex digits; the signature covers it."""
    size: int = 0
    """Bytes of the body. Of a larger body than the protocol allows, one more than it allows."""
    is_whole: bool = True
    """False: ``target`` is not all that was sent, so the signature cannot be verified by this event."""
    tls_key: str = ""
    """The key of the certificate that served this very connection; empty: it is plain."""
    body: bytes = b""
    """Only in logs of release 0.1.0; later ones have it in ``request_body_received``, once its sender is proven."""


@dataclass(frozen=True, slots=True)
class RequestBodyReceived(Observed, FromPeer):
    """The body of a request whose sender is proven. It came with the request, and is recorded only now."""

    connection: ConnectionId
    body: bytes


@dataclass(frozen=True, slots=True)
class RequestsTurnedAway(Observed):
    """Requests were answered with 429 at the door, without an event for each: their sums, once a second at most."""

    counts: dict[BarCause, int]
    seconds: float
    """The time in which they came."""
    network: str
    """The network from which most of them came."""
    most: int
    """The number of those."""


@dataclass(frozen=True, slots=True)
class ConnectionOpened(Observed):
    """A WebSocket is open. On the miner the welcome is still to come."""

    connection: ConnectionId
    hotkey: Hotkey
    """The peer's hotkey: verified on the validator, only expected on the miner."""
    challenge: str
    """The nonce of the request that opened the connection."""
    purpose: Purpose = "session"
    """On the miner also an HTTP exchange with its answer: the answer's frames follow, and then the end."""
    tls_key: str = ""
    """On the miner: the key that the other side has shown in the TLS handshake; empty: the connection is plain."""
    vouched: bool = False
    """On the miner: the system's roots vouch for that certificate, and for the name or address that was dialled."""


@dataclass(frozen=True, slots=True)
class ConnectionClosed(Observed):
    """A WebSocket or HTTP request has ended; either side may have ended it."""

    connection: ConnectionId
    code: int
    reason: str


@quick
@dataclass(frozen=True, slots=True)
class FrameReceived(Observed, FromPeer):
    """A text frame. ``data`` is unchanged."""

    connection: ConnectionId
    data: bytes


@dataclass(frozen=True, slots=True)
class BinaryReceived(Observed, FromPeer):
    """A binary frame, which the protocol does not allow."""

    connection: ConnectionId
    size: int


@dataclass(frozen=True, slots=True)
class UnsignedReceived(Observed, FromPeer):
    """A text frame without the form of a frame: JSON, a newline and a signature. Its bytes are not kept."""

    connection: ConnectionId
    size: int
    """Bytes."""
    beginning: bytes
    """At most its first 64 bytes."""


@dataclass(frozen=True, slots=True)
class RequestVerificationRequested(Decided, FromPeer):
    """Is the btauth/1 signature of this HTTP request its sender's? Answered by ``SignatureChecked``."""

    connection: ConnectionId
    request: HttpRequestReceived
    received_at: Micros
    scheme: Scheme
    """The scheme that the sender must use."""


@quick
@dataclass(frozen=True, slots=True)
class VerificationRequested(Decided, FromPeer):
    """Is this frame signed by ``signer``? Answered by ``SignatureChecked``."""

    connection: ConnectionId
    signer: Hotkey
    scheme: Scheme
    payload: bytes
    signature: bytes
    message: WebSocketMessage


@quick
@dataclass(frozen=True, slots=True)
class SignatureChecked(Observed, FromPeer):
    """The answer to the verification that was requested by the event ``request``."""

    connection: ConnectionId
    request: int
    """The ``seq`` of the request."""
    valid: bool


@dataclass(frozen=True, slots=True)
class VerifierLost(Observed):
    """A process that verifies signatures has ended; the neuron itself verified its open requests."""

    exit_code: int | None
    """The exit code of the process; below 0: the signal that ended it."""
    reason: str = ""
    """The last line of its standard error, which tells of an exception."""


@dataclass(frozen=True, slots=True)
class VerifiersFailed(Observed):
    """A process that verifies signatures cannot start. The neuron verifies them itself meanwhile, and tries again."""

    reason: str


@dataclass(frozen=True, slots=True)
class VerifiersResumed(Observed):
    """After a failure, all processes that verify signatures have started."""


@dataclass(frozen=True, slots=True)
class PeerAuthenticated(Decided, FromPeer):
    """The sender of a request or handshake is proven and admitted."""

    connection: ConnectionId
    hotkey: Hotkey
    uid: Uid
    scheme: Scheme
    purpose: Purpose
    session: SessionId
    challenge: str
    salt: str
    known_epoch: Epoch | None = None
    """The miner's place in the game stream, if it named one."""
    known_offset: Offset | None = None
    encoding: str = ""
    """How this session is sent large game updates (protocol, "Compressed updates"); empty: as text."""
    tls_key: str = ""
    """The key of the certificate that serves the connection; empty: it is plain."""


@dataclass(frozen=True, slots=True)
class PeerRefused(Decided, FromPeer):
    """An HTTP request, or a handshake, was refused."""

    connection: ConnectionId
    code: RefusalCode
    message: str
    remote: str
    hotkey: Hotkey | None = None
    """The claimed sender; not verified."""
    retry_after: int | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class NetworkBarred(Decided):
    """A network has sent so many requests that failed that further ones are answered at the door, without an event.

    Those that a hotkey of the subnet has signed still pass.
    """

    network: str | None
    """An IPv4 address, or a /64 of IPv6; None: all of them."""
    until: Micros
    """Monotonic."""
    reason: str
    """What the senders of these requests are told."""


@dataclass(frozen=True, slots=True)
class HotkeyBarred(Decided):
    """A hotkey has sent so many requests that further ones are answered at the door, without an event."""

    hotkey: Hotkey
    until: Micros
    """Monotonic."""
    reason: str
    """What the senders of these requests are told."""


@dataclass(frozen=True, slots=True)
class SynapseAsked(Decided, FromPeer):
    """An existing neuron asked this validator over Synapse, and is told that validators answer no queries."""

    connection: ConnectionId
    hotkey: Hotkey | None
    """The claimed sender; not verified."""
    remote: str
    """Its IP address."""


@dataclass(frozen=True, slots=True)
class HttpAnswered(Decided):
    """Answer an HTTP request with JSON instead of frames: with the health of this validator, or with a refusal that an
    existing neuron reads.
    """

    connection: ConnectionId
    status: int
    body: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class ExchangeCompleted(Decided):
    """An HTTP exchange has all its frames: answer it."""

    connection: ConnectionId


@dataclass(frozen=True, slots=True)
class SessionActivated(Decided, FromPeer):
    """Both sides are authenticated. This WebSocket is now the session of its hotkey."""

    connection: ConnectionId
    hotkey: Hotkey
    uid: Uid
    session: SessionId
    tls: bool = False
    """Whether it has TLS, at least as far as a proxy of the validator's."""


@dataclass(frozen=True, slots=True)
class SlateRequested(Decided, FromPeer):
    """Send a miner the updates that it lacks, on this connection."""

    connection: ConnectionId
    hotkey: Hotkey
    known: Offset | None = None
    """The miner's position, if all later updates are kept; None asks for a snapshot."""
    merged: bool = False
    """Whether one update merges them, instead of one by one."""


@dataclass(frozen=True, slots=True)
class SlatePrepared(Decided):
    """A snapshot, or several updates merged into one: made once, for all miners that need it while it is up to date."""

    parts: tuple[GameUpdateMessage, ...]


@dataclass(frozen=True, slots=True)
class SlateWriteRequested(Decided):
    """Write updates that were broadcast or prepared before. Answered by ``SlateWritten``, if the connection lasts."""

    connection: ConnectionId
    hotkey: Hotkey
    epoch: Epoch
    offset: Offset
    """Of the last one."""
    known: Offset | None
    """The offset after which they begin; None: it is a snapshot."""
    merged: bool
    """Whether one update merges them, instead of one by one."""
    frames: int
    """Number of all parts."""


@dataclass(frozen=True, slots=True)
class SlateWritten(Observed):
    """The transport has taken all parts: of a slow reader that may be long after the request."""

    connection: ConnectionId
    hotkey: Hotkey
    offset: Offset
    frames: int
    size: int
    """Bytes, as sent."""
    road: Road


@quick
@dataclass(frozen=True, slots=True)
class MessageAccepted(Decided, FromPeer):
    """A message came in order, and its signature is good."""

    connection: ConnectionId
    hotkey: Hotkey
    message: WebSocketMessage


@dataclass(frozen=True, slots=True)
class MessageRefused(Decided, FromPeer):
    """A message was not accepted; its sender gets ``code``."""

    connection: ConnectionId
    message_id: str | None
    code: str
    message: str


@quick
@dataclass(frozen=True, slots=True)
class SendRequested(Decided):
    """Send ``message`` to ``hotkey``: on ``connection`` if that is still open, else on its present session."""

    hotkey: Hotkey
    message: WebSocketMessage
    connection: ConnectionId | None = None


@quick
@dataclass(frozen=True, slots=True)
class WriteRequested(Decided):
    """Stamp, sign and write ``message``. Answered by ``FrameWritten`` or ``SendFailed``."""

    connection: ConnectionId | None
    """None if there is no session; the answer is then ``SendFailed``."""
    hotkey: Hotkey
    message: WebSocketMessage


@quick
@dataclass(frozen=True, slots=True)
class FrameWritten(Observed):
    """``message``, with its stamps, was handed to the transport."""

    connection: ConnectionId
    hotkey: Hotkey
    message: WebSocketMessage
    size: int
    """Bytes."""
    road: Road


@dataclass(frozen=True, slots=True)
class SendFailed(Observed):
    """``message`` did not reach the transport. The HTTP fallback begins here."""

    hotkey: Hotkey
    message: WebSocketMessage
    reason: str


@dataclass(frozen=True, slots=True)
class BroadcastRequested(Decided):
    """Send ``message`` on every session."""

    message: Broadcast


@dataclass(frozen=True, slots=True)
class BroadcastWriteRequested(Decided):
    """Stamp and sign ``message`` once, and write it to each of these connections."""

    connections: tuple[ConnectionId, ...]
    message: Broadcast


@dataclass(frozen=True, slots=True)
class BroadcastWritten(Observed):
    """``message``, with its stamps, was handed to this many transports."""

    message: Broadcast
    size: int
    """Bytes of one frame."""
    count: int
    packed_size: int = 0
    """Bytes of its compressed form."""
    packed_count: int = 0
    """The transports, of these, that were handed that form."""

    @property
    def sent(self) -> int:
        """Bytes of all that was sent."""
        return (self.count - self.packed_count) * self.size + self.packed_count * self.packed_size


@dataclass(frozen=True, slots=True)
class CloseRequested(Decided):
    """End this connection."""

    connection: ConnectionId
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReadingPaused(Decided):
    """Stop reading from this session. It does not count as silent meanwhile."""

    connection: ConnectionId
    cause: PauseCause = "answers"


@dataclass(frozen=True, slots=True)
class ReadingResumed(Decided):
    """Read from this session again, unless there is another cause not to."""

    connection: ConnectionId
    cause: PauseCause = "answers"


@dataclass(frozen=True, slots=True)
class SendQueueFilled(Observed):
    """A peer reads more slowly than we write: hold back updates, which can be merged later."""

    connection: ConnectionId


@dataclass(frozen=True, slots=True)
class SendQueueDrained(Observed):
    """The peer has read its whole send queue."""

    connection: ConnectionId


@dataclass(frozen=True, slots=True)
class PeerMisbehaved(Decided):
    """A peer sent something that no honest peer sends. It had no effect."""

    hotkey: Hotkey
    fault: str


@dataclass(frozen=True, slots=True)
class PeerStale(Decided):
    """Nothing has been heard on this session for too long; it is being closed."""

    connection: ConnectionId
    hotkey: Hotkey
    silence: Micros


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a validator's game stream."""

    epoch: Epoch
    offset: Offset


@dataclass(frozen=True, slots=True)
class Tls:
    """A connection by TLS, and the certificate that the other side must show; by default any certificate."""

    key: str = ""
    """SHA-256 of its SubjectPublicKeyInfo, in hex; empty: any key."""
    roots: bool = False
    """The system's roots must vouch for it, and for the name or address that is dialled."""


@dataclass(frozen=True, slots=True)
class TlsLearned(Decided):
    """A signed welcome of a validator shows how this miner connects to it from now on."""

    validator: Hotkey
    tls: Tls | None
    """None: plainly, because the validator has no TLS."""


@dataclass(frozen=True, slots=True)
class CertificateDoubted(Decided):
    """The certificate that was shown in place of a validator's is not to be trusted; the connection is being closed."""

    validator: Hotkey
    reason: str


@dataclass(frozen=True, slots=True)
class DialRequested(Decided):
    """Open a WebSocket to a validator. Answered by ``ConnectionOpened`` or ``DialFailed``."""

    connection: ConnectionId
    hotkey: Hotkey
    endpoint: str
    """``ip:port``."""
    position: Position | None = None
    """The position in the validator's stream; None before the first."""
    tls: Tls | None = None
    """None: the connection is plain."""


@dataclass(frozen=True, slots=True)
class DialFailed(Observed):
    """A WebSocket could not be opened. ``status`` is None if there was no HTTP answer."""

    connection: ConnectionId
    hotkey: Hotkey
    reason: str
    status: int | None = None
    retry_after: int | None = None
    """Seconds."""
    code: str = ""
    """The validator's reason, if it gave one: a ``RefusalCode``, or a code of a newer release."""
    tls: TlsTrouble | None = None


@dataclass(frozen=True, slots=True)
class ReconnectScheduled(Decided):
    """The next try is due after ``delay``."""

    hotkey: Hotkey
    delay: Micros
    reason: str


@dataclass(frozen=True, slots=True)
class PostRequested(Decided):
    """Send ``message`` by ``POST /predictions``. Answered by ``PostAnswered`` or ``PostFailed``."""

    connection: ConnectionId
    hotkey: Hotkey
    endpoint: str
    message: WebSocketMessage
    tls: Tls | None = None
    """None: the connection is plain."""


@dataclass(frozen=True, slots=True)
class GamesRequested(Decided):
    """Fetch the slate by ``GET /games``. Answered by ``PostAnswered`` or ``PostFailed``."""

    connection: ConnectionId
    hotkey: Hotkey
    endpoint: str
    position: Position | None = None
    tls: Tls | None = None
    """None: the connection is plain."""


@dataclass(frozen=True, slots=True)
class PostAnswered(Observed):
    """An HTTP exchange is over; all its frames have been received."""

    connection: ConnectionId
    hotkey: Hotkey


@dataclass(frozen=True, slots=True)
class PostFailed(Observed):
    """An HTTP exchange brought no frames. ``status`` is None if there was no HTTP answer."""

    connection: ConnectionId
    hotkey: Hotkey
    reason: str
    status: int | None = None
    retry_after: int | None = None
    """Seconds."""
    code: str = ""
    """The validator's reason, if it gave one: a ``RefusalCode``, or a code of a newer release."""
    tls: TlsTrouble | None = None


@dataclass(frozen=True, slots=True)
class RowsSkipped(Observed):
    """Rows of an operator's file that cannot be used; all other rows are in force."""

    what: Literal["metagraph", "blacklist", "sports"]
    """``sports``: those of a validator's feed, a list in its configuration."""
    file: str
    """Its name; of a list in the configuration, the key."""
    faults: tuple[str, ...]
    """One for each such row, with row, field and what was expected. Empty if all rows can be used again."""


@dataclass(frozen=True, slots=True)
class FallbackChosen(Decided):
    """From now on messages to a validator go by HTTP, until its WebSocket is back."""

    hotkey: Hotkey
    cause: FallbackCause
    reason: str


# --- Synapse over HTTP, on the validator: it asks existing miners


@dataclass(frozen=True, slots=True)
class AxonPassedOver(Decided):
    """A neuron is not asked, because the endpoint that the metagraph names cannot be dialled."""

    hotkey: Hotkey
    endpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class AxonQueryRequested(Decided):
    """Send an existing miner the open slate. Answered by ``AxonAnswered`` or ``AxonFailed``."""

    connection: ConnectionId
    hotkey: Hotkey
    endpoint: str
    """``ip:port``, as the metagraph has it."""


@dataclass(frozen=True, slots=True)
class AxonAnswered(Observed, FromPeer):
    """The predictions that came from a miner's endpoint. Nothing in an answer says whose they are."""

    connection: ConnectionId
    hotkey: Hotkey
    """Of the endpoint that was dialled."""
    predictions: tuple[Prediction, ...]
    left_out: tuple[LeftOut, ...] = ()
    """Entries without a readable id."""
    repeated: int = 0
    """Predictions that are not told again: the whole answer is as the last one, whose verdicts the miner has taken."""


@dataclass(frozen=True, slots=True)
class AxonConfirmRequested(Decided):
    """Send an existing miner the verdicts on one answer. Answered by ``AxonConfirmed`` or ``AxonFailed``."""

    connection: ConnectionId
    hotkey: Hotkey
    endpoint: str
    results: tuple[Result, ...]
    stats: dict[str, str]
    """The 16 figures that an existing miner needs."""


@dataclass(frozen=True, slots=True)
class AxonConfirmed(Observed, FromPeer):
    """An existing miner has taken the verdicts: it answered with 200."""

    connection: ConnectionId
    hotkey: Hotkey


@dataclass(frozen=True, slots=True)
class AxonFailed(Observed, FromPeer):
    """A question to an existing miner, or a confirmation, brought no answer of its kind."""

    connection: ConnectionId
    hotkey: Hotkey
    reason: str
    status: int | None = None
    """The HTTP status, if there was an answer."""


# --- Synapse over HTTP, on the miner: it answers existing validators


@dataclass(frozen=True, slots=True)
class QueryReceived(Observed, FromPeer):
    """The head of an HTTP request at the miner's port; its body is read only after ``QueryAdmitted``.

    Anybody may have sent it, so it is recorded as ``HttpRequestReceived`` is. Logs of release 0.1.0 have all of it.
    """

    connection: ConnectionId
    method: str
    target: str
    """Path and query."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order received, duplicates included."""
    remote: str
    """The peer's IP address."""


@dataclass(frozen=True, slots=True)
class QueryVerificationRequested(Decided, FromPeer):
    """Is ``signature`` the signature of ``signer`` over ``text``? Answered by ``SignatureChecked``."""

    connection: ConnectionId
    signer: Hotkey
    scheme: Scheme
    text: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class QueryAdmitted(Decided, FromPeer):
    """The head is a validator's, and signed by it: read the body. Answered by ``SlateQueried``, ``VerdictsConfirmed``
    or ``QueryUnreadable``, unless the validator leaves.
    """

    connection: ConnectionId
    hotkey: Hotkey


@dataclass(frozen=True, slots=True)
class QueryRefused(Decided, FromPeer):
    """A request at the miner's port was refused."""

    connection: ConnectionId
    status: int
    message: str
    remote: str
    hotkey: Hotkey | None = None
    """The claimed sender; not verified."""


@dataclass(frozen=True, slots=True)
class SlateQueried(Observed, FromPeer):
    """An existing validator asks for predictions on its games."""

    connection: ConnectionId
    hotkey: Hotkey
    games: tuple[TeamGame, ...]
    left_out: tuple[LeftOut, ...] = ()
    """Games that cannot be read."""


@dataclass(frozen=True, slots=True)
class VerdictsConfirmed(Observed, FromPeer):
    """An existing validator's verdicts, which nobody has signed, and its figures about this miner."""

    connection: ConnectionId
    hotkey: Hotkey
    results: tuple[Result, ...]
    stats: dict[str, str]


@dataclass(frozen=True, slots=True)
class QueryUnreadable(Observed, FromPeer):
    """The body of an admitted request cannot be used, or did not come."""

    connection: ConnectionId
    hotkey: Hotkey
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class PendingRequested(Decided):
    """Answer a validator with the predictions that have no verdict, as soon as those that are being saved are on disk.
    Answered by ``QueryAnswered``.
    """

    connection: ConnectionId
    hotkey: Hotkey


@dataclass(frozen=True, slots=True)
class QueryAnswered(Decided):
    """Answer an admitted request: with predictions, if it asks for them."""

    connection: ConnectionId
    hotkey: Hotkey
    uid: Uid | None
    """Of this miner."""
    predictions: tuple[TeamGamePrediction, ...] | None = None
    """None in the answer to a confirmation."""


@dataclass(frozen=True, slots=True)
class QueryEnded(Observed):
    """A request at the miner's port has its answer, or its sender has left."""

    connection: ConnectionId


@dataclass(frozen=True, slots=True)
class MinerStatsReported(Decided):
    """An existing validator's figures about this miner, as it gave them."""

    validator: Hotkey
    stats: dict[str, str]


# --- games


@dataclass(frozen=True, slots=True)
class WithheldGame:
    """A game that cannot be offered."""

    game_id: str
    """Empty if the entry has none."""
    reason: str
    started: bool = False
    """The game has started, and there is no other reason: that is no fault."""


@dataclass(frozen=True, slots=True)
class GamesFetched(Observed):
    """The feed's whole slate."""

    source: str
    games: tuple[TeamGame, ...]
    withheld: tuple[WithheldGame, ...]
    epoch: Epoch
    """The new stream's epoch, if this update begins one."""
    fault: str = ""
    """Why some of its odds may be old: the feed fails, as with ``FeedFailed``. Empty if it does not."""


@dataclass(frozen=True, slots=True)
class OddsDoubted(Decided):
    """The games of the present slate whose odds no bookmaker has: they are not offered."""

    games: tuple[WithheldGame, ...]
    """Empty if all odds are plausible again."""


@dataclass(frozen=True, slots=True)
class FeedFailed(Observed):
    """The feed cannot be read; the last good slate stays in force, and the validator is degraded.

    That ends with the next slate that has no ``fault``.
    """

    source: str
    reason: str
    """The fault, with file, game and field."""


@dataclass(frozen=True, slots=True)
class StreamOpened(Observed):
    """A validator's own game stream from its last run. Published only if it is complete."""

    epoch: Epoch
    offset: Offset
    games: tuple[TeamGame, ...]
    updates: tuple[tuple[GameUpdateMessage, ...], ...]
    """The signed parts of each of the last updates."""


@dataclass(frozen=True, slots=True)
class UpdateStoreRequested(Decided):
    """Sign and store the next update of the stream. Answered by ``UpdateStored`` or ``UpdateStoreFailed``."""

    parts: tuple[GameUpdateMessage, ...]


@dataclass(frozen=True, slots=True)
class UpdateStored(Observed):
    """The signed update is on disk, and may be sent from now on."""

    parts: tuple[GameUpdateMessage, ...]


@dataclass(frozen=True, slots=True)
class UpdateStoreFailed(Observed):
    """Nothing of the update was stored."""

    reason: str


@dataclass(frozen=True, slots=True)
class GamesUpdated(Decided):
    """The slate changed: on the validator by its feed, on the miner by a validator's update."""

    validator: Hotkey
    epoch: Epoch
    offset: Offset
    games: tuple[TeamGame, ...]
    """The changed games; all games if ``snapshot``."""
    snapshot: bool


@dataclass(frozen=True, slots=True)
class UpdateMissed(Decided):
    """A validator's stream is ahead of ours, and no session will close the gap: fetch it."""

    validator: Hotkey
    known: Offset
    ahead: Offset


# --- predictions, on the validator


@quick
@dataclass(frozen=True, slots=True)
class PredictionSubmitted(Decided, FromPeer):
    """A prediction of a known sender. AuthActor publishes those whose signature is good; those of existing miners come
    from ValidatorSynapseActor.
    """

    connection: ConnectionId
    hotkey: Hotkey
    uid: Uid
    about: str
    """The ``message_id`` of the attempt."""
    prediction: Prediction
    received_at: Micros
    """Wall clock at receipt; decides whether the game had started and which UTC day it counts for."""
    proof: Proof = "signature"


@quick
@dataclass(frozen=True, slots=True)
class ProposedVerdict:
    """The verdict that the rules give one prediction; the ledger may hold an earlier one, which counts."""

    hotkey: Hotkey
    prediction: Prediction
    digest: str
    code: VerdictCode
    message: str
    received_at: Micros
    wager: Millionths
    expires_at: Micros
    """When the row may be swept."""
    proof: Proof = "signature"


@dataclass(frozen=True, slots=True)
class CommitRequested(Decided):
    """Store these verdicts, in order, in one transaction. Answered by ``PredictionsStored`` or ``CommitFailed``."""

    proposals: tuple[ProposedVerdict, ...]


@quick
@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """The ledger's answer for one key."""

    hotkey: Hotkey
    prediction_id: PredictionId
    code: VerdictCode
    message: str
    fresh: bool
    """Whether this commit stored it; False if the ledger had the key before."""


@dataclass(frozen=True, slots=True)
class PredictionsStored(Observed):
    """The commit of ``request`` is on disk: one answer for each of its proposals, in order."""

    request: int
    """The ``seq`` of the ``CommitRequested``."""
    verdicts: tuple[StoredVerdict, ...]


@dataclass(frozen=True, slots=True)
class CommitFailed(Observed):
    """Nothing of the commit ``request`` was stored."""

    request: int
    reason: str


@quick
@dataclass(frozen=True, slots=True)
class PredictionAccepted(Decided):
    """A positive verdict was stored. Published once per prediction, even if its miner sends it again."""

    hotkey: Hotkey
    uid: Uid
    prediction: TeamGamePrediction
    received_at: Micros


@dataclass(frozen=True, slots=True)
class PredictionRejected(Decided):
    """A negative verdict was stored. Published once per prediction, even if its miner sends it again."""

    hotkey: Hotkey
    uid: Uid
    prediction: Prediction
    code: VerdictCode
    message: str
    received_at: Micros


@dataclass(frozen=True, slots=True)
class VerdictRepeated(Decided):
    """A miner sent a prediction again, and got the stored verdict."""

    hotkey: Hotkey
    uid: Uid
    prediction_id: PredictionId
    code: VerdictCode


@dataclass(frozen=True, slots=True)
class PredictionConflicted(Decided):
    """A miner sent other content under an id that has its verdict. Nothing was stored, and nothing replaced."""

    hotkey: Hotkey
    uid: Uid
    prediction: Prediction
    message: str


@dataclass(frozen=True, slots=True)
class DayTotal:
    """One miner's UTC day, as the ledger has it."""

    day: int
    """Days since 1970-01-01."""
    hotkey: Hotkey
    accepted: int
    rejected: int
    wagered: Millionths


@dataclass(frozen=True, slots=True)
class LedgerOpened(Observed):
    """The ledger's state at start."""

    ledger_id: LedgerId
    days: tuple[DayTotal, ...]
    """The totals of today and yesterday."""


# --- predictions, on the miner


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A prediction and its validator."""

    validator: Hotkey
    prediction: TeamGamePrediction


@dataclass(frozen=True, slots=True)
class KnownSlate:
    """How far one validator's stream is known, and the slate that it amounts to."""

    validator: Hotkey
    epoch: Epoch
    offset: Offset
    games: tuple[TeamGame, ...]


@dataclass(frozen=True, slots=True)
class OutboxOpened(Observed):
    """The state from a miner's last run: slates, and predictions without a verdict in the order of their making."""

    entries: tuple[OutboxEntry, ...]
    slates: tuple[KnownSlate, ...]
    ledgers: tuple[tuple[Hotkey, LedgerId], ...] = ()
    """The ledger of each validator, as its last welcome named it."""
    settled: tuple[tuple[Hotkey, PredictionId, str], ...] = ()
    """The last verdicts, each with its validator and its code; the newest is the last."""
    imported: tuple[tuple[Hotkey, GameId], ...] = ()
    """Games on which there is a prediction to a validator that an existing miner has made."""


@dataclass(frozen=True, slots=True)
class LedgerRecognised(Decided):
    """A validator named its ledger, which is new to us. If there was another, its verdicts may be lost."""

    validator: Hotkey
    ledger_id: LedgerId
    former: LedgerId | None
    """The earlier ledger_id; None if this is the first."""


@dataclass(frozen=True, slots=True)
class SaveRequested(Decided):
    """Save these predictions to the outbox on disk. Answered by ``PredictionsSaved`` or ``SaveFailed``."""

    entries: tuple[OutboxEntry, ...]


@dataclass(frozen=True, slots=True)
class PredictionsSaved(Observed):
    """The predictions of the event ``request`` are on disk, and may be sent from now on."""

    request: int
    settled: tuple[tuple[Hotkey, PredictionId], ...] = ()
    """The predictions, by validator and id, that already have a verdict: they are not sent again."""


@dataclass(frozen=True, slots=True)
class SaveFailed(Observed):
    """None of the predictions of the event ``request`` was saved."""

    request: int
    reason: str


@dataclass(frozen=True, slots=True)
class PredictionsRequested(Decided):
    """Ask the model for predictions on this slate. Answered by any number of ``PredictionMade``, and then by
    ``ModelAnswered``, unless the slate changes meanwhile.
    """

    validator: Hotkey
    games: tuple[TeamGame, ...]


@dataclass(frozen=True, slots=True)
class ModelAnswered(Observed):
    """The model has answered the last question about this validator's slate: all its ``PredictionMade`` came before."""

    validator: Hotkey
    count: int
    """Of forecasts."""


@dataclass(frozen=True, slots=True)
class ModelChanged(Observed):
    """The model has new forecasts, although no slate has changed: ask it."""


@dataclass(frozen=True, slots=True)
class ModelNoted(Observed):
    """The model tells its operator something that is no fault."""

    text: str


@dataclass(frozen=True, slots=True)
class PredictionMade(Observed):
    """The model or the operator has made this prediction, to be pushed."""

    validator: Hotkey
    prediction: TeamGamePrediction


@dataclass(frozen=True, slots=True)
class PredictionDiscarded(Decided):
    """A prediction is not sent: no validator could read it, or its id waits for a verdict or has one already."""

    validator: Hotkey
    prediction_id: PredictionId
    game_id: GameId
    reason: str
    is_full: bool = False
    """Too many others wait for this validator's verdicts."""


@dataclass(frozen=True, slots=True)
class PredictionExpired(Decided):
    """Closed without a verdict: it was never written to any transport, and its game has started."""

    validator: Hotkey
    prediction: TeamGamePrediction


@dataclass(frozen=True, slots=True)
class VerdictOverdue(Decided):
    """These predictions were written, and have had no verdict for 10 s or longer: the other transport must be tried."""

    validator: Hotkey
    predictions: tuple[TeamGamePrediction, ...]


@dataclass(frozen=True, slots=True)
class VerdictReceived(Decided):
    """A validator's verdict on one of our predictions. Published once for each prediction."""

    validator: Hotkey
    prediction: TeamGamePrediction
    success: bool
    code: str
    message: str
    latency: Micros
    """Time from the first write to the verdict."""


__all__ = [  # noqa: PLE0604 - events are in TOPICS already, one after the other
    "NO_BODY",
    "TOPICS",
    "BarCause",
    "DayTotal",
    "Decided",
    "Event",
    "FallbackCause",
    "FromPeer",
    "KnownSlate",
    "MetagraphSource",
    "NeuronInfo",
    "Observed",
    "OutboxEntry",
    "PauseCause",
    "Position",
    "Proof",
    "ProposedVerdict",
    "Purpose",
    "Road",
    "Role",
    "Scheme",
    "StoredVerdict",
    "TimerKey",
    "Tls",
    "TlsTrouble",
    "WithheldGame",
    "route_to",
    *(event.__name__ for event in TOPICS.values()),
]
