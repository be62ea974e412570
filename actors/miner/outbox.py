"""Keeps a miner's predictions until they have their verdicts.

Knows each prediction without a verdict, and to whom it goes. A prediction is saved before it is pushed, so that it
outlives the process; what one save put on disk travels in one message. It is sent again whenever there is a new session
or another road, and after an answer that is no verdict, with back-off; id and content stay the same, so that one
verdict is all there is. No validator waits for another.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.settings import Count, settings_class
from bettensor.bus import codec, synapse
from bettensor.bus.backoff import backoff
from bettensor.bus.codes import ErrorCode, VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    FallbackChosen,
    FrameWritten,
    GamesUpdated,
    LedgerRecognised,
    MessageAccepted,
    MetagraphSynced,
    NeuronStarted,
    OutboxEntry,
    OutboxOpened,
    PeerMisbehaved,
    PendingRequested,
    PostAnswered,
    PostFailed,
    PostRequested,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    PredictionsSaved,
    QueryAnswered,
    QueryEnded,
    SaveFailed,
    SaveRequested,
    SendFailed,
    SendRequested,
    SessionActivated,
    VerdictOverdue,
    VerdictReceived,
    VerdictsConfirmed,
)
from bettensor.bus.games import TeamGamePrediction, start_of
from bettensor.bus.identifiers import SECOND, ConnectionId, GameId, Hotkey, LedgerId, Micros, PredictionId, Uid
from bettensor.bus.messages import (
    ConfirmationMessage,
    ErrorMessage,
    PredictionMessage,
    PredictionResult,
    WelcomeMessage,
)
from bettensor.bus.text import counted

FIRST_DELAY = Micros(SECOND)
"""Delay before predictions are sent again after an answer without verdicts; doubled each time."""
LONGEST_DELAY = Micros(60 * SECOND)
OVERDUE = Micros(10 * SECOND)
"""After a write without a verdict for so long, another road is tried (protocol, "Limits")."""
LOOK = Micros(SECOND)
"""Least time between two searches for overdue verdicts: each goes through all that waits, up to 20,000 predictions."""
MAX_SETTLED = 10_000
"""Verdicts of each validator that are remembered, to notice one that changes."""
MAX_SAVE = 2_000
"""Predictions in one transaction: about 10 ms of the disk's time."""


@settings_class
class OutboxSettings:
    """The predictions that wait for their verdicts."""

    max_waiting: Count = 20_000
    """Predictions that may wait for one validator's verdicts, as many as a slate has games at most; further ones are
    discarded."""


@dataclass(slots=True)
class Item:
    """One prediction without a verdict."""

    prediction: TeamGamePrediction
    saved: bool = False
    perhaps_written: bool = False
    """In this run or an earlier one; if so, only its validator can close it."""
    written_at: Micros | None = None
    """When it was first handed to a transport in this run; monotonic."""
    last_written_at: Micros = Micros(0)
    """On a road that brings its verdict by itself."""
    waits_to_be_asked: bool = False
    """It was only written over Synapse, where its validator gives verdicts when it likes: they are never overdue."""


@dataclass(slots=True)
class Tray:
    """The predictions for one validator, in the order in which they were made."""

    items: dict[PredictionId, Item] = field(default_factory=dict)
    session: ConnectionId | None = None
    delay: Micros = FIRST_DELAY
    repeating: bool = False
    """All of it will be sent again when ``delay`` has passed."""
    watched: bool = False
    """A timer is set, because it owes us verdicts."""
    starts: dict[GameId, Micros] = field(default_factory=dict)
    """When the games on its slate begin; wall clock."""
    ledger_id: LedgerId | None = None
    """The database in which its verdicts are."""
    settled: dict[PredictionId, str] = field(default_factory=dict)
    """The code of each of the last verdicts."""
    posting: dict[ConnectionId, tuple[PredictionId, ...]] = field(default_factory=dict)
    """The predictions that each running HTTP exchange may write at any moment."""


@dataclass(slots=True)
class OutboxState:
    """A tray for each validator, and what waits for the disk."""

    trays: dict[Hotkey, Tray] = field(default_factory=dict)
    unsaved: list[OutboxEntry] = field(default_factory=list)
    saving: tuple[OutboxEntry, ...] = ()
    resting: bool = False
    """A save failed; the next one waits for a timer."""
    rest: Micros = FIRST_DELAY
    """How long it waits after the next failure."""
    hotkey: Hotkey = Hotkey("")
    uid: Uid | None = None
    """Of this miner, as the metagraph has it."""
    asking: dict[ConnectionId, Hotkey] = field(default_factory=dict)
    """The existing validators that wait for their predictions to be on disk."""
    is_of_0_1: bool = False
    """Any confirmation ends the back-off, each odd verdict is told of, and any number may wait, as in release 0.1.0."""


class OutboxActor(Actor):
    """Pushes every prediction until its validator has judged it."""

    name = "outbox"
    Settings = OutboxSettings
    State = OutboxState
    settings: OutboxSettings
    state: OutboxState

    # --- in, and onto the disk

    @on(OutboxOpened)
    def resume(self, event: OutboxOpened, _: Envelope) -> None:
        for entry in event.entries:
            item = Item(entry.prediction, saved=True, perhaps_written=True)
            self._tray(entry.validator).items[entry.prediction.prediction_id] = item
        for validator, ledger_id in event.ledgers:
            self._tray(validator).ledger_id = ledger_id
        for validator, prediction_id, code in event.settled:  # a validator that repeats one of these is not lying
            self._tray(validator).settled[prediction_id] = code

    @on(PredictionMade)
    def take(self, event: PredictionMade, _: Envelope) -> None:
        prediction, tray = event.prediction, self._tray(event.validator)
        fault, is_full = codec.fault_of(prediction), False
        if prediction.prediction_id in tray.items:
            fault = "another prediction with this id waits for its verdict"
        elif len(tray.items) >= self.settings.max_waiting and not self.state.is_of_0_1:
            fault, is_full = f"{len(tray.items)} predictions wait for this validator's verdict", True
        if fault is not None:
            prediction_id, game_id = prediction.prediction_id, prediction.game_id
            self.publish(PredictionDiscarded(event.validator, prediction_id, game_id, fault, is_full))
            return
        tray.items[prediction.prediction_id] = Item(prediction)
        self.state.unsaved.append(OutboxEntry(event.validator, prediction))
        self._save()

    @on(PredictionsSaved)
    def push(self, event: PredictionsSaved, envelope: Envelope) -> None:
        saved, self.state.saving, self.state.rest = self.state.saving, (), FIRST_DELAY
        fresh: dict[Hotkey, list[Item]] = {}
        for entry in saved:
            prediction, waiting = entry.prediction, self._tray(entry.validator).items
            item = waiting.get(prediction.prediction_id)
            if (entry.validator, prediction.prediction_id) in event.settled:
                waiting.pop(prediction.prediction_id, None)
                reason = "it already has a verdict"
                self.publish(PredictionDiscarded(entry.validator, prediction.prediction_id, prediction.game_id, reason))
            elif item is not None and item.prediction == prediction:  # it may have expired while it was saved
                item.saved = True
                fresh.setdefault(entry.validator, []).append(item)
        for validator, items in fresh.items():
            self._send(validator, items)
        self._save()
        self._answer_where_saved(envelope)

    @on(SaveFailed)
    def save_later(self, _: SaveFailed, envelope: Envelope) -> None:
        state = self.state
        still_waiting = state.saving if state.is_of_0_1 else filter(self._waits, state.saving)
        state.unsaved, state.saving, state.resting = [*still_waiting, *state.unsaved], (), True
        for validator, tray in state.trays.items():
            unsaved = [item.prediction for item in tray.items.values() if not item.saved]
            self._mind_starts(validator, unsaved, envelope)
        self.set_timer("save", Micros(envelope.mono + state.rest))
        state.rest = Micros(backoff(state.rest, LONGEST_DELAY))
        self._answer_where_saved(envelope)

    @on_timer("save")
    def save_again(self, _: None, __: Envelope) -> None:
        self.state.resting = False
        self._save()

    def _save(self) -> None:
        """One save at a time: predictions made meanwhile go into the next."""
        state = self.state
        if state.saving or state.resting or not state.unsaved:
            return
        state.saving, state.unsaved = tuple(state.unsaved[:MAX_SAVE]), state.unsaved[MAX_SAVE:]
        self.publish(SaveRequested(state.saving))

    # --- out

    @on(SessionActivated)
    def push_all(self, event: SessionActivated, _: Envelope) -> None:
        tray = self._tray(event.hotkey)
        tray.session = event.connection
        self._send(event.hotkey, tray.items.values())

    @on(FallbackChosen)
    def push_by_http(self, event: FallbackChosen, _: Envelope) -> None:
        """Offer all that waits to the fallback: without a session each send fails, and it hears ``send_failed``."""
        tray = self._tray(event.hotkey)
        if tray.session is None:
            self._send(event.hotkey, tray.items.values())

    @on(ConnectionClosed, CloseRequested)
    def hold(self, event: ConnectionClosed | CloseRequested, _: Envelope) -> None:
        for tray in self.state.trays.values():
            if tray.session == event.connection:
                tray.session = None

    @on(FrameWritten)
    def note_written(self, event: FrameWritten, envelope: Envelope) -> None:
        if not isinstance(event.message, PredictionMessage):
            return
        tray, is_asked_for = self._tray(event.hotkey), event.road == "synapse"
        for prediction in event.message.predictions:
            item = tray.items.get(prediction.prediction_id)
            if item is not None:
                item.waits_to_be_asked = is_asked_for and (item.written_at is None or item.waits_to_be_asked)
                item.perhaps_written = True
                item.written_at = envelope.mono if item.written_at is None else item.written_at
                item.last_written_at = item.last_written_at if is_asked_for else envelope.mono
        if not tray.watched and not is_asked_for:
            tray.watched = True
            self.set_timer("overdue", Micros(envelope.mono + OVERDUE), event.hotkey)

    def _repeat_later(self, validator: Hotkey, tray: Tray, now: Micros) -> None:
        """Send all again after a delay. One trouble may bring an error for each message, and lengthens it once."""
        if not tray.repeating:
            tray.repeating = True
            self.set_timer("repeat", Micros(now + tray.delay), validator)
            tray.delay = Micros(backoff(tray.delay, LONGEST_DELAY))

    @on_timer("repeat")
    def repeat(self, validator: Hotkey, _: Envelope) -> None:
        tray = self._tray(validator)
        tray.repeating = False
        if tray.session is not None:
            self._send(validator, tray.items.values())

    def _send(self, validator: Hotkey, items: Iterable[Item]) -> None:
        saved = [item.prediction for item in items if item.saved]
        for portion in codec.predictions_by_frame(saved):
            self.publish(SendRequested(validator, PredictionMessage(predictions=portion)))

    @on_timer("overdue")
    def look_for_overdue(self, validator: Hotkey, envelope: Envelope) -> None:
        tray, now = self._tray(validator), envelope.mono
        written = [item for item in tray.items.values() if item.written_at is not None and not item.waits_to_be_asked]
        overdue = [item for item in written if now - item.last_written_at >= OVERDUE]
        if overdue:
            self.publish(VerdictOverdue(validator, tuple(item.prediction for item in overdue)))
        tray.watched = bool(written)
        if written:
            soonest = min((at for at in (item.last_written_at for item in written) if now - at < OVERDUE), default=now)
            self.set_timer("overdue", Micros(max(soonest + OVERDUE, now + LOOK)), validator)

    # --- existing validators, which ask

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey, self.state.is_of_0_1 = event.hotkey, event.is_of_0_1

    @on(MetagraphSynced)
    def know_uid(self, event: MetagraphSynced, _: Envelope) -> None:
        own = (neuron.uid for neuron in event.neurons if neuron.hotkey == self.state.hotkey)
        self.state.uid = next(own, None)

    @on(PendingRequested)
    def wait_for_disk(self, event: PendingRequested, envelope: Envelope) -> None:
        self.state.asking[event.connection] = event.hotkey
        self._answer_where_saved(envelope)

    @on(QueryEnded)
    def forget_question(self, event: QueryEnded, _: Envelope) -> None:
        self.state.asking.pop(event.connection, None)

    def _answer_where_saved(self, envelope: Envelope) -> None:
        """Answer each question whose predictions are on disk; all of them if the disk takes none."""
        state = self.state
        unsaved = () if state.resting else (*state.saving, *state.unsaved)
        busy = {entry.validator: None for entry in unsaved} if state.asking else {}
        for connection, validator in list(state.asking.items()):
            if validator not in busy:
                del state.asking[connection]
                self._expire(validator, envelope)
                self.publish(QueryAnswered(connection, validator, state.uid, self._offered(validator, envelope.at)))

    def _offered(self, validator: Hotkey, now: Micros) -> tuple[TeamGamePrediction, ...]:
        """The oldest predictions without a verdict. If there are too many, those of open games come first: a validator
        that confirms nothing would be sent the same ones for ever.
        """
        tray = self._tray(validator)
        saved = [item.prediction for item in tray.items.values() if item.saved]
        if len(saved) > synapse.MAX_ANSWERED:
            saved.sort(key=lambda prediction: tray.starts.get(prediction.game_id, now) <= now)
        return tuple(saved[: synapse.MAX_ANSWERED])

    # --- the verdict

    @on(MessageAccepted)
    def hear(self, event: MessageAccepted, envelope: Envelope) -> None:
        message, tray = event.message, self._tray(event.hotkey)
        if isinstance(message, ConfirmationMessage):
            self._judge(event.hotkey, tray, message, envelope.mono)
        elif isinstance(message, ErrorMessage) and message.code != ErrorCode.UNKNOWN_TYPE:
            self._repeat_later(event.hotkey, tray, envelope.mono)
        elif isinstance(message, WelcomeMessage) and message.ledger_id != tray.ledger_id:
            former, tray.ledger_id = tray.ledger_id, message.ledger_id
            tray.settled.clear()  # another ledger owes us nothing that the former one said
            self.publish(LedgerRecognised(event.hotkey, message.ledger_id, former))

    @on(VerdictsConfirmed)
    def hear_existing(self, event: VerdictsConfirmed, envelope: Envelope) -> None:
        """Verdicts over Synapse. Nobody has signed them, so they are only believed of what this validator was sent, and
        only while it has no session, which brings signed ones.
        """
        tray = self._tray(event.hotkey)
        if tray.session is not None:
            return
        for result in event.results:
            item = self._written(tray, result.prediction_id)
            if item is not None:
                success = synapse.is_success(result)
                code = VerdictCode.ACCEPTED if success else synapse.REJECTED
                self._settle(event.hotkey, item, (success, code, result.message), envelope.mono)

    def _written(self, tray: Tray, prediction_id: PredictionId) -> Item | None:
        """The prediction, if it waits for a verdict and its validator may have it."""
        item = tray.items.get(prediction_id)
        return item if item is not None and item.perhaps_written else None

    def _settle(self, validator: Hotkey, item: Item, verdict: tuple[bool, str, str], now: Micros) -> None:
        tray, prediction_id = self._tray(validator), item.prediction.prediction_id
        success, code, message = verdict
        del tray.items[prediction_id]
        tray.settled[prediction_id] = code
        if len(tray.settled) > MAX_SETTLED:
            del tray.settled[next(iter(tray.settled))]
        latency = Micros(0 if item.written_at is None else now - item.written_at)
        self.publish(VerdictReceived(validator, item.prediction, success, code, message, latency))

    def _judge(self, validator: Hotkey, tray: Tray, message: ConfirmationMessage, now: Micros) -> None:
        """Take the verdicts of one message. A flood of those that nothing waits for is told of once a message."""
        faults: list[str] = []
        for result in message.results:
            item = self._written(tray, result.prediction_id)
            if item is not None:
                self._settle(validator, item, (result.success, result.code, result.message), now)
                tray.delay = FIRST_DELAY
            elif fault := _fault_of(result, tray.settled.get(result.prediction_id)):
                faults.append(fault)
        if self.state.is_of_0_1:
            tray.delay = FIRST_DELAY
        elif len(faults) > 1:
            faults = [f"{faults[0]}; and {counted(len(faults) - 1, 'more verdict')} in the same message like it"]
        for fault in faults:
            self.publish(PeerMisbehaved(validator, fault))

    # --- predictions that get no verdict

    @on(GamesUpdated)
    def know_starts(self, event: GamesUpdated, _: Envelope) -> None:
        tray = self._tray(event.validator)
        is_looked_up = event.snapshot or not all(game.active for game in event.games)
        bet_on = dict.fromkeys(item.prediction.game_id for item in tray.items.values()) if is_looked_up else {}
        if event.snapshot:
            tray.starts = {game_id: at for game_id, at in tray.starts.items() if game_id in bet_on}
        for game in event.games:
            starts_at = start_of(game)
            if starts_at is not None and (game.active or game.game_id in bet_on):
                tray.starts[game.game_id] = starts_at
            else:
                tray.starts.pop(game.game_id, None)

    @on(SendFailed)
    def mind_starts(self, event: SendFailed, envelope: Envelope) -> None:
        if isinstance(event.message, PredictionMessage):
            self._tray(event.hotkey).session = None  # a transport that takes nothing has ended: that is told later
            unsent = [p for p in event.message.predictions if isinstance(p, TeamGamePrediction)]
            self._mind_starts(event.hotkey, unsent, envelope)

    @on(PostRequested)
    def note_post(self, event: PostRequested, _: Envelope) -> None:
        if isinstance(event.message, PredictionMessage):
            ids = tuple(prediction.prediction_id for prediction in event.message.predictions)
            self._tray(event.hotkey).posting[event.connection] = ids

    @on(PostAnswered, PostFailed)
    def forget_post(self, event: PostAnswered | PostFailed, envelope: Envelope) -> None:
        tray = self._tray(event.hotkey)
        posted = tray.posting.pop(event.connection, None)
        if posted is None:
            return
        if self.state.is_of_0_1:
            self._expire(event.hotkey, envelope)
        else:  # not at once: the same answer may have made the fallback post more of them
            waiting = [tray.items[prediction_id].prediction for prediction_id in posted if prediction_id in tray.items]
            self._mind_starts(event.hotkey, waiting, envelope)

    def _mind_starts(self, validator: Hotkey, predictions: Iterable[TeamGamePrediction], envelope: Envelope) -> None:
        """Set a timer for the start of each game that one of ``predictions`` is on, unless that was written by now."""
        tray = self._tray(validator)
        waiting = [(prediction.game_id, tray.items.get(prediction.prediction_id)) for prediction in predictions]
        for game_id in dict.fromkeys(game for game, item in waiting if item is not None and not item.perhaps_written):
            starts_at = tray.starts.get(game_id)
            if starts_at is not None:
                starts = Micros(envelope.mono + max(0, starts_at - envelope.at))
                self.set_timer("start", starts, (validator, game_id))

    @on_timer("start")
    def expire(self, start: tuple[Hotkey, GameId], envelope: Envelope) -> None:
        self._expire(start[0], envelope)

    def _expire(self, validator: Hotkey, envelope: Envelope) -> None:
        tray = self._tray(validator)
        posting = [prediction_id for ids in tray.posting.values() for prediction_id in ids]
        later: list[TeamGamePrediction] = []
        waiting = len(tray.items)
        for prediction_id, item in list(tray.items.items()):
            starts_at = tray.starts.get(item.prediction.game_id)
            if starts_at is None or item.perhaps_written or prediction_id in posting:
                continue
            if starts_at > envelope.at:
                later.append(item.prediction)
            else:
                del tray.items[prediction_id]
                self.publish(PredictionExpired(validator, item.prediction))
        if len(tray.items) < waiting and not self.state.is_of_0_1:  # on disk it would be sent by the next run
            self.state.unsaved = list(filter(self._waits, self.state.unsaved))
        self._mind_starts(validator, later, envelope)

    def _waits(self, entry: OutboxEntry) -> bool:
        item = self._tray(entry.validator).items.get(entry.prediction.prediction_id)
        return item is not None and item.prediction == entry.prediction

    def _tray(self, validator: Hotkey) -> Tray:
        return self.state.trays.setdefault(validator, Tray())


def _fault_of(result: PredictionResult, code: str | None) -> str | None:
    """What is wrong with a verdict that nothing waits for; None for a repetition.

    Args:
        result: the verdict.
        code: the code of the verdict that came before; None if none did.
    """
    if code == synapse.REJECTED and not result.success:
        return None  # it came over Synapse, without its code
    if code is None:
        return f"a verdict ({result.code}) on {result.prediction_id}, which it was never sent, or only long ago"
    if code != result.code and result.code != VerdictCode.CONFLICT:
        return f"a second verdict ({result.code}) on {result.prediction_id}; the first counts: {code}"
    return None
