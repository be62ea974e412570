"""The operator's log: which events become lines, and how many.

The lines are an interface; docs/operating.md lists those with stable words. ``LINES_PER_SECOND`` lines of each kind are
written; one line at the end of the second counts the others, so that neither load nor an attacker can flood the log.
"""

from dataclasses import dataclass, field
from typing import Final

from bettensor.actors.actor import on, on_timer
from bettensor.actors.cures import DISABLED, ON_VALIDATOR, UNREGISTERED, WRONG_ENDPOINT, cure_for_miner
from bettensor.actors.health import SLOW_COMMIT, Health, HealthWatcher
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ActorFailed,
    Announced,
    AnnounceFailed,
    AnnouncePlanned,
    BroadcastWritten,
    ChainFailed,
    ClockStepped,
    CloseRequested,
    CommitFailed,
    ConnectionClosed,
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
    NeuronStopping,
    OddsDoubted,
    OutboxOpened,
    PeerAuthenticated,
    PeerMisbehaved,
    PeerRefused,
    PostFailed,
    PredictionConflicted,
    PredictionDiscarded,
    PredictionExpired,
    ReconnectScheduled,
    RecordingFailed,
    RecordingResumed,
    ReloadFailed,
    Road,
    RowsSkipped,
    SaveFailed,
    SendFailed,
    SessionActivated,
    SettingsReloaded,
    UpdateStoreFailed,
    UpgradeBegun,
    VerdictReceived,
    VerifierLost,
    WithheldGame,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, Uid
from bettensor.bus.messages import ConfirmationMessage, GameUpdateMessage, PredictionMessage
from bettensor.bus.text import counted, printable

LINES_PER_SECOND: Final = 20
"""Lines of one kind per second, unless that kind has its own limit."""
_ROADS: Final[dict[Road, str]] = {"websocket": "WebSocket", "http": "HTTP"}


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

    role: str = ""
    hotkey: Hotkey = Hotkey("")
    registered: bool = True
    windows: dict[str, Window] = field(default_factory=dict)
    peers: dict[ConnectionId, Hotkey] = field(default_factory=dict)
    uids: dict[Hotkey, Uid] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    has_slate: bool = False
    """Whether this validator offers a slate, if only an old one."""
    skipped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The faults of each of the operator's files that have been told."""
    chain_is_missed: bool = False
    """Whether the last reading of the chain failed; the next success is then logged at INFO."""


class LogbookActor(HealthWatcher):
    """Writes all log lines, and is the only one that does."""

    name = "logbook"
    State = LogbookState
    state: LogbookState

    # --- the neuron

    @on(NeuronStarted)
    def started(self, event: NeuronStarted, envelope: Envelope) -> None:
        self.state.role, self.state.hotkey = event.role, event.hotkey
        self._line(envelope, "started", f"{event.role} started: netuid {event.netuid}, hotkey {event.hotkey}")

    @on(ListeningBegun)
    def listening(self, event: ListeningBegun, envelope: Envelope) -> None:
        self._line(envelope, "listening", f"Listening on {event.endpoint}")

    @on(NeuronStopping)
    def stopping(self, event: NeuronStopping, envelope: Envelope) -> None:
        self._line(envelope, "stopping", f"Stopping: {event.reason}")

    @on(NeuronFailed)
    def failed(self, event: NeuronFailed, envelope: Envelope) -> None:
        self._line(envelope, "failed", event.reason, "CRITICAL", traceback=True)

    @on(ActorFailed)
    def actor_failed(self, event: ActorFailed, envelope: Envelope) -> None:
        text = f"{event.actor} failed while it handled {event.handling} (event {event.seq}):\n{event.error}"
        self._line(envelope, "actor failures", text, "ERROR", limit=1, traceback=True)

    @on(HandlerFailed)
    def handler_failed(self, event: HandlerFailed, envelope: Envelope) -> None:
        text = f"The handler {event.handler} failed on {event.handling}; nothing else is affected:\n{event.error}"
        limit = 1 if "\n" in event.error else LINES_PER_SECOND  # a traceback is long
        self._line(envelope, f"failures of {event.handler}", text, "ERROR", limit, traceback=True)

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
        text = f"A signature verifier process ended with exit code {event.exit_code}; nothing is lost, another starts"
        self._line(envelope, "lost verifiers", text, "WARNING", limit=1)

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
        text = f"Metrics are not served: {event.reason}; set metrics.port, or metrics.enabled: false"
        self._line(envelope, "metrics", text, "WARNING")

    @on(ReloadFailed)
    def not_reloaded(self, event: ReloadFailed, envelope: Envelope) -> None:
        reason = "; ".join(event.reason.splitlines())
        text = f"The new configuration cannot be used, so the old one stays in force: {reason}"
        self._line(envelope, "failed reloads", text, "ERROR", limit=1)

    # --- the subnet

    @on(MetagraphSynced)
    def synced(self, event: MetagraphSynced, envelope: Envelope) -> None:
        self.state.uids = {neuron.hotkey: neuron.uid for neuron in event.neurons}
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
            self.state.chain_is_missed = False
        was_registered, self.state.registered = self.state.registered, self.state.hotkey in self.state.uids
        if was_registered and not self.state.registered:
            text = (
                f"The hotkey of this neuron, {self.state.hotkey}, is not in the metagraph, so no peer admits the neuron"
            )
            self._line(envelope, "registration", f"{text}{_hint(UNREGISTERED)}", "WARNING")

    @on(RowsSkipped)
    def rows_skipped(self, event: RowsSkipped, envelope: Envelope) -> None:
        told = self.state.skipped.get(event.what, ())
        self.state.skipped[event.what] = event.faults
        is_blacklist = event.what == "blacklist"
        effect, level = ("it blocks nobody", "ERROR") if is_blacklist else ("it is not used", "WARNING")
        for fault in event.faults:
            if fault not in told:
                text = f"A row of the {event.what} is wrong, so {effect}: {event.file}: {fault}"
                self._line(envelope, f"rows of the {event.what}", text, level)
        if told and not event.faults:
            self._line(envelope, f"rows of the {event.what}", f"All rows of the {event.what} can be used again")

    @on(EndpointDoubted)
    def endpoint_doubted(self, event: EndpointDoubted, envelope: Envelope) -> None:
        if event.reason:
            text = f"{event.reason[0].upper()}{event.reason[1:]}{_hint(WRONG_ENDPOINT)}"
            self._line(envelope, "doubted endpoints", text, "WARNING")
        else:
            self._line(envelope, "doubted endpoints", "The metagraph has the right endpoint for this validator again")

    @on(MetagraphDoubted)
    def doubted(self, event: MetagraphDoubted, envelope: Envelope) -> None:
        text = f"The metagraph looks wrong and must be read a second time before it is used: {event.reason}"
        self._line(envelope, "doubted metagraphs", text, "WARNING")

    @on(ChainFailed)
    def chain_failed(self, event: ChainFailed, envelope: Envelope) -> None:
        self.state.chain_is_missed = True
        text = f"The chain cannot be read, so the last metagraph stays in force: {event.reason}; "
        self._line(envelope, "chain failures", f"{text}next try in {event.delay / SECOND:.0f} s", "WARNING", limit=1)

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

    @on(PeerAuthenticated)
    def know_peer(self, event: PeerAuthenticated, _: Envelope) -> None:
        self.state.peers[event.connection] = event.hotkey

    @on(SessionActivated)
    def activated(self, event: SessionActivated, envelope: Envelope) -> None:
        self.state.peers[event.connection] = event.hotkey
        other = "miner" if self.state.role == "validator" else "validator"
        text = f"WebSocket connection established with {other} {self._peer(event.hotkey)}"
        self._line(envelope, "new connections", text)

    @on(ConnectionClosed)
    def closed(self, event: ConnectionClosed, envelope: Envelope) -> None:
        hotkey = self.state.peers.pop(event.connection, None)
        if hotkey is not None and event.code:
            text = f"WebSocket connection with {self._peer(hotkey)} closed: {event.code} {event.reason}".rstrip()
            self._line(envelope, "closed connections", text)
        if event.code == CloseCode.REPLACED and self.state.role == "miner":
            text = "Another process uses this hotkey: two miners with one hotkey replace each other's sessions"
            self._line(envelope, "shared hotkey", text, "WARNING")

    @on(CloseRequested)
    def closing(self, event: CloseRequested, envelope: Envelope) -> None:
        hotkey = self.state.peers.get(event.connection)
        who = "a peer" if hotkey is None else self._peer(hotkey)
        text = f"Closing the connection with {who}: {event.code} {event.reason}"
        self._line(envelope, f"closes with {event.code}", text, "WARNING" if event.code < 4200 else "INFO", limit=1)

    @on(PeerRefused)
    def refused(self, event: PeerRefused, envelope: Envelope) -> None:
        who = event.remote or "a peer" if event.hotkey is None else f"{event.remote} ({self._peer(event.hotkey)})"
        text = f"Refused a request from {who}: {event.code.status} {event.code}: {event.message}"
        text += _hint(ON_VALIDATOR.get(event.code, ""))
        self._line(envelope, f"refusals: {event.code}", text, "WARNING", limit=1)

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

    @on(DialFailed)
    def dial_failed(self, event: DialFailed, envelope: Envelope) -> None:
        text = f"No WebSocket connection with validator {self._peer(event.hotkey)}: {event.reason}"
        text += _hint(cure_for_miner(event.status, event.code))
        self._line(envelope, "failed dials", text, "WARNING")

    @on(ReconnectScheduled)
    def reconnecting(self, event: ReconnectScheduled, envelope: Envelope) -> None:
        text = f"Reconnecting to validator {self._peer(event.hotkey)} in {event.delay / SECOND:.1f} s"
        self._line(envelope, "reconnects", text)

    @on(FallbackChosen)
    def falling_back(self, event: FallbackChosen, envelope: Envelope) -> None:
        validator = self._peer(event.hotkey)
        text = f"Using HTTP with validator {validator} because its WebSocket does not work: {event.reason}"
        text += _hint(DISABLED if event.cause == "disabled" else "")
        self._line(envelope, "fallbacks", text, "WARNING")

    @on(PostFailed)
    def post_failed(self, event: PostFailed, envelope: Envelope) -> None:
        text = f"An HTTP request to validator {self._peer(event.hotkey)} failed: {event.reason}"
        self._line(envelope, "failed HTTP exchanges", text, "WARNING", limit=1)

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
        if faulty:
            text += f"; {len(faulty)} not offered"
            text += ", for the reasons below" if all(game.is_new for game in faulty) else ", as `bettensor top` shows"
        if len(faulty) < len(event.withheld):
            text += f"; {len(event.withheld) - len(faulty)} already started"
        self._line(envelope, "games", text)
        self._withheld(event.withheld, envelope)

    @on(OddsDoubted)
    def odds_doubted(self, event: OddsDoubted, envelope: Envelope) -> None:
        self._withheld(event.games, envelope)
        if not event.games:
            self._line(envelope, "plausible odds", "The odds of all games are plausible again")

    def _withheld(self, games: tuple[WithheldGame, ...], envelope: Envelope) -> None:
        for game in games:
            if game.is_new:
                which = f"Game {game.game_id!r}" if game.game_id else "A game without an id"
                level = "DEBUG" if game.started else "WARNING"
                kind = "started games" if game.started else "withheld games"
                self._line(envelope, kind, f"{which} is not offered: {game.reason}", level)

    @on(FeedFailed)
    def feed_failed(self, event: FeedFailed, envelope: Envelope) -> None:
        effect = "the last good slate stays in force" if self.state.has_slate else "no game is offered until they can"
        text = f"The games cannot be read, so {effect}: {event.reason}"
        self._line(envelope, "games that cannot be read", text, "ERROR", limit=1)

    def _feed_recovered(self, envelope: Envelope) -> None:
        self._line(envelope, "games that can be read", "The games can be read again")

    @on(UpdateStoreFailed)
    def update_not_stored(self, event: UpdateStoreFailed, envelope: Envelope) -> None:
        text = f"A game update cannot be stored, so the last slate stays in force: {event.reason}"
        self._line(envelope, "updates that cannot be stored", text, "ERROR", limit=1)

    @on(GamesUpdated)
    def updated(self, event: GamesUpdated, envelope: Envelope) -> None:
        self.state.has_slate = True
        if self.state.role == "miner":
            what = "the whole slate" if event.snapshot else "an update"
            games = counted(len(event.games), "game")
            text = f"Received {what} of {games} from validator {self._peer(event.validator)}"
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
            for result in message.results:
                text = f"Sent confirmation for prediction {result.prediction_id} via {_ROADS[event.road]}"
                self._line(envelope, "confirmations sent", text)
        elif isinstance(message, PredictionMessage):
            for prediction in message.predictions:
                text = f"Pushed prediction {prediction.prediction_id} via {_ROADS[event.road]}"
                self._line(envelope, "predictions pushed", text)

    @on(SendFailed)
    def send_failed(self, event: SendFailed, envelope: Envelope) -> None:
        text = f"Not sent to {self._peer(event.hotkey)}: {event.reason}"
        self._line(envelope, "failed sends", text, "WARNING", limit=1)

    @on(VerdictReceived)
    def verdict(self, event: VerdictReceived, envelope: Envelope) -> None:
        prediction = event.prediction
        if event.success:
            text = f"Prediction {prediction.prediction_id} accepted in {event.latency / 1000:.1f} ms"
            self._line(envelope, "accepted predictions", text, "SUCCESS")
        else:
            text = f"Prediction {prediction.prediction_id} rejected: {event.code}: {event.message}"
            self._line(envelope, "rejected predictions", text, "WARNING")

    @on(ModelNoted)
    def model_noted(self, event: ModelNoted, envelope: Envelope) -> None:
        self._line(envelope, "notes of the model", event.text)

    @on(PredictionDiscarded)
    def discarded(self, event: PredictionDiscarded, envelope: Envelope) -> None:
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
        window = self.state.windows.get(kind)
        if window is not None and envelope.mono - window.began_at >= SECOND:
            self._close(kind)
            window = None
        if window is None:
            window = self.state.windows[kind] = Window(envelope.mono, level=level)
        if window.written < limit:
            window.written += 1
            self.publish(LineLogged(level, text if traceback else printable(text)))
            return
        window.held_back += 1
        if window.held_back == 1:
            self.set_timer("summary", Micros(window.began_at + SECOND), kind)

    def _close(self, kind: str) -> None:
        window = self.state.windows.pop(kind, None)
        if window is not None and window.held_back:
            self.publish(
                LineLogged(window.level, f"... and {counted(window.held_back, 'more line')} within a second ({kind})")
            )


def _hint(cure: str) -> str:
    return f" ({cure})" if cure else ""
