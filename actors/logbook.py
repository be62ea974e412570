"""The operator's log: which events become lines, and how many.

The lines are an interface; docs/operating.md lists those with stable words. ``LINES_PER_SECOND`` lines of each kind are
written; one line at the end of the second counts the others, so that neither load nor an attacker can flood the log.
A trouble that lasts is told when it begins, when its cause changes and when it is over; a summary repeats it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bettensor.actors.actor import on, on_timer
from bettensor.actors.cures import (
    AS_REFUSAL,
    DIALLED_BY_TLS,
    DISABLED,
    FEW_FILES,
    FEW_WATCHES,
    FOREIGN_CERTIFICATE,
    NO_PERMIT,
    ON_VALIDATOR,
    OURS,
    SPEAKS_SYNAPSE,
    UNPERMITTED,
    UNREGISTERED,
    contest_of,
    cure_for_axon,
    cure_for_close,
    cure_for_endpoint,
    cure_for_miner,
)
from bettensor.actors.existing import Existing, ExistingFollower
from bettensor.actors.health import SLOW_COMMIT, Health, HealthWatcher
from bettensor.actors.outages import Outage, Trouble
from bettensor.actors.settings import Seconds, settings_class
from bettensor.actors.tls_offers import TlsOfferFollower
from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    AcceptingFailed,
    AcceptingResumed,
    ActorFailed,
    Announced,
    AnnounceFailed,
    AnnouncementContested,
    AnnouncementSettled,
    AnnouncePlanned,
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonPassedOver,
    AxonQueryRequested,
    BarCause,
    BroadcastWritten,
    CertificateDoubted,
    CertificateLoaded,
    CertificateRefused,
    ChainFailed,
    ClockStepped,
    CloseRequested,
    CommitFailed,
    ConnectionClosed,
    ConnectionsShed,
    DialFailed,
    EndpointDoubted,
    FallbackChosen,
    FeedFailed,
    FrameWritten,
    GamesFetched,
    GamesUpdated,
    HandlerFailed,
    HandlerOverflowed,
    LedgerRecognised,
    LineLogged,
    ListeningBegun,
    MessageRefused,
    MetagraphDoubted,
    MetagraphSynced,
    MetricsUnavailable,
    ModelNoted,
    NeuronFailed,
    NeuronStarted,
    NeuronStopped,
    NeuronStopping,
    OddsDoubted,
    OutboxOpened,
    PeerAuthenticated,
    PeerMisbehaved,
    PeerRefused,
    PostAnswered,
    PostFailed,
    PredictionAccepted,
    PredictionConflicted,
    PredictionDiscarded,
    PredictionExpired,
    PredictionRejected,
    PredictionsRequested,
    QueryAdmitted,
    QueryRefused,
    ReconnectScheduled,
    RecordingFailed,
    RecordingResumed,
    ReloadFailed,
    RequestsTurnedAway,
    Road,
    Role,
    RowsSkipped,
    SaveFailed,
    SendFailed,
    SessionActivated,
    SettingsReloaded,
    SlateQueried,
    StateDirTightened,
    SynapseAsked,
    TlsLearned,
    UpdateStoreFailed,
    UpgradeBegun,
    ValidatorsMissed,
    VerdictReceived,
    VerifierLost,
    VerifiersFailed,
    VerifiersResumed,
    WatchRefused,
    WithheldGame,
)
from bettensor.bus.games import Prediction, TeamGamePrediction
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, PredictionId, Uid, micros
from bettensor.bus.messages import ConfirmationMessage, GameUpdateMessage, PredictionMessage
from bettensor.bus.synapse import REJECTED, SYNAPSE_EPOCH
from bettensor.bus.text import counted, duration, printable, short
from bettensor.bus.timestamps import DAY, rfc3339

LINES_PER_SECOND: Final = 20
"""Lines of one kind per second, unless that kind has its own limit."""
NAMED: Final = 10
"""Validators that one summary names."""
EXPIRY_WARNING: Final = Micros(14 * DAY)
"""Before a certificate expires."""
MAX_LEFT_OUT: Final = 20
"""Unreadable games of one validator that the log names."""
_ACCEPTED: Final = "accepted predictions"
_REJECTED: Final = "rejected predictions"
_WITHOUT_METAGRAPH: Final[dict[str, str]] = {
    "validator": "every miner gets 503",
    "miner": "this miner has no validator to connect to",
}
FULL_PAUSE: Final = Micros(60 * SECOND)
"""Between two lines about predictions for which there is no room."""
_SPENT: Final[dict[BarCause, str]] = {
    "network": "too many failures of their network",
    "everybody": "too many failures of all networks",
    "hotkey": "too many requests of their hotkey",
}
"""Why requests are turned away."""
_SHED: Final[dict[str, str]] = {
    "connections": "connections",
    "strangers": "connections without a proven hotkey",
    "strangers_per_network": "connections of one network without a proven hotkey",
    "connections_per_hotkey": "connections of one hotkey",
    "handshakes": "TLS handshakes at a time",
    "handshakes_per_network": "TLS handshakes of one network at a time",
    "unadmitted_bytes": "bytes of requests that are not admitted yet",
}
"""What each limit of a public port counts."""
_ROADS: Final[dict[Road, str]] = {"websocket": "WebSocket", "http": "HTTP", "synapse": "Synapse"}


@settings_class
class LogbookSettings:
    """How often the log repeats itself."""

    summary_interval: Seconds | None = 3600.0
    """Seconds between two lines about a trouble that lasts: validators that do not answer, a chain that cannot be read.
    null: no summary, and each failed try has a line of its own."""


@dataclass(slots=True)
class Window:
    """One kind of line within one second."""

    began_at: Micros
    written: int = 0
    held_back: int = 0
    level: str = "INFO"


@dataclass(slots=True)
class LogbookState:
    """The names that lines need, and the number of lines of each kind."""

    role: Role = "validator"
    hotkey: Hotkey = Hotkey("")
    registered: bool = True
    permitted: bool = True
    """Of a validator: it has a validator permit."""
    windows: dict[str, Window] = field(default_factory=dict)
    peers: dict[ConnectionId, Hotkey] = field(default_factory=dict)
    uids: dict[Hotkey, Uid] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    has_slate: bool = False
    """Whether this validator offers a slate, if only an old one."""
    told: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The faults that each of the operator's files, and the odds, had when they were last read."""
    chain_is_missed: bool = False
    """Whether the last reading of the chain failed; the next success is then logged at INFO."""
    watch_is_refused: bool = False
    """Whether the log says that files are not watched; each watch is refused, but one line is enough."""
    chain: Trouble | None = None
    """The readings that have failed since the last success."""
    offered: dict[Hotkey, dict[PredictionId, None]] = field(default_factory=dict)
    """Of a miner: the predictions without a verdict that it has told to have pushed over Synapse, by validator."""
    turned_away: dict[Hotkey, int] = field(default_factory=dict)
    """Of a miner: the status with which it last refused each neuron of the subnet that asked over Synapse."""
    askers: dict[Hotkey, None] = field(default_factory=dict)
    """Of a validator: the neurons of the subnet that have asked it over Synapse."""
    full: dict[Hotkey, Micros] = field(default_factory=dict)
    """Of a miner: when it was last told that a prediction had no room among those that wait for a validator."""
    outages: dict[Hotkey, Outage] = field(default_factory=dict)
    """Of a miner: the validators that it does not reach, or only by HTTP."""
    asked: dict[Hotkey, ConnectionId] = field(default_factory=dict)
    """Of a validator: its last exchange with each existing miner."""
    confirming: dict[ConnectionId, tuple[PredictionId, ...]] = field(default_factory=dict)
    """The predictions whose verdicts are on their way to an existing miner."""
    silent: dict[Hotkey, Trouble] = field(default_factory=dict)
    """Existing miners that do not answer."""
    deaf: dict[Hotkey, Trouble] = field(default_factory=dict)
    """Existing miners that answer, and take no confirmation."""
    existing: dict[Hotkey, Existing] = field(default_factory=dict)
    tls_offers: dict[Hotkey, None] = field(default_factory=dict)
    told_existing: dict[Hotkey, None] = field(default_factory=dict)
    """Of a miner: the neurons of which the log says that they speak Synapse alone."""
    answers_existing: bool = False
    """Whether this miner listens for existing validators: then some with a permit are existing neurons."""
    reached: dict[Hotkey, None] = field(default_factory=dict)
    """Of a miner: the validators that have answered in this run."""
    certificate_until: Micros = Micros(0)
    """Of a validator: when its certificate expires, by the wall clock."""


class LogbookActor(HealthWatcher, ExistingFollower, TlsOfferFollower):
    """Writes all log lines, and is the only one that does."""

    name = "logbook"
    Settings = LogbookSettings
    State = LogbookState
    settings: LogbookSettings
    state: LogbookState

    @property
    def _is_of_0_1(self) -> bool:
        """Release 0.1.0 had fewer lines: for example none on a validator's verdicts and permit."""
        return self.state.health.is_of_0_1

    # --- the neuron

    @on(NeuronStarted)
    def started(self, event: NeuronStarted, envelope: Envelope) -> None:
        self.state.role, self.state.hotkey = event.role, event.hotkey
        self._line(envelope, "started", f"{event.role} started: netuid {event.netuid}, hotkey {event.hotkey}")

    @on(ListeningBegun)
    def listening(self, event: ListeningBegun, envelope: Envelope) -> None:
        self.state.answers_existing = self.state.role == "miner"
        self._line(envelope, "listening", f"Listening on {event.endpoint}")

    @on(ConnectionsShed)
    def connections_shed(self, event: ConnectionsShed, envelope: Envelope) -> None:
        what = _SHED.get(event.limit, event.limit)
        text = (
            f"More than {event.most} {what} (limits.{event.limit}): closed {counted(event.count, 'connection')} "
            f"to make room, such as one from {event.network}"
        )
        self._line(envelope, f"limits.{event.limit}", text, "WARNING", limit=1)

    @on(AcceptingFailed)
    def accepting_failed(self, event: AcceptingFailed, envelope: Envelope) -> None:
        text = f"The public port gets no further connections: {event.reason}; it tries again. {FEW_FILES}"
        self._line(envelope, "accepting", text, "ERROR")

    @on(AcceptingResumed)
    def accepting_resumed(self, _: AcceptingResumed, envelope: Envelope) -> None:
        self._line(envelope, "accepting", "The public port gets all connections again")

    @on(NeuronStopping)
    def stopping(self, event: NeuronStopping, envelope: Envelope) -> None:
        self._line(envelope, "stopping", f"Stopping: {event.reason}")

    @on(NeuronStopped)
    def stopped(self, event: NeuronStopped, envelope: Envelope) -> None:
        text = f"Stopped after {duration(envelope.mono / SECOND)}: {event.reason}"
        self._line(envelope, "stopped", text)

    @on(NeuronFailed)
    def failed(self, event: NeuronFailed, envelope: Envelope) -> None:
        self._line(envelope, "failed", event.reason, "CRITICAL", traceback=True)

    @on(ActorFailed)
    def actor_failed(self, event: ActorFailed, envelope: Envelope) -> None:
        text = f"{event.actor} failed while it handled {event.handling} (event {event.seq}):\n{event.error}"
        self._line(envelope, "actor failures", text, "ERROR", limit=1, traceback=True)

    @on(HandlerFailed)
    def handler_failed(self, event: HandlerFailed, envelope: Envelope) -> None:
        is_of_model = event.handling == PredictionsRequested.topic and not self._is_of_0_1
        if is_of_model and "\n" not in event.error:  # the model's own words
            text = f"{event.handler[:1].upper()}{event.handler[1:]}: {event.error}"
            self._line(envelope, f"faults of {event.handler}", text, "ERROR")
            return
        text = f"The handler {event.handler} failed on {event.handling}; nothing else is affected:\n{event.error}"
        self._line(envelope, f"failures of {event.handler}", text, "ERROR", limit=1, traceback=True)

    @on(HandlerOverflowed)
    def handler_overflowed(self, event: HandlerOverflowed, envelope: Envelope) -> None:
        text = f"The handler {event.handler} is too slow for {event.handling}: {event.dropped} events were dropped"
        self._line(envelope, f"overflows of {event.handler}", text, "WARNING", limit=1)

    @on(ClockStepped)
    def clock_stepped(self, event: ClockStepped, envelope: Envelope) -> None:
        text = f"The wall clock stepped by {event.by / SECOND:+.1f} s; no prediction is judged for a minute"
        self._line(envelope, "clock", text, "WARNING")

    @on(VerifierLost)
    def verifier_lost(self, event: VerifierLost, envelope: Envelope) -> None:
        why = f"exit code {event.exit_code}" + (f": {event.reason}" if event.reason else "")
        text = f"A signature verifier process ended with {why}; nothing is lost, another starts"
        self._line(envelope, "lost verifiers", text, "WARNING", limit=1)

    @on(VerifiersFailed)
    def verifiers_failed(self, event: VerifiersFailed, envelope: Envelope) -> None:
        text = f"A signature verifier process cannot start: {event.reason}; the neuron verifies signatures by itself, "
        text += "and tries again"
        self._line(envelope, "verifiers", text, "WARNING")

    @on(VerifiersResumed)
    def verifiers_resumed(self, _: VerifiersResumed, envelope: Envelope) -> None:
        self._line(envelope, "verifiers", "The signature verifier processes have started again")

    def _committed(self, took: Micros, envelope: Envelope) -> None:
        if took >= SLOW_COMMIT:
            text = f"A commit took {took / SECOND:.1f} s: the disk is slow, and verdicts come late"
            self._line(envelope, "slow commits", text, "WARNING", limit=1)

    @on(CommitFailed)
    def commit_failed(self, event: CommitFailed, envelope: Envelope) -> None:
        self._line(envelope, "failed commits", f"A commit failed: {event.reason}", "ERROR", limit=1)

    @on(SaveFailed)
    def save_failed(self, event: SaveFailed, envelope: Envelope) -> None:
        text = f"The outbox cannot be written, so predictions wait: {event.reason}"
        self._line(envelope, "failed saves", text, "ERROR", limit=1)

    @on(StateDirTightened)
    def state_dir_tightened(self, event: StateDirTightened, envelope: Envelope) -> None:
        text = f"Other users had access to the neuron's files, and no longer have: {', '.join(event.what)}"
        self._line(envelope, "permissions", text, "WARNING")

    @on(UpgradeBegun)
    def upgrade_begun(self, event: UpgradeBegun, envelope: Envelope) -> None:
        what = f"{event.file} ({event.size / 1e6:.0f} MB) from schema {event.schema} to {event.newest}"
        self._line(envelope, "upgrades", f"Upgrading {what}; the neuron starts when this is done")

    @on(OutboxOpened)
    def outbox_opened(self, event: OutboxOpened, envelope: Envelope) -> None:
        if event.entries:
            text = f"{counted(len(event.entries), 'prediction')} of earlier runs without a verdict will be sent again"
            self._line(envelope, "outbox", text)

    @on(SettingsReloaded)
    def reloaded(self, event: SettingsReloaded, envelope: Envelope) -> None:
        if event.taken:
            self._line(envelope, "reloads", f"Configuration reloaded: {', '.join(event.taken)}")
        if event.waiting:
            text = f"Configuration changes that need a restart: {', '.join(event.waiting)}"
            self._line(envelope, "changes that wait", text, "WARNING")
        if not event.taken and not event.waiting:
            self._line(envelope, "reloads", "Configuration reloaded: no key changed")

    @on(MetricsUnavailable)
    def no_metrics(self, event: MetricsUnavailable, envelope: Envelope) -> None:
        text = (
            f"Metrics are not served: {event.reason}; correct metrics.ip or metrics.port, or set metrics.enabled: false"
        )
        self._line(envelope, "metrics", text, "WARNING")

    @on(WatchRefused)
    def unwatched(self, event: WatchRefused, envelope: Envelope) -> None:
        if not self.state.watch_is_refused:
            self.state.watch_is_refused = True
            text = f"Changed files are noticed by checking every second, because they cannot be watched: {event.reason}"
            self._line(envelope, "watches", f"{text}{_hint(FEW_WATCHES)}", "WARNING")

    @on(ReloadFailed)
    def not_reloaded(self, event: ReloadFailed, envelope: Envelope) -> None:
        reason = "; ".join(event.reason.splitlines())
        text = f"The new configuration cannot be used, so the old one stays in force: {reason}"
        self._line(envelope, "failed reloads", text, "ERROR", limit=1)

    # --- the subnet

    @on(MetagraphSynced)
    def synced(self, event: MetagraphSynced, envelope: Envelope) -> None:
        self.state.uids = {neuron.hotkey: neuron.uid for neuron in event.neurons}
        self._forget_existing()
        text = f"Metagraph: {counted(len(event.neurons), 'neuron')}"
        if event.source == "file":
            self._line(envelope, "metagraph", text)
        elif event.source == "disk":
            age = (envelope.at - event.fetched_at) / SECOND
            text += f", from disk; read from the chain {age:.0f} s ago at block {event.block}"
            self._line(envelope, "metagraph", text, "WARNING")
            self.state.chain_is_missed = True
        else:
            text += f" at block {event.block}, {len(event.changed)} changed"
            self._line(envelope, "metagraph", text, "INFO" if event.changed or self.state.chain_is_missed else "DEBUG")
            self.state.chain_is_missed, self.state.chain = False, None
        was_registered, self.state.registered = self.state.registered, self.state.hotkey in self.state.uids
        if was_registered and not self.state.registered:
            text = (
                f"The hotkey of this neuron, {self.state.hotkey}, is not in the metagraph, so no peer admits the neuron"
            )
            self._line(envelope, "registration", f"{text}{_hint(UNREGISTERED)}", "WARNING")
        self._tell_of_permit(event, envelope)

    def _tell_of_permit(self, event: MetagraphSynced, envelope: Envelope) -> None:
        if self.state.role != "validator" or self._is_of_0_1:
            return
        own = next((neuron for neuron in event.neurons if neuron.hotkey == self.state.hotkey), None)
        if own is None or own.validator_permit == self.state.permitted:
            return
        self.state.permitted = own.validator_permit
        if own.validator_permit:
            self._line(envelope, "permits", "This validator has a validator permit now, so miners connect to it")
        else:
            self._line(envelope, "permits", f"{_sentence(UNPERMITTED)}{_hint(NO_PERMIT)}", "WARNING")

    @on(ValidatorsMissed)
    def validators_missed(self, event: ValidatorsMissed, envelope: Envelope) -> None:
        if event.reason:
            self._line(envelope, "missed validators", f"{_sentence(event.reason)}{_hint(event.cure)}", "WARNING")
        else:
            self._line(envelope, "missed validators", "There is a validator to connect to again")

    @on(RowsSkipped)
    def rows_skipped(self, event: RowsSkipped, envelope: Envelope) -> None:
        rows = f"rows of the {event.what}"
        had_faults, untold = bool(self.state.told.get(rows)), self._untold(rows, event.faults)
        is_blacklist = event.what == "blacklist"
        effect, level = ("it blocks nobody", "ERROR") if is_blacklist else ("it is not used", "WARNING")
        for fault in event.faults:
            if fault in untold:
                text = f"A row of the {event.what} is wrong, so {effect}: {event.file}: {fault}"
                self._line(envelope, rows, text, level)
        if had_faults and not event.faults:
            self._line(envelope, rows, f"All {rows} can be used again")

    @on(EndpointDoubted)
    def endpoint_doubted(self, event: EndpointDoubted, envelope: Envelope) -> None:
        if event.reason:
            text = f"{_sentence(event.reason)}{_hint(cure_for_endpoint(self.state.role))}"
            self._line(envelope, "doubted endpoints", text, "WARNING")
        else:
            text = f"The metagraph has the right endpoint for this {self.state.role} again"
            self._line(envelope, "doubted endpoints", text)

    @on(MetagraphDoubted)
    def doubted(self, event: MetagraphDoubted, envelope: Envelope) -> None:
        text = f"The metagraph looks wrong and must be read a second time before it is used: {event.reason}"
        self._line(envelope, "doubted metagraphs", text, "WARNING")

    @on(ChainFailed)
    def chain_failed(self, event: ChainFailed, envelope: Envelope) -> None:
        self.state.chain_is_missed = True
        if self.state.health.knows_metagraph:
            text = "The chain cannot be read, so the last metagraph stays in force"
        else:
            text = f"The chain cannot be read and no metagraph is known yet, so {_WITHOUT_METAGRAPH[self.state.role]}"
        text += f": {event.reason}; next try in {event.delay / SECOND:.0f} s"
        if self._is_news_of_chain(event.reason, envelope.mono):
            self._line(envelope, "chain failures", text, "WARNING", limit=1)
        else:
            self._line(envelope, "repeated chain failures", text, "DEBUG", limit=1)

    def _is_news_of_chain(self, reason: str, now: Micros) -> bool:
        interval = self.settings.summary_interval
        if interval is None:
            return True
        trouble = self.state.chain
        if trouble is None or now - trouble.told_at >= micros(interval):
            trouble = self.state.chain = Trouble(now)
        return trouble.is_news(re.sub(r"\d+", "", reason), now)  # the blocks and seconds of a reason differ each time

    @on(AnnouncePlanned)
    def planned(self, event: AnnouncePlanned, envelope: Envelope) -> None:
        self._line(envelope, "announcements", f"Announcing {event.endpoint} on the chain: {event.plan}")

    @on(Announced)
    def announced(self, event: Announced, envelope: Envelope) -> None:
        self._line(envelope, "announcements", f"Announced {event.endpoint} on the chain")

    @on(AnnounceFailed)
    def not_announced(self, event: AnnounceFailed, envelope: Envelope) -> None:
        text = f"The chain rejected the announcement of {event.endpoint}: {event.reason}; retrying"
        self._line(envelope, "announcements", text, "WARNING")

    @on(AnnouncementContested)
    def contested(self, event: AnnouncementContested, envelope: Envelope) -> None:
        text, cure = contest_of(event, self.state.role)
        level = "DEBUG" if event.rounds else "WARNING"  # told once; `peers` and `top` say it while it lasts
        self._line(envelope, f"contested announcements: {level}", f"{_sentence(text)}{_hint(cure)}", level)

    @on(AnnouncementSettled)
    def settled(self, event: AnnouncementSettled, envelope: Envelope) -> None:
        text = "The announcement on the chain is no longer contested: "
        text += "the settings have changed" if event.endpoint is None else f"the chain has {event.endpoint}"
        self._line(envelope, "announcements", text)

    @on(PeerAuthenticated)
    def know_peer(self, event: PeerAuthenticated, _: Envelope) -> None:
        self.state.peers[event.connection] = event.hotkey

    @on(SessionActivated)
    def activated(self, event: SessionActivated, envelope: Envelope) -> None:
        self.state.peers[event.connection] = event.hotkey
        other = "miner" if self.state.role == "validator" else "validator"
        text = f"WebSocket connection established with {other} {self._peer(event.hotkey)}"
        self._line(envelope, "new connections", text)
        outage = self.state.outages.pop(event.hotkey, None)
        if outage is not None:
            self._over(event.hotkey, "websocket", Micros(envelope.mono - outage.began_at), envelope)

    @on(ConnectionClosed)
    def closed(self, event: ConnectionClosed, envelope: Envelope) -> None:
        hotkey = self.state.peers.pop(event.connection, None)
        if hotkey is not None and event.code and event.connection >= 0:
            text = f"WebSocket connection with {self._peer(hotkey)} closed: {event.code} {event.reason}".rstrip()
            self._session_ended(hotkey, event.code, text, envelope)
        if event.code == CloseCode.REPLACED and self.state.role == "miner":
            text = "Another process uses this hotkey: two miners with one hotkey replace each other's sessions"
            self._line(envelope, "shared hotkey", text, "WARNING")

    @on(CloseRequested)
    def closing(self, event: CloseRequested, envelope: Envelope) -> None:
        hotkey = self.state.peers.get(event.connection)
        who = "a peer" if hotkey is None else self._peer(hotkey)
        text = f"Closing the connection with {who}: {event.code} {event.reason}"
        if event.reason == DIALLED_BY_TLS:
            self._line(envelope, "plain connections", text, "DEBUG")
            return
        self._line(envelope, f"closes with {event.code}", text, "WARNING" if event.code < 4200 else "INFO", limit=1)

    @on(PeerRefused)
    def refused(self, event: PeerRefused, envelope: Envelope) -> None:
        who = event.remote or "a peer"
        if event.hotkey is not None:
            who = f"{event.remote} ({self._peer(event.hotkey)})" if event.remote else self._peer(event.hotkey)
        text = f"Refused a request from {who}: {event.code.status} {event.code}: {event.message}"
        text += _hint(ON_VALIDATOR.get(event.code, ""))
        level = "DEBUG" if event.code is RefusalCode.NO_METAGRAPH else "WARNING"  # the line on the chain says why
        self._line(envelope, f"refusals: {event.code}", text, level, limit=1)

    @on(RequestsTurnedAway)
    def turned_away(self, event: RequestsTurnedAway, envelope: Envelope) -> None:
        causes = ", ".join(f"{count} for {_SPENT[cause]}" for cause, count in event.counts.items())
        what = f"{counted(sum(event.counts.values()), 'request')} in {event.seconds:.0f} s"
        text = f"Turned away {what} with 429: {causes}; {event.most} came from {event.network}"
        self._line(envelope, "requests turned away", text, "WARNING", limit=1)

    @on(QueryRefused)
    def query_refused(self, event: QueryRefused, envelope: Envelope) -> None:
        who = event.remote or "a peer" if event.hotkey is None else f"{event.remote} ({self._peer(event.hotkey)})"
        text = f"Refused a request from {who} via Synapse: {event.status}: {event.message}"
        level = "WARNING"
        if event.hotkey in self.state.uids:  # an existing validator asks each 8 minutes, whatever it was told
            level = "WARNING" if self.state.turned_away.get(event.hotkey) != event.status else "DEBUG"
            self.state.turned_away[event.hotkey] = event.status
        self._line(envelope, f"refusals via Synapse: {event.status}", text, level, limit=1)

    @on(SynapseAsked)
    def asked_over_synapse(self, event: SynapseAsked, envelope: Envelope) -> None:
        """A neuron of the subnet is told once, as long as it stays there; anybody can claim another hotkey."""
        hotkey = event.hotkey
        who = event.remote if hotkey is None else f"{event.remote} ({self._peer(hotkey)})"
        text = f"An existing neuron, {who}, asked this validator over Synapse and got 404: validators answer no queries"
        if hotkey in self.state.uids and hotkey not in self.state.askers:
            self.state.askers[hotkey] = None
            self._line(envelope, "first queries over Synapse", text)
        else:
            self._line(envelope, "queries over Synapse", text, "DEBUG", limit=1)

    @on(PeerMisbehaved)
    def misbehaved(self, event: PeerMisbehaved, envelope: Envelope) -> None:
        text = f"{self._peer(event.hotkey)} sent something no honest neuron sends: {event.fault}"
        self._line(envelope, "misbehaviours", text, "WARNING", limit=1)

    @on(RecordingFailed)
    def recording_failed(self, event: RecordingFailed, envelope: Envelope) -> None:
        text = f"The event log cannot be written and has stopped: {event.reason}"
        self._line(envelope, "recording failures", text, "WARNING")

    @on(RecordingResumed)
    def recording_resumed(self, _: RecordingResumed, envelope: Envelope) -> None:
        text = "The event log continues in a new file; the events in between are lost"
        self._line(envelope, "recording failures", text, "INFO")

    @on(LedgerRecognised)
    def recognised(self, event: LedgerRecognised, envelope: Envelope) -> None:
        if event.former is not None:
            text = f"{self._peer(event.validator)} has a different ledger than before: it may have lost verdicts"
            self._line(envelope, "ledgers", text, "WARNING")

    # --- TLS

    @on(CertificateLoaded)
    def certificate_loaded(self, event: CertificateLoaded, envelope: Envelope) -> None:
        whose = "the proxy, where TLS ends" if event.of_proxy else "this validator"
        names = f", for {', '.join(event.names[:NAMED])}" if event.names else ""
        until = "" if event.not_after is None else f", valid until {rfc3339(event.not_after)[:19]}Z"
        self._line(envelope, "certificates", f"TLS certificate of {whose}: key {event.key}{names}{until}")
        for fault in event.faults:
            self._line(envelope, "faults of certificates", f"TLS certificate: {fault}", "WARNING")
        if event.not_after is not None and not event.of_proxy:
            self.state.certificate_until = event.not_after
            left = max(0, event.not_after - EXPIRY_WARNING - envelope.at)
            self.set_timer("expiry", Micros(envelope.mono + left))

    @on_timer("expiry")
    def expires(self, _: None, envelope: Envelope) -> None:
        until = rfc3339(self.state.certificate_until)[:19]
        text = f"The TLS certificate expires at {until}Z (put a new one in its place, which is noticed at once)"
        self._line(envelope, "certificates that expire", text, "WARNING")

    @on(CertificateRefused)
    def certificate_refused(self, event: CertificateRefused, envelope: Envelope) -> None:
        text = f"The new TLS certificate cannot be used, so the old one stays in force: {event.reason}"
        self._line(envelope, "refused certificates", text, "ERROR", limit=1)

    @on(TlsLearned)
    def learned_tls(self, event: TlsLearned, envelope: Envelope) -> None:
        validator = self._peer(event.validator)
        if event.tls is None:
            self._line(envelope, "validators without TLS", f"Validator {validator} offers no TLS", "DEBUG")
        elif event.tls.key:
            text = f"Validator {validator} has TLS, and has signed for the key {event.tls.key}"
            self._line(envelope, "keys of validators", f"{text}: this miner connects by TLS")
        else:
            text = f"Validator {validator} has TLS, whose key it does not sign for; the system's roots vouch for it"
            self._line(envelope, "keys of validators", f"{text}: this miner connects by TLS")

    @on(CertificateDoubted)
    def doubted_certificate(self, event: CertificateDoubted, envelope: Envelope) -> None:
        text = f"The TLS of validator {self._peer(event.validator)} is not trusted: {event.reason}"
        self._line(envelope, "doubted certificates", f"{text}{_hint(FOREIGN_CERTIFICATE)}", "ERROR", limit=1)

    # --- validators that a miner does not reach

    @on(DialFailed)
    def dial_failed(self, event: DialFailed, envelope: Envelope) -> None:
        text = f"No WebSocket connection with validator {self._peer(event.hotkey)}: {event.reason}"
        text += self._cure_of(event)
        if self.speaks_synapse_alone(event, envelope.mono):
            self._tell_existing(event.hotkey, envelope)
            self._failure(envelope, "failed dials", text, is_news=False)
            return
        self.state.told_existing.pop(event.hotkey, None)
        outage = self._outage(event.hotkey, envelope)
        is_news = outage is None or outage.dial_failed(event, envelope.mono)
        self._failure(envelope, "failed dials", text, is_news=is_news)

    @on(ReconnectScheduled)
    def reconnecting(self, event: ReconnectScheduled, envelope: Envelope) -> None:
        text = f"Reconnecting to validator {self._peer(event.hotkey)} in {event.delay / SECOND:.1f} s"
        outage = self.state.outages.get(event.hotkey)
        is_told = outage is None and event.hotkey not in self.state.told_existing
        if is_told or (outage is not None and outage.announced):
            self._line(envelope, "reconnects", text)
        else:
            self._line(envelope, "repeated reconnects", text, "DEBUG")
        if outage is not None:
            outage.announced = False

    @on(FallbackChosen)
    def falling_back(self, event: FallbackChosen, envelope: Envelope) -> None:
        validator = self._peer(event.hotkey)
        text = f"Using HTTP with validator {validator} because its WebSocket does not work: {event.reason}"
        if event.cause == "disabled":
            text += _hint(DISABLED)
        self._line(envelope, "fallbacks", text, self._level_of_fallback(event, envelope))

    def _level_of_fallback(self, event: FallbackChosen, envelope: Envelope) -> str:
        """One cause has one warning: a failed dial, or a close, has told its own."""
        if self.settings.summary_interval is None or event.cause == "no_verdict":
            return "WARNING"
        if event.cause != "no_connection":
            return "INFO"  # the operator's choice, or a session that has just ended
        if event.hotkey in self.state.outages:
            return "DEBUG"
        outage = self._outage(event.hotkey, envelope)
        return "WARNING" if outage is None or outage.is_news(event.reason, envelope.mono) else "DEBUG"

    @on(PostFailed)
    def post_failed(self, event: PostFailed, envelope: Envelope) -> None:
        text = f"An HTTP request to validator {self._peer(event.hotkey)} failed: {event.reason}"
        if self.speaks_synapse_alone(event, envelope.mono):
            self._tell_existing(event.hotkey, envelope)
            self._failure(envelope, "failed HTTP exchanges", text, is_news=False)
            return
        outage = self._outage(event.hotkey, envelope)
        if outage is None:
            self._line(envelope, "failed HTTP exchanges", text, "WARNING", limit=1)
            return
        text += self._cure_of(event)
        self._failure(envelope, "failed HTTP exchanges", text, is_news=outage.http_failed(event, envelope.mono))

    @on(QueryAdmitted)
    def asked(self, event: QueryAdmitted, envelope: Envelope) -> None:
        """The reason of an outage may be that the validator speaks Synapse alone."""
        outage = self.state.outages.get(event.hotkey)
        if outage is not None and not outage.http_works and outage.silent is not None:
            self._tell_existing(event.hotkey, envelope)

    def _tell_existing(self, hotkey: Hotkey, envelope: Envelope) -> None:
        self.state.outages.pop(hotkey, None)
        if hotkey in self.state.told_existing:
            return
        self.state.told_existing[hotkey] = None
        if self.state.existing[hotkey].has_axon:
            text = f"{self._peer(hotkey)} has an Axon where a validator would listen: it {SPEAKS_SYNAPSE} alone"
        else:
            text = f"Validator {self._peer(hotkey)} {SPEAKS_SYNAPSE}: it asks this miner, and its endpoint is silent"
        self._line(envelope, "existing neurons", f"{text}; this miner tries that once an hour")

    def find_new(self, event: SessionActivated | PostAnswered, envelope: Envelope) -> None:
        super().find_new(event, envelope)
        self.state.told_existing.pop(event.hotkey, None)
        if self.state.role == "miner":
            self.state.reached[event.hotkey] = None

    @on(PostAnswered)
    def post_answered(self, event: PostAnswered, envelope: Envelope) -> None:
        outage = self.state.outages.get(event.hotkey)
        if outage is None:
            return
        lost = outage.http_answered(envelope.mono)
        if lost is not None:
            self._over(event.hotkey, "http", lost, envelope)
        if not outage.websocket:
            del self.state.outages[event.hotkey]

    def _session_ended(self, hotkey: Hotkey, code: int, text: str, envelope: Envelope) -> None:
        """The end of a session; one with a cure is a trouble by itself, whose refusals tell nothing new."""
        cure = cure_for_close("miner", code) if self.state.role == "miner" else ""
        outage = self._outage(hotkey, envelope) if cure else self.state.outages.get(hotkey)
        if outage is not None:
            outage.announced = True
        if cure and outage is not None:
            outage.is_news(AS_REFUSAL[code], envelope.mono)
            self._line(envelope, "closed connections", text + _hint(cure), "WARNING")
        else:
            self._line(envelope, "closed connections", text)

    def _cure_of(self, event: DialFailed | PostFailed) -> str:
        registered = self.state.hotkey in self.state.uids
        offers = event.hotkey in self.state.tls_offers
        return _hint(cure_for_miner(event.status, event.code, event.tls, registered=registered, offers_tls=offers))

    def _failure(self, envelope: Envelope, kind: str, text: str, *, is_news: bool) -> None:
        if is_news:
            self._line(envelope, kind, text, "WARNING")
        else:
            self._line(envelope, f"repeated {kind}", text, "DEBUG")

    def _outage(self, hotkey: Hotkey, envelope: Envelope) -> Outage | None:
        """The outage of a validator, new if it has just begun; None if each failure is told."""
        interval = self.settings.summary_interval
        if interval is None:
            return None
        if not self.state.outages:
            self.set_timer("outages", Micros(envelope.mono + micros(interval)))
        return self.state.outages.setdefault(hotkey, Outage(envelope.mono))

    def _over(self, hotkey: Hotkey, road: Road, lasted: Micros, envelope: Envelope) -> None:
        text = f"Validator {self._peer(hotkey)} answers by {_ROADS[road]} again after {duration(lasted / SECOND)}"
        self._line(envelope, "ended outages", text)

    @on_timer("outages")
    def sum_up_outages(self, _: None, envelope: Envelope) -> None:
        interval, now = self.settings.summary_interval, envelope.mono
        outages = {} if interval is None else self._lasting(now, micros(interval))
        self.state.outages = outages
        if interval is None or not outages:
            return
        self.set_timer("outages", Micros(now + micros(interval)))
        by_http = {hotkey: outage for hotkey, outage in outages.items() if outage.http_works}
        silent = {hotkey: outage for hotkey, outage in outages.items() if hotkey not in by_http and outage.silent}
        refusing = {hotkey: outage for hotkey, outage in outages.items() if hotkey not in {**by_http, **silent}}
        never = (
            {}
            if not self.state.answers_existing
            else {key: silent[key] for key in silent if key not in self.state.reached}
        )
        self._sum_up(
            {key: outage for key, outage in silent.items() if key not in never}, "not answered", "WARNING", envelope
        )
        self._sum_up(never, "never answered", "INFO", envelope)  # perhaps existing miners with a permit
        self._sum_up(refusing, "refused this miner", "WARNING", envelope)
        self._sum_up(by_http, "answered by HTTP alone", "INFO", envelope)

    def _lasting(self, now: Micros, interval: Micros) -> dict[Hotkey, Outage]:
        """Those of validators in the metagraph that the miner still tries."""
        return {
            hotkey: outage
            for hotkey, outage in self.state.outages.items()
            if hotkey in self.state.uids and now - outage.failed_at < interval
        }

    def _sum_up(self, outages: dict[Hotkey, Outage], what: str, level: str, envelope: Envelope) -> None:
        if not outages:
            return
        longest = max(envelope.mono - outage.began_at for outage in outages.values()) / SECOND
        named = [f"{short(hotkey)} (UID: {self.state.uids[hotkey]})" for hotkey in outages]
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        have = f"{counted(len(named), 'validator')} {'has' if len(named) == 1 else 'have'}"
        text = f"{have} {what} for {duration(longest)}: {', '.join(named[:NAMED])}{more}; `bettensor peers` says why"
        self._line(envelope, "outages", text, level)

    # --- existing miners that a validator asks

    @on(AxonQueryRequested)
    def asking(self, event: AxonQueryRequested, _: Envelope) -> None:
        former = self.state.asked.get(event.hotkey)
        if former is not None:
            self.state.peers.pop(former, None)
        self.state.asked[event.hotkey] = event.connection
        self.state.peers[event.connection] = event.hotkey

    @on(AxonAnswered)
    def axon_answered(self, event: AxonAnswered, envelope: Envelope) -> None:
        miner = self._peer(event.hotkey)
        trouble = self.state.silent.pop(event.hotkey, None)
        if trouble is not None:
            lasted = duration((envelope.mono - trouble.began_at) / SECOND)
            self._line(envelope, "miners that answer", f"Miner {miner} answers via Synapse after {lasted}")
        for entry in event.left_out:
            text = f"A prediction of miner {miner} cannot be read, and has no verdict: {entry.key!r}: {entry.reason}"
            self._line(envelope, "unreadable predictions", text, "DEBUG")

    @on(AxonConfirmRequested)
    def confirming(self, event: AxonConfirmRequested, _: Envelope) -> None:
        self.state.confirming[event.connection] = tuple(result.prediction_id for result in event.results)

    @on(AxonConfirmed)
    def axon_confirmed(self, event: AxonConfirmed, envelope: Envelope) -> None:
        self._confirmed(self.state.confirming.pop(event.connection, ()), "synapse", envelope)
        self.state.deaf.pop(event.hotkey, None)

    @on(AxonFailed)
    def axon_failed(self, event: AxonFailed, envelope: Envelope) -> None:
        is_deaf = self.state.confirming.pop(event.connection, None) is not None
        what = "took no confirmation" if is_deaf else "gave no answer"
        text = (
            f"Miner {self._peer(event.hotkey)} {what} via Synapse: {event.reason}{_hint(cure_for_axon(event.status))}"
        )
        troubles = self.state.deaf if is_deaf else self.state.silent
        trouble = troubles.setdefault(event.hotkey, Trouble(envelope.mono))
        cause = re.sub(r"\d+", "", event.reason) if event.status is None else str(event.status)
        if trouble.is_news(cause, envelope.mono):
            level = "WARNING" if event.status in OURS else "INFO"
            self._line(envelope, "miners that do not answer", text, level)
        else:
            self._line(envelope, "repeated failures of miners", text, "DEBUG")

    @on(AxonPassedOver)
    def axon_passed_over(self, event: AxonPassedOver, envelope: Envelope) -> None:
        text = f"Miner {self._peer(event.hotkey)} is not asked via Synapse: {event.reason}"
        self._line(envelope, "miners that are not asked", text, "DEBUG")

    def _forget_existing(self) -> None:
        """Keep of existing neurons what is of the present metagraph."""
        state = self.state
        state.askers = {hotkey: None for hotkey in state.askers if hotkey in state.uids}
        state.turned_away = {hotkey: status for hotkey, status in state.turned_away.items() if hotkey in state.uids}
        for hotkey in [hotkey for hotkey in state.asked if hotkey not in state.uids]:
            state.peers.pop(state.asked.pop(hotkey), None)
        for troubles in (state.silent, state.deaf):
            for hotkey in [hotkey for hotkey in troubles if hotkey not in state.uids]:
                del troubles[hotkey]

    @on(MessageRefused)
    def message_refused(self, event: MessageRefused, envelope: Envelope) -> None:
        hotkey = self.state.peers.get(event.connection)
        who = "a peer" if hotkey is None else self._peer(hotkey)
        self._line(
            envelope,
            f"messages not taken: {event.code}",
            f"Not accepted from {who}: {event.message}",
            "WARNING",
            limit=1,
        )

    # --- games and predictions

    @on(GamesFetched)
    def fetched(self, event: GamesFetched, envelope: Envelope) -> None:
        text = f"Read {counted(len(event.games), 'game')} from {event.source}"
        faulty = [game for game in event.withheld if not game.started]
        untold = self._untold("games", map(_withheld, event.withheld))
        if faulty:
            all_are_told = untold.issuperset(map(_withheld, faulty))
            why = "for the reasons below" if all_are_told else "as `bettensor top` shows"
            text += f"; {len(faulty)} cannot be used, {why}"
        if len(faulty) < len(event.withheld):
            text += f"; {len(event.withheld) - len(faulty)} already started"
        self._line(envelope, "games", text)
        self._tell_withheld(event.withheld, untold, envelope)

    @on(OddsDoubted)
    def odds_doubted(self, event: OddsDoubted, envelope: Envelope) -> None:
        self._tell_withheld(event.games, self._untold("odds", map(_withheld, event.games)), envelope)
        if not event.games:
            self._line(envelope, "plausible odds", "The odds of all games are plausible again")

    def _tell_withheld(self, games: tuple[WithheldGame, ...], untold: set[str], envelope: Envelope) -> None:
        for game in games:
            if _withheld(game) in untold:
                level = "DEBUG" if game.started else "WARNING"
                kind = "started games" if game.started else "withheld games"
                self._line(envelope, kind, _withheld(game), level)

    def _untold(self, source: str, faults: Iterable[str]) -> set[str]:
        """Those of ``faults``, which are all that ``source`` has now, that it did not have before."""
        before, present = self.state.told.get(source, ()), tuple(faults)
        self.state.told[source] = present
        return set(present) if self._is_of_0_1 else set(present).difference(before)

    def _feed_failed(self, event: FeedFailed | GamesFetched, envelope: Envelope) -> None:
        has_slate = self.state.has_slate or isinstance(event, GamesFetched)
        effect = "the last good slate stays in force" if has_slate else "no game is offered until they can"
        text = f"The games cannot be read, so {effect}: {self.state.health.feed_fault}"
        self._line(envelope, "games that cannot be read", text, "ERROR", limit=1)

    def _feed_recovered(self, envelope: Envelope) -> None:
        if not self._is_of_0_1:
            self._line(envelope, "games that can be read", "The games can be read again")

    @on(UpdateStoreFailed)
    def update_not_stored(self, event: UpdateStoreFailed, envelope: Envelope) -> None:
        text = f"A game update cannot be stored, so the last slate stays in force: {event.reason}"
        self._line(envelope, "updates that cannot be stored", text, "ERROR", limit=1)

    @on(SlateQueried)
    def queried(self, event: SlateQueried, envelope: Envelope) -> None:
        faults = [f"{left_out.key!r}: {left_out.reason}" for left_out in event.left_out[:MAX_LEFT_OUT]]
        untold = self._untold(f"games of {event.hotkey}", faults)
        for fault in faults:
            if fault in untold:
                text = f"A game of validator {self._peer(event.hotkey)} is left out: {fault}"
                self._line(envelope, "games left out", text, "WARNING")

    @on(GamesUpdated)
    def updated(self, event: GamesUpdated, envelope: Envelope) -> None:
        self.state.has_slate = True
        if self.state.role == "miner":
            what = "the whole slate" if event.snapshot else "an update"
            offered = sum(game.active for game in event.games)
            text = f"Received {what} of {counted(offered, 'game')} from validator {self._peer(event.validator)}"
            text += f"; {len(event.games) - offered} withdrawn" if offered < len(event.games) else ""
            text += " via Synapse" if event.epoch == SYNAPSE_EPOCH else ""
            self._line(envelope, "game updates", text)

    @on(BroadcastWritten)
    def broadcast(self, event: BroadcastWritten, envelope: Envelope) -> None:
        message = event.message
        if isinstance(message, GameUpdateMessage) and message.part == message.parts:
            self._line(envelope, "broadcasts", "Broadcasting game updates to connected miners")

    @on(FrameWritten)
    def written(self, event: FrameWritten, envelope: Envelope) -> None:
        message = event.message
        if isinstance(message, ConfirmationMessage):
            self._confirmed((result.prediction_id for result in message.results), event.road, envelope)
        elif isinstance(message, PredictionMessage):
            for prediction in self._first_pushed(event.hotkey, message, event.road):
                if self._has_room(envelope, "predictions pushed"):
                    self._write(f"Pushed prediction {prediction.prediction_id} via {_ROADS[event.road]}")

    def _first_pushed(self, validator: Hotkey, message: PredictionMessage, road: Road) -> Sequence[Prediction]:
        """Of predictions over Synapse, which each answer repeats until they have their verdict, those that are new."""
        if road != "synapse":
            return message.predictions
        known = self.state.offered.setdefault(validator, {})
        fresh = [prediction for prediction in message.predictions if prediction.prediction_id not in known]
        known.update((prediction.prediction_id, None) for prediction in fresh)
        return fresh

    def _confirmed(self, predictions: Iterable[PredictionId], road: Road, envelope: Envelope) -> None:
        for prediction_id in predictions:
            if self._has_room(envelope, "confirmations sent"):
                self._write(f"Sent confirmation for prediction {prediction_id} via {_ROADS[road]}")

    @on(PredictionAccepted)
    def accepted(self, event: PredictionAccepted, envelope: Envelope) -> None:
        if not self._is_of_0_1 and self._has_room(envelope, _ACCEPTED):
            self._write(f"Accepted {self._prediction(event)}")

    @on(PredictionRejected)
    def rejected(self, event: PredictionRejected, envelope: Envelope) -> None:
        if not self._is_of_0_1 and self._has_room(envelope, _REJECTED):
            self._write(f"Rejected {self._prediction(event)}: {event.code}: {event.message}")

    def _prediction(self, event: PredictionAccepted | PredictionRejected) -> str:
        prediction = event.prediction
        game = f" on game {prediction.game_id}" if isinstance(prediction, TeamGamePrediction) else ""
        return f"prediction {prediction.prediction_id} of miner {self._peer(event.hotkey)}{game}"

    @on(SendFailed)
    def send_failed(self, event: SendFailed, envelope: Envelope) -> None:
        text = f"Not sent to {self._peer(event.hotkey)}: {event.reason}"
        if self.settings.summary_interval is None or self.state.role == "validator":
            self._line(envelope, "failed sends", text, "WARNING", limit=1)
        else:  # a miner's prediction goes by HTTP, or waits; the line on its validator says why
            self._line(envelope, "failed sends", text, "DEBUG", limit=1)

    @on(VerdictReceived)
    def verdict(self, event: VerdictReceived, envelope: Envelope) -> None:
        prediction = event.prediction
        if event.validator in self.state.offered:
            self.state.offered[event.validator].pop(prediction.prediction_id, None)
        if event.success:
            text = f"Prediction {prediction.prediction_id} accepted in {event.latency / 1000:.1f} ms"
            self._line(envelope, _ACCEPTED, text, "SUCCESS")
        else:
            why = event.message if event.code == REJECTED else f"{event.code}: {event.message}"
            text = f"Prediction {prediction.prediction_id} rejected: {why}"
            self._line(envelope, _REJECTED, text, "WARNING")

    @on(ModelNoted)
    def model_noted(self, event: ModelNoted, envelope: Envelope) -> None:
        self._line(envelope, "notes of the model", event.text)

    @on(PredictionDiscarded)
    def discarded(self, event: PredictionDiscarded, envelope: Envelope) -> None:
        if event.is_full:
            told_at = self.state.full.get(event.validator)
            if told_at is not None and envelope.mono - told_at < FULL_PAUSE:
                return
            self.state.full[event.validator] = envelope.mono
        text = f"Prediction {event.prediction_id} on game {event.game_id} is not sent: {event.reason}"
        self._line(envelope, "discarded predictions", text, "WARNING")

    @on(PredictionExpired)
    def expired(self, event: PredictionExpired, envelope: Envelope) -> None:
        prediction = event.prediction
        text = (
            f"Prediction {prediction.prediction_id} expired: game {prediction.game_id} started before it could be "
            f"sent to {self._peer(event.validator)}"
        )
        self._line(envelope, "expired predictions", text, "WARNING")

    @on(PredictionConflicted)
    def conflicted(self, event: PredictionConflicted, envelope: Envelope) -> None:
        text = f"{self._peer(event.hotkey)} reused the id of prediction {event.prediction.prediction_id}: other content"
        self._line(envelope, "conflicts", text, "WARNING", limit=1)

    # --- limits

    @on_timer("summary")
    def sum_up(self, kind: str, envelope: Envelope) -> None:
        window = self.state.windows.get(kind)
        if window is not None and envelope.mono - window.began_at >= SECOND:  # a late timer finds the next window
            self._close(kind)

    def _peer(self, hotkey: Hotkey) -> str:
        uid = self.state.uids.get(hotkey)
        return hotkey if uid is None else f"{hotkey} (UID: {uid})"

    def _line(
        self,
        envelope: Envelope,
        kind: str,
        text: str,
        level: str = "INFO",
        limit: int = LINES_PER_SECOND,
        *,
        traceback: bool = False,
    ) -> None:
        if self._has_room(envelope, kind, level, limit):
            self._write(text, level, traceback=traceback)

    def _has_room(self, envelope: Envelope, kind: str, level: str = "INFO", limit: int = LINES_PER_SECOND) -> bool:
        """Whether this second has room for a further line of this kind; otherwise the line is counted."""
        window = self.state.windows.get(kind)
        if window is not None and envelope.mono - window.began_at >= SECOND:
            self._close(kind)
            window = None
        if window is None:
            window = self.state.windows[kind] = Window(envelope.mono, level=level)
        if window.written < limit:
            window.written += 1
            return True
        window.held_back += 1
        if window.held_back == 1:
            self.set_timer("summary", Micros(window.began_at + SECOND), kind)
        return False

    def _write(self, text: str, level: str = "INFO", *, traceback: bool = False) -> None:
        self.publish(LineLogged(level, text if traceback else printable(text)))

    def _close(self, kind: str) -> None:
        window = self.state.windows.pop(kind, None)
        if window is not None and window.held_back:
            self.publish(
                LineLogged(window.level, f"... and {counted(window.held_back, 'more line')} within a second ({kind})")
            )


def _withheld(game: WithheldGame) -> str:
    which = f"Game {game.game_id!r}" if game.game_id else "A game without an id"
    return f"{which} is withheld: {game.reason}"


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:]}"


def _hint(cure: str) -> str:
    return f" ({cure})" if cure else ""
