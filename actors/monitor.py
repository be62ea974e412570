"""The status of a running neuron for its operator: peers, figures and faults.

Keeps the figures, and reports them when asked. Decides nothing else.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from bettensor.actors.actor import on
from bettensor.actors.cures import (
    ANNOUNCE,
    ANSWERS_HTTP,
    DISABLED,
    FOREIGN_CERTIFICATE,
    HTTP_ALONE,
    NO_ANSWER,
    NO_ENDPOINT,
    NO_PERMIT,
    ON_VALIDATOR,
    PUBLIC_AXON,
    UNPERMITTED,
    UNREAD,
    contest_of,
    cure_for_axon,
    cure_for_close,
    cure_for_endpoint,
    cure_for_miner,
)
from bettensor.actors.existing import LATELY, Existing, ExistingFollower
from bettensor.actors.health import Health, HealthWatcher
from bettensor.actors.stream import fold
from bettensor.actors.tls_offers import TlsOfferFollower
from bettensor.bus.codes import AXON
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ActorFailed,
    AnnouncementContested,
    AnnouncementSettled,
    AxonAnswered,
    AxonConfirmed,
    AxonFailed,
    AxonPassedOver,
    BlacklistLoaded,
    CertificateDoubted,
    ChainFailed,
    ClockStepped,
    CommitFailed,
    ConnectionClosed,
    DialFailed,
    DialRequested,
    EndpointDoubted,
    Event,
    FallbackChosen,
    GamesFetched,
    GamesUpdated,
    HandlerFailed,
    HandlerOverflowed,
    MessageAccepted,
    MetagraphDoubted,
    MetagraphSynced,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    OddsDoubted,
    OutboxOpened,
    PeerAuthenticated,
    PeerRefused,
    Position,
    PostAnswered,
    PostFailed,
    PredictionAccepted,
    PredictionConflicted,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    PredictionRejected,
    PredictionsSaved,
    PredictionsStored,
    QueryAdmitted,
    QueryRefused,
    ReconnectScheduled,
    ReloadFailed,
    Road,
    Role,
    RowsSkipped,
    SaveFailed,
    SessionActivated,
    SettingsReloaded,
    StatusReported,
    StatusRequested,
    SynapseAsked,
    ValidatorsMissed,
    VerdictReceived,
    VerdictRepeated,
    VerifiersFailed,
    VerifiersResumed,
    WithheldGame,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import SECOND, ConnectionId, GameId, Hotkey, Micros, Netuid
from bettensor.bus.messages import HeartbeatMessage
from bettensor.bus.percentiles import percentile

LATENCIES: Final = 1000
"""How many of the last latencies are kept, to take percentiles from."""
MAX_STRANGERS: Final = 256
"""Neurons outside the metagraph that are remembered; the oldest are forgotten."""


FORBIDDEN: Final = 403
"""The status with which a miner refuses a neuron that may not ask: it has no permit, or too little stake."""
MAX_SHOWN: Final = 20
"""Withheld games, and faults of a file, that a status has; it has the number of all."""
_WITHOUT_SESSION: Final[dict[Road | None, str]] = {"http": "by HTTP", "synapse": "by Synapse"}
"""The states of peers that have no session, and were last heard on these roads."""
_FAILING: Final[dict[type[Event], str]] = {
    SaveFailed: "the outbox cannot be written, so predictions wait",
    CommitFailed: "the ledger cannot be written, so predictions get no verdict",
    ReloadFailed: "a changed file cannot be used, so the old one stays in force",
    VerifiersFailed: "a signature verifier process cannot start, so the neuron verifies signatures by itself",
}
"""Failures that last until something succeeds."""
_ENDS: Final[dict[type[Event], type[Event]]] = {
    PredictionsSaved: SaveFailed,
    PredictionsStored: CommitFailed,
    SettingsReloaded: ReloadFailed,
    VerifiersResumed: VerifiersFailed,
}
"""By the event that shows success, the failure that it ends."""


@dataclass(slots=True)
class PeerStatus:
    """The facts about one other neuron. Times are monotonic."""

    hotkey: Hotkey
    endpoint: str = ""
    connection: ConnectionId | None = None
    """Its WebSocket session, while there is one."""
    tls: bool = False
    """That session has TLS."""
    road: Road | None = None
    """How it was last heard."""
    since: Micros | None = None
    heard_at: Micros | None = None
    asked_at: Micros | None = None
    """When it last asked us over Synapse; on a validator unverified."""
    tries_at: Micros | None = None
    """When it is dialled again."""
    latency: Micros | None = None
    """Of its last verdict."""
    position: Position | None = None
    """In the game stream, as it last said."""
    accepted: int = 0
    rejected: int = 0
    trouble: str = ""
    """The reason why there is no session."""
    cure: str = ""
    trouble_at: Micros | None = None


@dataclass(slots=True)
class HandlerScore:
    """The faults of a user's handler."""

    failures: int = 0
    dropped: int = 0
    last: str = ""
    """The last line of its last error."""


@dataclass(slots=True)
class MonitorState:
    """The score."""

    role: Role = "validator"
    hotkey: Hotkey = Hotkey("")
    netuid: Netuid = Netuid(0)
    stopping: bool = False
    endpoint_doubt: str = ""
    """Why others do not find this neuron."""
    contest: str = ""
    """Which endpoint another process of this hotkey has announced, with the cure."""
    chain_trouble: str = ""
    """Why the chain cannot be read; empty since the last success."""
    lack: str = ""
    """Why this miner has no validator to connect to, with the cure."""
    health: Health = field(default_factory=Health)
    neurons: dict[Hotkey, NeuronInfo] = field(default_factory=dict)
    metagraph: str = "file"
    """Where they are known from."""
    block: int = 0
    fetched_at: Micros = Micros(0)
    """When they were read from the chain."""
    peers: dict[Hotkey, PeerStatus] = field(default_factory=dict)
    existing: dict[Hotkey, Existing] = field(default_factory=dict)
    tls_offers: dict[Hotkey, None] = field(default_factory=dict)
    connections: dict[ConnectionId, Hotkey] = field(default_factory=dict)
    blacklist: int = 0
    made: int = 0
    waiting: int = 0
    """Predictions of a miner that have no verdict."""
    verdicts: "Counter[str]" = field(default_factory=Counter)
    repeated: int = 0
    latencies: deque[Micros] = field(default_factory=lambda: deque(maxlen=LATENCIES))
    games: dict[Hotkey, dict[GameId, TeamGame]] = field(default_factory=dict)
    """In runs of release 0.1.0, whose statuses had all games."""
    positions: dict[Hotkey, Position] = field(default_factory=dict)
    fallbacks: "Counter[str]" = field(default_factory=Counter)
    withheld: tuple[WithheldGame, ...] = ()
    """By the feed, for a fault."""
    doubted: tuple[WithheldGame, ...] = ()
    """For their odds."""
    skipped: dict[str, RowsSkipped] = field(default_factory=dict)
    troubles: "Counter[str]" = field(default_factory=Counter)
    """Actor failures, failed commits, clock steps."""
    failing: dict[str, str] = field(default_factory=dict)
    """What fails now, with its reason, by the topic of the event that began it."""
    handlers: dict[str, HandlerScore] = field(default_factory=dict)
    last_times: dict[str, Micros] = field(default_factory=dict)
    """When each of ``fallbacks``, ``troubles`` and ``handlers`` last had a fault; monotonic."""


class MonitorActor(HealthWatcher, ExistingFollower, TlsOfferFollower):
    """Answers ``StatusRequested``."""

    name = "monitor"
    State = MonitorState
    state: MonitorState

    # --- the neuron

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.role, self.state.hotkey, self.state.netuid = event.role, event.hotkey, event.netuid

    @on(NeuronDraining, NeuronStopping)
    def stop(self, _: NeuronDraining | NeuronStopping, __: Envelope) -> None:
        self.state.stopping = True

    @on(ActorFailed, CommitFailed, ClockStepped, ChainFailed, MetagraphDoubted)
    def count_trouble(self, event: Event, envelope: Envelope) -> None:
        self.state.troubles[event.topic] += 1
        self.state.last_times[event.topic] = envelope.mono

    @on(SaveFailed, CommitFailed, ReloadFailed, VerifiersFailed)
    def begin_failure(self, event: SaveFailed | CommitFailed | ReloadFailed | VerifiersFailed, _: Envelope) -> None:
        self.state.failing[event.topic] = f"{_FAILING[type(event)]}: {event.reason}"

    @on(PredictionsSaved, PredictionsStored, SettingsReloaded, VerifiersResumed)
    def end_failure(self, event: Event, _: Envelope) -> None:
        if self.state.failing:
            self.state.failing.pop(_ENDS[type(event)].topic, None)

    @on(ChainFailed)
    def miss_chain(self, event: ChainFailed, _: Envelope) -> None:
        self.state.chain_trouble = event.reason

    @on(HandlerFailed)
    def handler_failed(self, event: HandlerFailed, envelope: Envelope) -> None:
        score = self.state.handlers.setdefault(event.handler, HandlerScore())
        score.failures += 1
        score.last = event.error.rstrip().rpartition("\n")[2]
        self.state.last_times[event.handler] = envelope.mono

    @on(HandlerOverflowed)
    def handler_overflowed(self, event: HandlerOverflowed, envelope: Envelope) -> None:
        self.state.handlers.setdefault(event.handler, HandlerScore()).dropped = event.dropped
        self.state.last_times[event.handler] = envelope.mono

    # --- the subnet

    @on(MetagraphSynced)
    def know_neurons(self, event: MetagraphSynced, envelope: Envelope) -> None:
        state = self.state
        if event.source != "disk":
            state.chain_trouble = ""
        state.neurons = {neuron.hotkey: neuron for neuron in event.neurons}
        state.metagraph, state.block, state.fetched_at = event.source, event.block, event.fetched_at
        for neuron in event.neurons:
            if neuron.hotkey != state.hotkey and (state.role == "validator" or neuron.validator_permit):
                peer = self._peer(neuron.hotkey)
                peer.endpoint = neuron.axon or peer.endpoint
                if state.role == "miner":
                    self._tell_of_endpoint(peer, neuron, envelope)

    def _tell_of_endpoint(self, peer: PeerStatus, neuron: NeuronInfo, envelope: Envelope) -> None:
        if neuron.axon is None and not peer.trouble and peer.connection is None:
            self._trouble(peer, NO_ENDPOINT, ANNOUNCE, envelope)
        elif neuron.axon is not None and peer.trouble == NO_ENDPOINT:
            peer.trouble = peer.cure = ""
            peer.trouble_at = None

    @on(EndpointDoubted)
    def doubt_endpoint(self, event: EndpointDoubted, _: Envelope) -> None:
        self.state.endpoint_doubt = f"{event.reason}: {cure_for_endpoint(self.state.role)}" if event.reason else ""

    @on(AnnouncementContested)
    def contest_announcement(self, event: AnnouncementContested, _: Envelope) -> None:
        self.state.contest = ": ".join(contest_of(event, self.state.role))

    @on(AnnouncementSettled)
    def settle_announcement(self, _: AnnouncementSettled, __: Envelope) -> None:
        self.state.contest = ""

    @on(ValidatorsMissed)
    def miss_validators(self, event: ValidatorsMissed, _: Envelope) -> None:
        self.state.lack = f"{event.reason}: {event.cure}" if event.reason else ""

    @on(BlacklistLoaded)
    def count_unwanted(self, event: BlacklistLoaded, _: Envelope) -> None:
        self.state.blacklist = len(event.hotkeys)

    @on(PeerAuthenticated)
    def hear_request(self, event: PeerAuthenticated, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        peer.heard_at = envelope.mono
        if event.purpose != "session" and peer.connection is None:
            peer.road = "http"
            if not peer.trouble:
                self._trouble(peer, "it has not asked for a WebSocket", HTTP_ALONE, envelope)

    @on(SynapseAsked)
    def hear_unanswered_query(self, event: SynapseAsked, envelope: Envelope) -> None:
        if event.hotkey in self.state.neurons:
            self._peer(event.hotkey).asked_at = envelope.mono

    @on(SessionActivated)
    def connect(self, event: SessionActivated, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        peer.connection, peer.road, peer.tls = event.connection, "websocket", event.tls
        peer.since = peer.heard_at = envelope.mono
        peer.trouble = peer.cure = ""
        peer.trouble_at = peer.tries_at = None
        self.state.connections[event.connection] = event.hotkey

    @on(ConnectionClosed)
    def disconnect(self, event: ConnectionClosed, envelope: Envelope) -> None:
        hotkey = self.state.connections.pop(event.connection, None)
        if hotkey is None:
            return
        peer = self._peer(hotkey)
        if peer.connection == event.connection:
            peer.connection, peer.since = None, None
            cure = cure_for_close(self.state.role, event.code)
            self._trouble(peer, f"closed: {event.code} {event.reason}".rstrip(), cure, envelope)

    @on(PeerRefused)
    def refuse(self, event: PeerRefused, envelope: Envelope) -> None:
        if event.hotkey is None:
            return
        peer = self._peer(event.hotkey)
        peer.endpoint = event.remote or peer.endpoint
        if peer.connection is None:
            self._trouble(peer, f"{event.code}: {event.message}", ON_VALIDATOR.get(event.code, ""), envelope)

    @on(CertificateDoubted)
    def doubt(self, event: CertificateDoubted, envelope: Envelope) -> None:
        self._trouble(self._peer(event.validator), event.reason, FOREIGN_CERTIFICATE, envelope)

    @on(DialRequested)
    def dial(self, event: DialRequested, _: Envelope) -> None:
        peer = self._peer(event.hotkey)
        peer.endpoint, peer.tries_at = event.endpoint, None

    @on(DialFailed)
    def fail(self, event: DialFailed, envelope: Envelope) -> None:
        existing = self.state.existing.get(event.hotkey)
        code = AXON if existing is not None and existing.has_axon else event.code
        cure = cure_for_miner(
            event.status,
            code,
            event.tls,
            registered=self.state.hotkey in self.state.neurons,
            offers_tls=event.hotkey in self.state.tls_offers,
        )
        peer = self._peer(event.hotkey)
        if peer.road != "synapse" or not self.speaks_synapse_alone(event, envelope.mono):
            peer.road = None if peer.road == "synapse" else peer.road
            self._trouble(peer, event.reason, cure, envelope)

    @on(QueryAdmitted)
    def hear_question(self, event: QueryAdmitted, envelope: Envelope) -> None:
        super().hear_question(event, envelope)
        peer = self._peer(event.hotkey)
        peer.heard_at = peer.asked_at = envelope.mono
        if peer.connection is None and peer.road != "http":
            peer.road, peer.trouble, peer.cure, peer.trouble_at = "synapse", "", "", None

    @on(QueryRefused)
    def refuse_question(self, event: QueryRefused, envelope: Envelope) -> None:
        """Of a neuron that its metagraph has: that it asked, and why it was refused. Who it was is not verified."""
        if event.hotkey in self.state.neurons and event.status == FORBIDDEN:
            peer = self._peer(event.hotkey)
            if peer.connection is None and peer.road is None:
                self._trouble(peer, f"asked over Synapse, and was refused: {event.message}", "", envelope)

    @on(ReconnectScheduled)
    def wait(self, event: ReconnectScheduled, envelope: Envelope) -> None:
        self._peer(event.hotkey).tries_at = Micros(envelope.mono + event.delay)

    @on(FallbackChosen)
    def fall_back(self, event: FallbackChosen, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        self.state.fallbacks[event.cause] += 1
        self.state.last_times[event.cause] = envelope.mono
        if not peer.trouble:
            self._trouble(peer, event.reason, DISABLED if event.cause == "disabled" else "", envelope)

    @on(PostAnswered)
    def hear_answer(self, event: PostAnswered, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        peer.heard_at = envelope.mono
        if peer.connection is None:
            peer.road = "http"
            if peer.cure == NO_ANSWER:
                peer.cure = ANSWERS_HTTP

    @on(PostFailed)
    def miss_answer(self, event: PostFailed, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        if peer.connection is None and peer.road == "http":
            peer.road = None
        if event.code == AXON:
            self._trouble(peer, event.reason, cure_for_miner(event.status, event.code), envelope)

    @on(AxonAnswered, AxonConfirmed)
    def hear_axon(self, event: AxonAnswered | AxonConfirmed, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        peer.heard_at = envelope.mono
        if peer.connection is None:
            peer.road = "synapse"
            peer.trouble = peer.cure = ""
            peer.trouble_at = None

    @on(AxonFailed)
    def miss_axon(self, event: AxonFailed, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        if peer.connection is None:
            peer.road = None
            self._trouble(peer, event.reason, cure_for_axon(event.status), envelope)

    @on(AxonPassedOver)
    def pass_over_axon(self, event: AxonPassedOver, envelope: Envelope) -> None:
        peer = self._peer(event.hotkey)
        if peer.connection is None:
            self._trouble(peer, event.reason, PUBLIC_AXON, envelope)

    @on(MessageAccepted)
    def hear(self, event: MessageAccepted, envelope: Envelope) -> None:
        peer = self.state.peers.get(event.hotkey)
        if peer is not None:
            peer.heard_at = envelope.mono
            message = event.message
            if isinstance(message, HeartbeatMessage) and message.epoch is not None and message.offset is not None:
                peer.position = Position(message.epoch, message.offset)

    # --- the operator's files

    @on(GamesFetched)
    def read_games(self, event: GamesFetched, _: Envelope) -> None:
        self.state.withheld = tuple(game for game in event.withheld if not game.started)

    @on(OddsDoubted)
    def doubt_odds(self, event: OddsDoubted, _: Envelope) -> None:
        self.state.doubted = event.games

    @on(RowsSkipped)
    def skip_rows(self, event: RowsSkipped, _: Envelope) -> None:
        self.state.skipped[event.what] = event

    # --- games and predictions

    @on(OutboxOpened)
    def recall(self, event: OutboxOpened, _: Envelope) -> None:
        self.state.waiting = len(event.entries)
        for slate in event.slates:
            self.state.positions[slate.validator] = Position(slate.epoch, slate.offset)
            if self.state.health.is_of_0_1:
                fold(self.state.games.setdefault(slate.validator, {}), slate.games, snapshot=True)

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, _: Envelope) -> None:
        self.state.positions[event.validator] = Position(event.epoch, event.offset)
        if self.state.health.is_of_0_1:
            fold(self.state.games.setdefault(event.validator, {}), event.games, snapshot=event.snapshot)

    @on(PredictionAccepted)
    def accept(self, event: PredictionAccepted, envelope: Envelope) -> None:
        self._score(event.hotkey, "accepted", Micros(envelope.at - event.received_at))

    @on(PredictionRejected)
    def reject(self, event: PredictionRejected, envelope: Envelope) -> None:
        self._score(event.hotkey, event.code, Micros(envelope.at - event.received_at))

    @on(VerdictRepeated)
    def repeat(self, _: VerdictRepeated, __: Envelope) -> None:
        self.state.repeated += 1

    @on(PredictionConflicted)
    def conflict(self, _: PredictionConflicted, __: Envelope) -> None:
        self.state.verdicts["conflict"] += 1

    @on(PredictionMade)
    def make(self, _: PredictionMade, __: Envelope) -> None:
        self.state.made += 1
        self.state.waiting += 1

    @on(PredictionDiscarded)
    def discard(self, _: PredictionDiscarded, __: Envelope) -> None:
        self.state.waiting -= 1
        self.state.verdicts["discarded"] += 1

    @on(PredictionExpired)
    def expire(self, _: PredictionExpired, __: Envelope) -> None:
        self.state.waiting -= 1
        self.state.verdicts["expired"] += 1

    @on(VerdictReceived)
    def judge(self, event: VerdictReceived, _: Envelope) -> None:
        self.state.waiting -= 1
        self._score(event.validator, event.code, event.latency)

    # --- the report

    @on(StatusRequested)
    def report(self, event: StatusRequested, envelope: Envelope) -> None:
        slates = event.slates and self.state.health.is_of_0_1
        self.publish(StatusReported(event.request, self._status(envelope, slates=slates)))

    def _score(self, hotkey: Hotkey, code: str, latency: Micros) -> None:
        self.state.verdicts[code] += 1
        self.state.latencies.append(latency)
        peer = self.state.peers.get(hotkey)
        if peer is not None:
            peer.latency = latency
            peer.accepted += code == "accepted"
            peer.rejected += code != "accepted"

    def _peer(self, hotkey: Hotkey) -> PeerStatus:
        peers = self.state.peers
        if hotkey not in peers:
            strangers = [name for name in peers if name not in self.state.neurons]
            if len(strangers) >= MAX_STRANGERS:
                del peers[strangers[0]]
            peers[hotkey] = PeerStatus(hotkey)
        return peers[hotkey]

    def _trouble(self, peer: PeerStatus, trouble: str, cure: str, envelope: Envelope) -> None:
        peer.trouble, peer.cure, peer.trouble_at = trouble, cure, envelope.mono

    def _status(self, envelope: Envelope, *, slates: bool) -> dict[str, Any]:
        state, now = self.state, envelope.mono
        own = state.neurons.get(state.hotkey)
        peers = [self._described(peer, now) for peer in state.peers.values()]
        return {
            "role": state.role,
            "hotkey": state.hotkey,
            "uid": None if own is None else own.uid,
            "registered": own is not None if state.health.knows_metagraph else None,
            "notices": list(self._notices(own)),
            "endpoint_doubt": state.endpoint_doubt,
            "netuid": state.netuid,
            "uptime_s": _seconds(now),
            "health": state.health.status(now, stopping=state.stopping),
            "neurons": len(state.neurons),
            "metagraph": {
                "source": state.metagraph,
                "block": state.block,
                "age_s": None if state.metagraph == "file" else _seconds(Micros(envelope.at - state.fetched_at)),
            },
            "blacklisted": state.blacklist,
            "sessions": len(state.connections),
            "predictions": {
                "made": state.made,
                "waiting": state.waiting,
                "verdicts": dict(sorted(state.verdicts.items())),
                "repeated": state.repeated,
            },
            "latency_ms": _percentiles(state.latencies),
            "peers": peers,
            "roads": {road: sum(peer["transport"] == road for peer in peers) for road in get_args(Road)},
            **({"slates": [self._slate(validator) for validator in state.games]} if slates else {}),
            "fallbacks": dict(state.fallbacks),
            **self._faulty_files(),
            "troubles": dict(state.troubles),
            "last_s": {name: _ago(at, now) for name, at in state.last_times.items()},
            "handlers": {
                name: {"waiting": 0, "failures": score.failures, "dropped": score.dropped, "last": score.last}
                for name, score in state.handlers.items()
            },
        }

    def _notices(self, own: NeuronInfo | None) -> Iterator[str]:
        """What keeps this neuron from its work or its peers now, with the cure."""
        state = self.state
        if not state.health.knows_metagraph:
            why = f": {state.chain_trouble}" if state.chain_trouble else ""
            yield f"this {state.role} has not read the metagraph yet{why}: {UNREAD}"
        if state.role == "validator" and own is not None and not own.validator_permit:
            yield f"{UNPERMITTED}: {NO_PERMIT}"
        if state.lack:
            yield state.lack
        if state.contest:
            yield state.contest
        yield from state.failing.values()

    def _faulty_files(self) -> dict[str, Any]:
        """What is wrong in the operator's files; a key for each kind of fault that there is."""
        state = self.state
        found: dict[str, Any] = {}
        if state.health.feed_fault:
            found["feed_fault"] = state.health.feed_fault
        if withheld := (*state.withheld, *state.doubted):
            first = [{"game_id": game.game_id, "reason": game.reason} for game in withheld[:MAX_SHOWN]]
            found["withheld"] = {"count": len(withheld), "first": first}
        if skipped := [event for event in state.skipped.values() if event.faults]:
            found["skipped_rows"] = {
                event.what: {"file": event.file, "count": len(event.faults), "first": list(event.faults[:MAX_SHOWN])}
                for event in skipped
            }
        return found

    def _described(self, peer: PeerStatus, now: Micros) -> dict[str, Any]:
        presence, transport = _presence(peer, now)
        # who asks us over Synapse works, wherever nothing listens for a WebSocket
        is_troubled = transport in ("websocket", "http") or not _is_lately(peer.asked_at, now)
        neuron = self.state.neurons.get(peer.hotkey)
        # a miner knows its position in each validator's stream, a validator the position that the miner last named
        position = self.state.positions.get(peer.hotkey, peer.position)
        return {
            "hotkey": peer.hotkey,
            "uid": None if neuron is None else neuron.uid,
            "registered": neuron is not None,
            "endpoint": peer.endpoint,
            "state": presence,
            "transport": transport,
            "tls": peer.tls and peer.connection is not None,
            "since_s": _ago(peer.since, now),
            "heard_s": _ago(peer.heard_at, now),
            "tries_in_s": None if peer.tries_at is None else _seconds(Micros(max(0, peer.tries_at - now))),
            "latency_ms": None if peer.latency is None else peer.latency / 1000,
            "offset": None if position is None else position.offset,
            "accepted": peer.accepted,
            "rejected": peer.rejected,
            "trouble": peer.trouble if is_troubled else "",
            "trouble_s": _ago(peer.trouble_at, now) if is_troubled else None,
            "cure": peer.cure if is_troubled else "",
            **({} if peer.asked_at is None else {"asked_s": _ago(peer.asked_at, now)}),
        }

    def _slate(self, validator: Hotkey) -> dict[str, Any]:
        position = self.state.positions[validator]
        games = [game.to_dict() for game in self.state.games[validator].values()]
        return {"validator": validator, "epoch": position.epoch, "offset": position.offset, "games": games}


def _presence(peer: PeerStatus, now: Micros) -> tuple[str, Road | None]:
    """The state of a peer in words, and the road by which it is heard."""
    if peer.connection is not None:
        return "connected", "websocket"
    if peer.road == "http":
        return "by HTTP", "http"
    if peer.road == "synapse" and _is_lately(peer.heard_at, now):
        return "by Synapse", "synapse"
    if _is_lately(peer.asked_at, now):
        return "speaks Synapse", None
    return "not connected" if peer.trouble else "not seen", None


def _is_lately(at: Micros | None, now: Micros) -> bool:
    return at is not None and now - at <= LATELY


def _seconds(duration: Micros) -> float:
    return round(duration / SECOND, 3)


def _ago(at: Micros | None, now: Micros) -> float | None:
    return None if at is None else _seconds(Micros(now - at))


def _percentiles(latencies: "deque[Micros]") -> dict[str, float] | None:
    if not latencies:
        return None
    ordered = sorted(latencies)
    return {
        "p50": percentile(ordered, 0.5) / 1000,
        "p99": percentile(ordered, 0.99) / 1000,
    }
