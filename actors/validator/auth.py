"""Admits or refuses every HTTP request of a validator, handshakes included.

The order of checks is the protocol's ("Refusals"): what costs nothing comes first, the signature late, and only a
request whose signature is good leaves a trace in what later requests are judged by.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated, Final, NamedTuple
from urllib.parse import parse_qsl

from bettensor.actors.actor import on
from bettensor.actors.auth import AuthActor, AuthState, Unverified
from bettensor.actors.budget import MAX_REMOTES, Budget, budget_of, is_spent
from bettensor.actors.health import HEALTH_PATH, asks_for_health, lacks_tls
from bettensor.actors.nonces import Nonces, accept_nonce, forget_past_nonces
from bettensor.actors.schemes import DEFAULT, SCHEMES, pinned_scheme
from bettensor.actors.settings import (
    AuthSettings,
    AxonSettings,
    Count,
    NotNegative,
    Positive,
    Rate,
    WebSocketSettings,
    settings_class,
)
from bettensor.bus import codec, packing, synapse
from bettensor.bus.addresses import Networks, network_of
from bettensor.bus.codes import CloseCode, ErrorCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BettensorError, Unreadable
from bettensor.bus.event_json import AsRecorded
from bettensor.bus.events import (
    BlacklistLoaded,
    CloseRequested,
    ConnectionClosed,
    HotkeyBarred,
    HttpAnswered,
    HttpRequestReceived,
    MessageAccepted,
    MetagraphSynced,
    NetworkBarred,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    PeerAuthenticated,
    PeerRefused,
    PredictionSubmitted,
    Purpose,
    RequestBodyReceived,
    RequestVerificationRequested,
    Scheme,
    SessionActivated,
    SettingsReloaded,
    SignatureChecked,
    SynapseAsked,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, Hotkey, Micros, Netuid, Offset, Uid
from bettensor.bus.messages import (
    HEX32,
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    ConfirmationMessage,
    GameUpdateMessage,
    PredictionMessage,
    WebSocketMessage,
    WelcomeMessage,
    session_id,
)
from bettensor.bus.redaction import HIDDEN

MAX_AGE: Final = Micros(10 * SECOND)
"""How old a signed request may be (btauth/1)."""
MAX_SKEW: Final = Micros(2 * SECOND)
"""How far ahead of our clock its sender's may be (btauth/1)."""
CLOSING_TIME: Final = 5
"""Seconds until the socket of a session is gone whose end was asked for; a peer that answers is gone at once."""
MIN_BAR: Final = SECOND
MAX_BAR: Final = 10 * SECOND
"""The shortest and the longest time for which a spent budget bars; then the next request is judged as always."""

CLAIMED: Final = "x-bittensor-hotkey"
"""The header by which a request says who sends it."""
AUTH_HEADERS: Final = (
    "x-bittensor-version",
    CLAIMED,
    "x-bittensor-receiver",
    "x-bittensor-nonce",
    "x-bittensor-signature",
)
PATHS: Final[dict[str, tuple[str, Purpose]]] = {
    "/ws": ("GET", "session"),
    "/predictions": ("POST", "predictions"),
    "/games": ("GET", "games"),
}
SYNAPSE_SENDER: Final = "bt_header_dendrite_hotkey"
"""The header by which an existing neuron says who asks over Synapse."""
_SYNAPSE_PATHS: Final = (synapse.PATH, "/Synapse")
_NO_ANSWER: Final = synapse.refusal("this validator answers no queries over Synapse").decode()
"""In the form in which an existing neuron reads a refusal."""
NONCE: Final = re.compile(r"[0-9]{1,20}")
SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{128}")
OFFSET: Final = re.compile(r"[0-9]{1,15}")


class Refused(BettensorError):
    """A request that is not admitted, and why."""

    def __init__(self, code: RefusalCode, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class Credentials(NamedTuple):
    """The claims of a request, none of them verified."""

    purpose: Purpose
    hotkey: Hotkey
    receiver: Hotkey
    nonce: str
    scheme: Scheme
    epoch: Epoch | None
    offset: Offset | None
    encoding: str = ""


@settings_class
class ValidatorAuthSettings:
    """The limits of requests, from strangers and from neurons of the subnet."""

    auth: AuthSettings = field(default_factory=AuthSettings)
    axon: AxonSettings = field(default_factory=AxonSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    max_connections: Count = 4096
    """Largest number of WebSocket sessions at the same time. A further handshake takes the place of the oldest session
    that has not said anything yet; if all have, it is answered with 503."""
    silent_sessions: Count = 1024
    """Largest number of sessions that have been welcomed and have not said anything yet. A further handshake takes the
    place of the oldest of them."""
    sessions_per_hotkey: Count = 4
    """Largest number of sessions of one hotkey, counting those that have not said anything yet and those that are
    closing; a hotkey uses one. A further handshake takes the place of its oldest session that has not said anything."""
    requests_per_second: Rate = 100.0
    """Requests per second that one hotkey may send in the long run; further requests are answered with 429."""
    request_burst: Positive = 200.0
    """Requests that one hotkey may send at once after a silence."""
    failures_per_second: Rate = 10.0
    """Failed requests per second that one network may send in the long run: an IPv4 address, or a /64 of IPv6. If it
    sends more, its requests are answered with 429, unless a hotkey of the subnet has signed them."""
    failure_burst: Positive = 100.0
    """Failed requests that one network may send at once after a silence."""
    all_failures_per_second: Rate = 50.0
    """Failed requests per second of all networks together; if there are more, all networks are treated so."""
    all_failure_burst: Positive = 500.0
    """Failed requests of all networks together, at once after a silence."""
    min_stake: NotNegative = 0.0
    """Minimum stake with which a neuron is admitted, in the subnet's own token. Existing miners are asked whatever
    their stake."""


@dataclass(slots=True)
class UnverifiedRequest:
    """A request whose signature is being checked."""

    request: Annotated[HttpRequestReceived, AsRecorded()]
    credentials: Credentials
    received_at: Micros


@dataclass(slots=True)
class Peer:
    """The peer of a session, and its IP address."""

    hotkey: Hotkey
    remote: str
    scheme: Scheme = DEFAULT
    """By which its session was opened."""
    closing: bool = False
    """Its end was asked for, and its socket is not gone yet."""


@dataclass(slots=True)
class ProvenSender:
    """The sender of a request whose body is still to be read."""

    hotkey: Hotkey
    remote: str
    received_at: Micros


@dataclass(slots=True)
class ValidatorAuthState(AuthState):
    """Members of the subnet, connected peers, and the budgets of both."""

    netuid: Netuid = Netuid(0)
    hotkey: Hotkey = Hotkey("")
    pins_schemes: bool = True
    knows_members: bool = False
    """The metagraph has been read, now or in an earlier run."""
    knows_synapse: bool = True
    """Release 0.1.0 took existing neurons for faulty clients."""
    is_of_0_1: bool = False
    """Release 0.1.0 had the body in the request, barred nobody at the door, and took any number of sessions of a
    hotkey."""
    members: dict[Hotkey, NeuronInfo] = field(default_factory=dict)
    blacklist: dict[Hotkey, None] = field(default_factory=dict)
    unwanted_coldkeys: dict[str, None] = field(default_factory=dict)
    unwanted_networks: tuple[str, ...] = ()
    peers: dict[ConnectionId, Peer] = field(default_factory=dict)
    """Open WebSocket sessions."""
    silent: dict[ConnectionId, None] = field(default_factory=dict)
    """Those that have not said anything yet and are not closing, the oldest first."""
    sessions: dict[Hotkey, dict[ConnectionId, None]] = field(default_factory=dict)
    """Those of each hotkey, the oldest first."""
    requests: dict[int, UnverifiedRequest] = field(default_factory=dict)
    bodies: dict[ConnectionId, ProvenSender] = field(default_factory=dict)
    """The requests whose bodies are still to be read."""
    nonces: dict[Hotkey, Nonces] = field(default_factory=dict)
    budgets: dict[Hotkey, Budget] = field(default_factory=dict)
    """Of members, charged only with verified requests, so that no stranger can use them up."""
    failures: dict[str, Budget] = field(default_factory=dict)
    """Of networks, charged with failed requests."""
    queries: dict[str, Budget] = field(default_factory=dict)
    """Of networks, charged with requests over Synapse: as many as may fail, but counted apart from those."""
    all_failures: Budget | None = None
    """Of all networks together, charged with both, and with requests that were refused for want of something here."""
    stopping: bool = False


class ValidatorAuthActor(AuthActor):
    """Decides who may open a session, and proves the sender of every prediction."""

    Settings = ValidatorAuthSettings
    State = ValidatorAuthState
    settings: ValidatorAuthSettings
    state: ValidatorAuthState
    refused_kinds = (WelcomeMessage, ConfirmationMessage, GameUpdateMessage)

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.netuid, self.state.hotkey = event.netuid, event.hotkey
        self.state.pins_schemes = self.state.knows_synapse = not event.is_of_0_1
        self.state.knows_members = self.state.is_of_0_1 = event.is_of_0_1

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        super().reload(event, envelope)
        self._dismiss_the_unwelcome()
        if not self.settings.websocket.enabled:
            for connection in self.state.peers:
                self.publish(CloseRequested(connection, CloseCode.RESTARTING, "the WebSocket was disabled"))

    @on(NeuronDraining)
    def refuse_all(self, _: NeuronDraining, __: Envelope) -> None:
        self.state.stopping = True

    @on(MetagraphSynced)
    def know_neurons(self, event: MetagraphSynced, envelope: Envelope) -> None:
        state = self.state
        state.members, state.knows_members = {neuron.hotkey: neuron for neuron in event.neurons}, True
        for gone in [hotkey for hotkey in state.budgets if hotkey not in state.members]:
            del state.budgets[gone]
        forget_past_nonces(state.nonces, envelope.at, envelope.mono, MAX_AGE)
        self._dismiss_the_unwelcome()

    @on(BlacklistLoaded)
    def know_unwanted(self, event: BlacklistLoaded, _: Envelope) -> None:
        self.state.blacklist = dict.fromkeys(event.hotkeys)
        self.state.unwanted_coldkeys = dict.fromkeys(event.coldkeys)
        self.state.unwanted_networks = event.networks
        self._dismiss_the_unwelcome()

    @on(HttpRequestReceived)
    def check_request(self, event: HttpRequestReceived, envelope: Envelope) -> None:
        if lacks_tls(event, self.settings.axon.tls):
            refused = Refused(RefusalCode.TLS_REQUIRED, "this validator answers by TLS alone: use wss or https")
            self._refuse_request(event, refused, envelope.mono)
            return
        if asks_for_health(event.method, event.target):
            return  # open to all; ConnectionActor answers
        if self.state.knows_synapse and _asks_over_synapse(event):
            self._turn_away(event, envelope.mono)
            return
        try:
            credentials = self._claims(event)
            self._check_claims(credentials, event, envelope)
        except Refused as refused:
            self._refuse_request(event, refused, envelope.mono)
            return
        asked = self.publish(RequestVerificationRequested(event.connection, event, envelope.at, credentials.scheme))
        self.state.requests[asked] = UnverifiedRequest(event, credentials, envelope.at)

    @on(SignatureChecked)
    def judge_request(self, event: SignatureChecked, envelope: Envelope) -> None:
        unverified = self.state.requests.pop(event.request, None)
        if unverified is None:
            return
        request, credentials = unverified.request, unverified.credentials
        try:
            if not event.valid:
                raise Refused(RefusalCode.BAD_SIGNATURE, f"the request is not signed by {credentials.hotkey}")
            self._remember_nonce(credentials, envelope)
            self._charge(credentials.hotkey, envelope.mono)
            displaced = self._displaced(credentials)
            message = self._message(request.body, credentials.hotkey) if self._has_its_body(credentials) else None
        except Refused as refused:
            self._refuse_request(request, refused, envelope.mono)
            return
        if displaced is not None:
            self._make_room(displaced, credentials.hotkey)
        self._admit(unverified, message)

    @on(RequestBodyReceived)
    def read_body(self, event: RequestBodyReceived, envelope: Envelope) -> None:
        sender = self.state.bodies.pop(event.connection, None)
        if sender is None:
            return
        try:
            message = self._message(event.body, sender.hotkey)
        except Refused as refused:
            self._refuse_sender(event.connection, refused, sender.remote, sender.hotkey, envelope.mono)
        else:
            self._submit(event.connection, sender.hotkey, message, sender.received_at)

    @on(PeerRefused)
    def read_no_body(self, event: PeerRefused, _: Envelope) -> None:
        """Another actor has refused what was admitted here."""
        self.state.bodies.pop(event.connection, None)

    @on(SessionActivated)
    def hear_first_word(self, event: SessionActivated, _: Envelope) -> None:
        self.state.silent.pop(event.connection, None)

    @on(CloseRequested)
    def expect_the_end(self, event: CloseRequested, _: Envelope) -> None:
        peer = self.state.peers.get(event.connection)
        if peer is not None:
            peer.closing = True
            self.state.silent.pop(event.connection, None)

    @on(ConnectionClosed)
    def forget_peer(self, event: ConnectionClosed, _: Envelope) -> None:
        state, connection = self.state, event.connection
        state.silent.pop(connection, None)
        state.bodies.pop(connection, None)
        for asked in [asked for asked, open_ in state.requests.items() if open_.request.connection == connection]:
            del state.requests[asked]
        peer = state.peers.pop(connection, None)
        own = None if peer is None else state.sessions.get(peer.hotkey)
        if peer is not None and own is not None:
            own.pop(connection, None)
            if not own:
                del state.sessions[peer.hotkey]

    # --- existing neurons

    def _turn_away(self, request: HttpRequestReceived, now: Micros) -> None:
        """Existing validators ask every axon, validators' too: that is no fault of theirs, unless it is a flood."""
        hotkey = _claimed(request, SYNAPSE_SENDER)
        self.publish(SynapseAsked(request.connection, hotkey, request.remote))
        self.publish(HttpAnswered(request.connection, RefusalCode.NOT_FOUND.status, _NO_ANSWER))
        self._charge_network(self.state.queries, request.remote, "requests over Synapse", now)
        self._charge_all(now)

    # --- the claims of a request

    def _claims(self, request: HttpRequestReceived) -> Credentials:
        path, _, query = request.target.partition("?")
        purpose = self._purpose(request, path)
        if request.size > MAX_FRAME_BYTES:
            raise Refused(RefusalCode.TOO_LARGE, f"the body has more than {MAX_FRAME_BYTES} bytes")
        if purpose == "session":
            _check_upgrade(request)
        epoch, offset, encoding = self._check_query(query)
        header = _single_headers(request)
        return Credentials(
            purpose,
            Hotkey(header[CLAIMED]),
            Hotkey(header["x-bittensor-receiver"]),
            header["x-bittensor-nonce"],
            _scheme(header.get("x-bittensor-crypto", "sr25519")),
            epoch,
            offset,
            encoding,
        )

    def _purpose(self, request: HttpRequestReceived, path: str) -> Purpose:
        if path == HEALTH_PATH:
            raise Refused(RefusalCode.METHOD_NOT_ALLOWED, f"{path} takes GET or HEAD, not {request.method}")
        if path not in PATHS:
            raise Refused(RefusalCode.NOT_FOUND, f"no such path: {path}; use {', '.join((*PATHS, HEALTH_PATH))}")
        method, purpose = PATHS[path]
        if request.method != method:
            raise Refused(RefusalCode.METHOD_NOT_ALLOWED, f"{path} takes {method}, not {request.method}")
        if purpose == "session" and not self.settings.websocket.enabled:
            raise Refused(RefusalCode.WEBSOCKET_DISABLED, "the WebSocket is disabled here; use POST /predictions")
        return purpose

    def _check_query(self, query: str) -> tuple[Epoch | None, Offset | None, str]:
        pairs = parse_qsl(query, keep_blank_values=True)
        named = dict(pairs)
        if len(named) != len(pairs):
            raise Refused(RefusalCode.MALFORMED, "the query names a key twice, or more than 32 keys")
        if named.get("netuid") != str(self.state.netuid):
            message = f"this is netuid {self.state.netuid}; the query must say netuid={self.state.netuid}"
            raise Refused(RefusalCode.WRONG_NETUID, message)
        epoch, offset = named.get("epoch"), named.get("offset")
        encoding = packing.chosen(named.get("encoding", ""))
        if epoch is None and offset is None:
            return None, None, encoding
        if epoch is None or offset is None or not re.match(HEX32, epoch) or not OFFSET.fullmatch(offset):
            raise Refused(RefusalCode.MALFORMED, "epoch (32 hex digits) and offset (a number) must be given together")
        return Epoch(epoch), Offset(int(offset)), encoding

    # --- whether it may be

    def _check_claims(self, claims: Credentials, request: HttpRequestReceived, envelope: Envelope) -> None:
        state = self.state
        if claims.receiver != state.hotkey:
            message = f"the request is for {_told(claims.receiver)}; this is {state.hotkey}"
            raise Refused(RefusalCode.WRONG_RECEIVER, message)
        _check_freshness(claims.nonce, envelope.at)
        if claims.hotkey == state.hotkey:
            raise Refused(RefusalCode.OWN_HOTKEY, "the request claims this validator's own hotkey")
        if not state.knows_members:
            raise Refused(RefusalCode.NO_METAGRAPH, "this validator has not read the metagraph yet")
        if claims.hotkey not in state.members:
            message = f"{_told(claims.hotkey)} is not registered on netuid {state.netuid}"
            raise Refused(RefusalCode.NOT_REGISTERED, message)
        unwelcome = self._unwelcome(claims.hotkey, request.remote)
        if unwelcome is not None:
            raise Refused(RefusalCode.BLACKLISTED, unwelcome)
        pinned = self._pinned(claims.hotkey, claims.scheme)
        if claims.scheme != pinned:
            message = f"the scheme of {claims.hotkey} is {pinned} here, and the request names {claims.scheme}"
            raise Refused(RefusalCode.WRONG_SCHEME, message)
        self._check_budgets(claims, request, envelope.mono)

    def _check_budgets(self, claims: Credentials, request: HttpRequestReceived, now: Micros) -> None:
        limits, state = self.settings, self.state
        if state.stopping:
            raise Refused(RefusalCode.RESTARTING, "this validator is restarting or shutting down", retry_after=1)
        rate, burst = limits.failures_per_second, limits.failure_burst
        if state.is_of_0_1 and is_spent(state.failures, request.remote, now, rate, burst):
            raise Refused(RefusalCode.RATE_LIMITED, f"too many failed requests from {request.remote}", retry_after=1)
        if is_spent(state.budgets, claims.hotkey, now, limits.requests_per_second, limits.request_burst):
            message = f"more than {limits.requests_per_second:g} requests a second from this hotkey"
            if not state.is_of_0_1:
                until = _end_of_bar(state.budgets[claims.hotkey], limits.requests_per_second, now)
                self.publish(HotkeyBarred(claims.hotkey, until, message))
            raise Refused(RefusalCode.RATE_LIMITED, message, retry_after=1)
        if not state.is_of_0_1:
            self._displaced(claims)
        elif claims.purpose == "session" and len(state.peers) >= limits.max_connections:
            raise _over_capacity(limits.max_connections)

    def _displaced(self, claims: Credentials) -> ConnectionId | None:
        """The session whose place the one that is asked for takes; None if there is room.

        A session that has said something is never displaced: a handshake alone may be an old one that is sent again,
        when this validator has been restarted.

        Raises:
            Refused: there is no room, and there is none to be made.
        """
        limits, state = self.settings, self.state
        if claims.purpose != "session" or state.is_of_0_1:
            return None
        own = state.sessions.get(claims.hotkey, {})
        if len(own) > limits.sessions_per_hotkey or (
            len(own) == limits.sessions_per_hotkey and all(state.peers[session].closing for session in own)
        ):
            message = f"this hotkey has {len(own)} sessions, and {limits.sessions_per_hotkey} is the limit"
            raise Refused(RefusalCode.OVER_CAPACITY, message, retry_after=CLOSING_TIME)
        if len(state.peers) >= limits.max_connections + limits.silent_sessions:
            raise _over_capacity(limits.max_connections)
        if len(own) == limits.sessions_per_hotkey:
            silent = next((session for session in own if session in state.silent), None)
            if silent is not None:
                return silent
        is_full = len(state.peers) >= limits.max_connections
        if not is_full and len(state.silent) < limits.silent_sessions:
            return None
        oldest = next(iter(state.silent), None)
        if oldest is None:
            raise _over_capacity(limits.max_connections)
        return oldest

    def _make_room(self, displaced: ConnectionId, hotkey: Hotkey) -> None:
        if self.state.peers[displaced].hotkey == hotkey:
            reason = "a newer session of the same hotkey took its place"
            self.publish(CloseRequested(displaced, CloseCode.REPLACED, reason))
        else:
            reason = "a newer session took the place of this one, which had not said anything"
            self.publish(CloseRequested(displaced, CloseCode.OVER_CAPACITY, reason))

    def _remember_nonce(self, claims: Credentials, envelope: Envelope) -> None:
        """Accept each (hotkey, nonce) once."""
        if not accept_nonce(self.state.nonces, claims.hotkey, claims.nonce, envelope.at, envelope.mono, MAX_AGE):
            raise Refused(RefusalCode.REPLAYED, "this nonce was used already; sign every attempt anew")

    def _charge(self, hotkey: Hotkey, now: Micros) -> None:
        limits = self.settings
        budget = self.state.budgets.setdefault(hotkey, Budget(limits.request_burst, now))
        budget.spend(now, limits.requests_per_second, limits.request_burst)

    # --- refused

    def _refuse_request(self, request: HttpRequestReceived, refused: Refused, now: Micros) -> None:
        self._refuse_sender(request.connection, refused, request.remote, _claimed(request, CLAIMED), now)

    def _refuse_sender(
        self, connection: ConnectionId, refused: Refused, remote: str, hotkey: Hotkey | None, now: Micros
    ) -> None:
        self.publish(PeerRefused(connection, refused.code, str(refused), remote, hotkey, refused.retry_after))
        if refused.code.status < 429:
            self._charge_network(self.state.failures, remote, "failed requests", now)
        self._charge_all(now)

    def _charge_network(self, budgets: dict[str, Budget], remote: str, what: str, now: Micros) -> None:
        """Count a request against its network; one that has no more to spend is barred at the door."""
        rate, burst = self.settings.failures_per_second, self.settings.failure_burst
        network = remote if self.state.is_of_0_1 else network_of(remote)
        budget = budget_of(budgets, network, now, burst, MAX_REMOTES)
        budget.spend(now, rate, burst)
        if budget.tokens < 1 and not self.state.is_of_0_1:
            self.publish(NetworkBarred(network, _end_of_bar(budget, rate, now), f"too many {what} from {network}"))

    def _charge_all(self, now: Micros) -> None:
        """Count a request against all networks together: a crowd of them could write as much as it likes otherwise."""
        rate, burst = self.settings.all_failures_per_second, self.settings.all_failure_burst
        if self.state.is_of_0_1:
            return
        budget = self.state.all_failures = self.state.all_failures or Budget(burst, now)
        budget.spend(now, rate, burst)
        if budget.tokens < 1:
            reason = "too many failed requests from everywhere; those that a hotkey of the subnet signs are answered"
            self.publish(NetworkBarred(None, _end_of_bar(budget, rate, now), reason))

    # --- admitted

    def _has_its_body(self, claims: Credentials) -> bool:
        return claims.purpose == "predictions" and self.state.is_of_0_1

    def _message(self, body: bytes, hotkey: Hotkey) -> PredictionMessage:
        """
        Raises:
            Refused: the body is none, or another hotkey's than that which signed the request.
        """
        try:
            message = codec.read(body)
        except Unreadable as fault:
            raise Refused(RefusalCode.MALFORMED, str(fault)) from None
        if isinstance(message, codec.UnreadMessage):
            raise Refused(RefusalCode.MALFORMED, message.fault)
        if not isinstance(message, PredictionMessage):
            raise Refused(RefusalCode.MALFORMED, "the body must be a prediction message")
        if message.sender_hotkey != hotkey:
            raise Refused(RefusalCode.MALFORMED, f"sender_hotkey is not {hotkey}, which signed the request")
        return message

    def _admit(self, unverified: UnverifiedRequest, message: PredictionMessage | None) -> None:
        request, claims, state = unverified.request, unverified.credentials, self.state
        if claims.purpose == "session":
            state.peers[request.connection] = Peer(claims.hotkey, request.remote, claims.scheme)
            state.silent[request.connection] = None
            state.sessions.setdefault(claims.hotkey, {})[request.connection] = None
        elif claims.purpose == "predictions" and message is None:
            sender = ProvenSender(claims.hotkey, request.remote, unverified.received_at)
            state.bodies[request.connection] = sender
        session = session_id(state.netuid, state.hotkey, claims.hotkey, claims.nonce, request.salt)
        self.publish(
            PeerAuthenticated(
                request.connection,
                claims.hotkey,
                state.members[claims.hotkey].uid,
                claims.scheme,
                claims.purpose,
                session,
                claims.nonce,
                request.salt,
                claims.epoch,
                claims.offset,
                claims.encoding,
                request.tls_key,
            )
        )
        if message is not None:
            self._submit(request.connection, claims.hotkey, message, unverified.received_at)

    def _accept(self, unverified: Unverified, message: WebSocketMessage) -> None:
        request = unverified.request
        if isinstance(message, PredictionMessage):
            self._submit(request.connection, request.signer, message, unverified.received_at)
        else:
            super()._accept(unverified, message)

    def _submit(
        self, connection: ConnectionId, hotkey: Hotkey, message: PredictionMessage, received_at: Micros
    ) -> None:
        """Pass on each prediction by itself; one without a readable id has no key for a verdict, and is answered."""
        nameless = [str(i) for i, prediction in enumerate(message.predictions) if not prediction.prediction_id]
        if len(nameless) < len(message.predictions):
            self.publish(MessageAccepted(connection, hotkey, message))
        if nameless:
            fault = f"no readable prediction_id (1 to 64 of A-Z a-z 0-9 _ -) in predictions[{', '.join(nameless)}]"
            self._refuse(connection, message, ErrorCode.MALFORMED, fault)
        member = self.state.members.get(hotkey)
        uid = Uid(-1) if member is None else member.uid
        for prediction in message.predictions:
            if prediction.prediction_id:
                self.publish(PredictionSubmitted(connection, hotkey, uid, message.message_id, prediction, received_at))

    def _pinned(self, hotkey: Hotkey, named: Scheme) -> Scheme:
        """By which scheme ``hotkey`` must sign, whatever it has ``named`` itself."""
        if not self.state.pins_schemes:
            return named
        member = self.state.members.get(hotkey)
        return pinned_scheme(hotkey, self.settings.auth.schemes, None if member is None else member.crypto)

    def _dismiss_the_unwelcome(self) -> None:
        for connection, peer in self.state.peers.items():
            unwelcome = self._unwelcome(peer.hotkey, peer.remote)
            pinned = self._pinned(peer.hotkey, peer.scheme)
            if unwelcome is not None:
                self.publish(CloseRequested(connection, CloseCode.BLACKLISTED, unwelcome))
            elif peer.hotkey not in self.state.members:
                self.publish(CloseRequested(connection, CloseCode.NOT_REGISTERED, f"{peer.hotkey} is not registered"))
            elif peer.scheme != pinned:
                self._forget(
                    connection
                )  # what it said by the other scheme, and nobody has verified yet, does not count
                reason = f"the scheme of this hotkey is {pinned} from now on, and the session has {peer.scheme}"
                self.publish(CloseRequested(connection, CloseCode.WRONG_SCHEME, reason))

    def _unwelcome(self, hotkey: Hotkey, remote: str) -> str | None:
        """Why the operator does not want to hear ``hotkey`` from ``remote``, if so."""
        state, neuron = self.state, self.state.members.get(hotkey)
        if hotkey in state.blacklist:
            return f"{hotkey} is blacklisted here"
        if neuron is not None and neuron.coldkey in state.unwanted_coldkeys:
            return f"the coldkey of {hotkey} is blacklisted here"
        if neuron is not None and neuron.stake < self.settings.min_stake:
            return f"{hotkey} has {neuron.stake:g} staked, and {self.settings.min_stake:g} is the least here"
        if remote in Networks(state.unwanted_networks):
            return f"{remote} is blacklisted here"
        return None


def _claimed(request: HttpRequestReceived, name: str) -> Hotkey | None:
    """The hotkey that the header ``name`` says; None if it says none, or nothing that could be one."""
    claimed = dict(request.headers).get(name)
    return Hotkey(claimed[: synapse.MAX_NAME]) if claimed and claimed != HIDDEN else None


def _told(hotkey: Hotkey) -> str:
    """A hotkey that a stranger names, for messages."""
    return "a hotkey that is no ss58 address" if hotkey == HIDDEN else hotkey


def _over_capacity(limit: int) -> Refused:
    return Refused(RefusalCode.OVER_CAPACITY, f"all {limit} connections are in use", retry_after=30)


def _end_of_bar(budget: Budget, rate: float, now: Micros) -> Micros:
    """When ``budget`` has a token again, within ``MIN_BAR`` and ``MAX_BAR``."""
    wait = round((1 - budget.tokens) / rate * SECOND)
    return Micros(now + min(max(wait, MIN_BAR), MAX_BAR))


def _asks_over_synapse(request: HttpRequestReceived) -> bool:
    """Whether an existing neuron sent ``request``: to a path of its own, or with its header to one that is not ours."""
    path, _, _ = request.target.partition("?")
    is_ours = path in PATHS or path == HEALTH_PATH
    return path in _SYNAPSE_PATHS or (not is_ours and any(name == SYNAPSE_SENDER for name, _ in request.headers))


def _check_upgrade(request: HttpRequestReceived) -> None:
    """A proxy that removes the hop-by-hop headers (RFC 9110, 7.6.1) leaves those of the handshake behind."""
    offered = [
        token.strip()
        for name, value in request.headers
        if name == "sec-websocket-protocol"
        for token in value.split(",")
    ]
    if request.upgrade and SUBPROTOCOL in offered:
        return
    if not request.upgrade and any(name == "sec-websocket-key" for name, _ in request.headers):
        message = "a proxy in between has removed the handshake's headers Upgrade and Connection"
        raise Refused(RefusalCode.NO_UPGRADE, message)
    message = f"/ws accepts only WebSocket with the subprotocol {SUBPROTOCOL}"
    raise Refused(RefusalCode.UNSUPPORTED_PROTOCOL, message)


def _single_headers(request: HttpRequestReceived) -> dict[str, str]:
    """The auth headers, each of which must be there exactly once and in its form."""
    header: dict[str, str] = {}
    for name, value in request.headers:
        if name.startswith("x-bittensor-"):
            if name in header:
                raise Refused(RefusalCode.MALFORMED, f"the header {name} occurs twice")
            header[name] = value
    for name in AUTH_HEADERS:
        if name not in header:
            raise Refused(RefusalCode.MALFORMED, f"the header {name} is missing; requests are signed by btauth/1")
    if header["x-bittensor-version"] != "1":
        raise Refused(RefusalCode.MALFORMED, "x-bittensor-version is not 1")
    if not NONCE.fullmatch(header["x-bittensor-nonce"]):
        raise Refused(RefusalCode.MALFORMED, "x-bittensor-nonce is not a decimal number of nanoseconds")
    if not SIGNATURE.fullmatch(header["x-bittensor-signature"]):
        raise Refused(RefusalCode.MALFORMED, "x-bittensor-signature is not 0x and 128 hex digits")
    return header


def _scheme(name: str) -> Scheme:
    if name not in SCHEMES:
        raise Refused(RefusalCode.MALFORMED, "x-bittensor-crypto is neither sr25519 nor ed25519")
    return SCHEMES[name]


def _check_freshness(nonce: str, at: Micros) -> None:
    age = age_of(nonce, at)
    if age > MAX_AGE:
        raise Refused(
            RefusalCode.STALE, f"signed {age / SECOND:.1f} s ago by our clock; {MAX_AGE // SECOND} s is the limit"
        )
    if age < -MAX_SKEW:
        raise Refused(RefusalCode.STALE, f"signed {-age / SECOND:.1f} s in the future by our clock")


def age_of(nonce: str, at: Micros) -> Micros:
    """How long ago a request was signed; below 0 if that is in the future."""
    return Micros(at - int(nonce) // 1000)
