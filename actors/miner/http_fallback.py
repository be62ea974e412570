"""The HTTP fallback: messages go by HTTP while the WebSocket cannot carry them.

Subscribed to ``send_failed``: there is no session (it cannot be opened, it broke, it is disabled), or a write failed.
And to ``verdict_overdue``: the session is open, and gives no verdict. The frames of an answer enter like any others.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Final

from bettensor.actors.actor import on, on_timer
from bettensor.actors.existing import Existing, ExistingFollower
from bettensor.actors.miner.patience import hinted_wait, longest_wait
from bettensor.actors.miner.targets import is_wanted, wanted
from bettensor.actors.miner.tls import TlsFollower, TlsKnowledge
from bettensor.actors.settings import (
    ChosenValidators,
    MinerTlsSettings,
    Seconds,
    WebSocketSettings,
    settings_class,
)
from bettensor.actors.stream import StreamFollower
from bettensor.bus import codec
from bettensor.bus.backoff import backoff, full_jitter
from bettensor.bus.codes import AXON, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ClockStepped,
    CloseRequested,
    ConnectionClosed,
    DialFailed,
    FallbackCause,
    FallbackChosen,
    GamesRequested,
    MessageAccepted,
    MetagraphSynced,
    NeuronStarted,
    NeuronStopping,
    Position,
    PostAnswered,
    PostFailed,
    PostRequested,
    PredictionExpired,
    QueryAdmitted,
    ReconnectScheduled,
    SendFailed,
    SessionActivated,
    SettingsReloaded,
    Tls,
    TlsLearned,
    UpdateMissed,
    VerdictOverdue,
    VerdictReceived,
)
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros, Offset, PredictionId, micros
from bettensor.bus.messages import MAX_PREDICTIONS, ConfirmationMessage, PredictionMessage

FETCH_PAUSE: Final = 1.0
"""Seconds from one poll for missed updates to the next. The pause doubles with each poll that brings none, up to
``max_poll_interval``: a validator may claim any offset."""
BODY_REFUSED: Final = (400, 413)
"""Statuses that retrying the same body would get again (protocol, "Closing")."""


@settings_class
class HttpFallbackSettings:
    """HTTP requests while the WebSocket does not work."""

    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    tls: MinerTlsSettings = field(default_factory=MinerTlsSettings)
    validators: ChosenValidators = ChosenValidators()
    poll_interval: Seconds = 15.0
    """Seconds between two requests for a validator's games, if the miner has no WebSocket session with that validator
    or gets no verdicts on it."""
    max_poll_interval: Seconds = 300.0
    """Highest value of that interval, in seconds: it doubles with each request that fails."""


@dataclass(slots=True)
class HttpRoute:
    """HTTP to one validator."""

    endpoint: str
    closed: bool = False
    """The metagraph has no such validator any more."""
    waiting: dict[PredictionId, TeamGamePrediction] = field(default_factory=dict)
    """In the order of the outbox; until their verdict."""
    posting: ConnectionId | None = None
    """The exchange that is under way."""
    polling: ConnectionId | None = None
    polled_by: Tls | None = None
    """How the last poll was made."""
    sought: Offset = Offset(0)
    """The offset that the last poll for a missed update has to reach."""
    poll_again: bool = False
    """More was missed while a poll was under way, which may have been too early to bring it."""
    fetch_from: Micros = Micros(0)
    """From then on it may be asked for missed updates again; monotonic."""
    fetch_waits: bool = False
    """A timer is set to ask it then."""
    vain: int = 0
    """Polls in a row that did not bring what was missed; the exponent of the pause between two of them."""
    failures: int = 0
    """Of POST, in a row; the exponent of the back-off."""
    poll_failures: int = 0
    """Of polls, in a row, if failed polls are slowed down at all; the exponent of their back-off."""
    refusal: str = ""
    """The code with which the last exchange was refused; empty if it ended in another way."""
    unanswered: bool = False
    """The last POST got no HTTP answer at all."""
    resting: bool = False
    """A back-off is under way."""
    posted: list[PredictionId] = field(default_factory=list)
    """The content of the last POST."""
    most: int = MAX_PREDICTIONS
    """Predictions in one message: fewer after a body was refused, so that one bad prediction does not hold up all."""
    session: ConnectionId | None = None
    """The WebSocket, while there is one."""
    chosen: bool = False
    """The fallback is in use."""
    answers: bool = False
    """The last exchange had an answer of a validator, if only a refusal."""
    asking: bool = False
    """The outbox is being asked for all that it has, in its order; until then nothing else is taken."""


@dataclass(slots=True)
class HttpFallbackState:
    """A road to each validator."""

    hotkey: Hotkey = Hotkey("")
    seed: int = 0
    draws: int = 0
    exchanges: int = 0
    stopping: bool = False
    is_of_0_1: bool = False
    """The miner asks at once for each missed update, and waits as long as a refusal says, as in release 0.1.0."""
    roads: dict[Hotkey, HttpRoute] = field(default_factory=dict)
    positions: dict[Hotkey, Position] = field(default_factory=dict)
    existing: dict[Hotkey, Existing] = field(default_factory=dict)
    tls: TlsKnowledge = field(default_factory=TlsKnowledge)


class HttpFallbackActor(StreamFollower, ExistingFollower, TlsFollower):
    """Posts messages that failed, and polls games while there is no session, or one that brings no verdicts."""

    name = "http_fallback"
    Settings = HttpFallbackSettings
    State = HttpFallbackState
    settings: HttpFallbackSettings
    state: HttpFallbackState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey, self.state.seed = event.hotkey, event.seed
        self.state.is_of_0_1 = event.is_of_0_1

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        super().reload(event, envelope)
        self._choose_where_disabled(envelope.mono)

    @on(NeuronStopping)
    def stop(self, _: NeuronStopping, __: Envelope) -> None:
        self.state.stopping = True

    @on(MetagraphSynced)
    def know_endpoints(self, event: MetagraphSynced, envelope: Envelope) -> None:
        there = [neuron.hotkey for neuron in event.neurons if is_wanted(neuron, self.settings.validators)]
        for hotkey, road in self.state.roads.items():
            road.closed = hotkey not in there
        for neuron, endpoint in wanted(event.neurons, self.settings.validators, self.state.hotkey):
            road = self.state.roads.setdefault(neuron.hotkey, HttpRoute(endpoint))
            if road.endpoint != endpoint:
                road.endpoint = endpoint
                self._try_at_once(neuron.hotkey, road, envelope.mono)
            self._post(neuron.hotkey, road)  # what waited for its return
        self._choose_where_disabled(envelope.mono)

    @on(TlsLearned)
    def post_what_waited(self, event: TlsLearned, _: Envelope) -> None:
        road = self.state.roads.get(event.validator)
        if road is not None:
            self._post(event.validator, road)

    @on(SendFailed)
    def take_over(self, event: SendFailed, envelope: Envelope) -> None:
        """Take what could not be sent. Without a session the first failures only say so to the outbox, which answers
        with all that it has in its order: what was pushed before the session broke comes before this.
        """
        road = self.state.roads.get(event.hotkey)
        if road is None or not isinstance(event.message, PredictionMessage):
            return  # a validator that is not in the metagraph: its predictions wait in the outbox
        if road.session is not None:  # a transport that takes nothing has ended, though that is told later
            road.session, road.chosen = None, False
        self._choose(event.hotkey, road, "no_session", event.reason, envelope.mono)
        if road.chosen:
            predictions = [p for p in event.message.predictions if isinstance(p, TeamGamePrediction)]
            self._take(event.hotkey, road, predictions)

    @on(QueryAdmitted)
    def hear_question(self, event: QueryAdmitted, envelope: Envelope) -> None:
        super().hear_question(event, envelope)
        road = self.state.roads.get(event.hotkey)
        if road is not None:
            self._leave_to_synapse(event.hotkey, road, envelope.mono)

    @on(FallbackChosen)
    def asked(self, event: FallbackChosen, _: Envelope) -> None:
        self.state.roads[event.hotkey].asking = False

    @on(VerdictOverdue)
    def try_the_other_road(self, event: VerdictOverdue, envelope: Envelope) -> None:
        road = self.state.roads.get(event.validator)
        if road is not None:
            self._choose(event.validator, road, "no_verdict", "the WebSocket gives no verdict", envelope.mono)
            self._take(event.validator, road, event.predictions)

    @on(MessageAccepted)
    def hear_session(self, event: MessageAccepted, _: Envelope) -> None:
        """End the fallback when a session that gave no verdict gives one, or is heard and owes none."""
        road = self.state.roads.get(event.hotkey)
        if (
            road is not None
            and road.chosen
            and event.connection == road.session
            and (isinstance(event.message, ConfirmationMessage) or not road.waiting)
        ):
            road.chosen = False
            self.cancel_timer("poll", event.hotkey)

    @on(DialFailed)
    def poll_meanwhile(self, event: DialFailed, envelope: Envelope) -> None:
        road = self.state.roads.get(event.hotkey)
        if road is not None:
            self._choose(event.hotkey, road, "no_connection", event.reason, envelope.mono)

    @on(ReconnectScheduled)
    def bridge(self, event: ReconnectScheduled, envelope: Envelope) -> None:
        """Poll during a long wait for the next dial: games change meanwhile, and no failed dial would lead here."""
        road = self.state.roads.get(event.hotkey)
        if road is not None and event.delay > micros(self.settings.poll_interval):
            self._choose(event.hotkey, road, "no_connection", event.reason, envelope.mono)

    @on(UpdateMissed)
    def fetch_missed(self, event: UpdateMissed, envelope: Envelope) -> None:
        road = self.state.roads.get(event.validator)
        if road is None:
            return
        road.poll_again = road.polling is not None and (road.poll_again or event.ahead > road.sought)
        road.sought = event.ahead
        self._fetch(event.validator, road, envelope.mono)

    @on(SessionActivated)
    def step_back(self, event: SessionActivated, _: Envelope) -> None:
        """The WebSocket is back, and the outbox sends all that it has by it."""
        road = self.state.roads[event.hotkey]
        road.session, road.chosen, road.failures, road.resting = event.connection, False, 0, False
        road.poll_failures, road.refusal, road.unanswered = 0, "", False
        road.waiting.clear()
        self.cancel_timer("poll", event.hotkey)
        self.cancel_timer("post", event.hotkey)

    @on(ConnectionClosed, CloseRequested)
    def note_end(self, event: ConnectionClosed | CloseRequested, envelope: Envelope) -> None:
        for road in self.state.roads.values():
            if road.session == event.connection:
                road.session, road.chosen = None, False  # what fails next is another trouble
        self._choose_where_disabled(envelope.mono)

    @on(VerdictReceived, PredictionExpired)
    def settle(self, event: VerdictReceived | PredictionExpired, _: Envelope) -> None:
        road = self.state.roads.get(event.validator)
        if road is not None:
            road.waiting.pop(event.prediction.prediction_id, None)

    @on(ClockStepped)
    def sign_anew(self, _: ClockStepped, envelope: Envelope) -> None:
        """Try at once where the clock was the reason for the refusal: it may be right now."""
        for hotkey, road in self.state.roads.items():
            if road.refusal == RefusalCode.STALE:
                self._try_at_once(hotkey, road, envelope.mono)

    @on(PostAnswered)
    def go_on(self, event: PostAnswered, envelope: Envelope) -> None:
        road = self.state.roads[event.hotkey]
        road.answers = True
        self._hear_from(event.hotkey, road, envelope.mono)
        if event.connection == road.polling:
            road.polling = None
            self._judge_poll(event.hotkey, road)
            if road.poll_again:
                road.poll_again = False
                self._fetch(event.hotkey, road, envelope.mono)
        elif event.connection == road.posting:
            road.posting = None
            if any(prediction_id in road.waiting for prediction_id in road.posted):
                self._rest(event.hotkey, road, envelope.mono)  # an answer without all verdicts: not at once again
            else:
                road.failures, road.most = 0, MAX_PREDICTIONS
                self._post(event.hotkey, road)

    @on(PostFailed)
    def back_off(self, event: PostFailed, envelope: Envelope) -> None:
        road = self.state.roads[event.hotkey]
        road.refusal, road.answers = event.code, event.code not in ("", AXON)
        self._leave_to_synapse(event.hotkey, road, envelope.mono)
        if event.connection == road.polling:
            road.polling = None
            self._judge_poll(event.hotkey, road)
            road.poll_failures += self.settings.max_poll_interval > self.settings.poll_interval
            pause = max(self._poll_pause(road), self._hinted(event))
            if road.chosen and (pause > self.settings.poll_interval or event.retry_after is not None):
                self.set_timer("poll", Micros(envelope.mono + micros(pause)), event.hotkey)
            if event.tls in ("wanted", "other_key") and self.tls_with(event.hotkey) != road.polled_by:
                self._poll(event.hotkey, road)  # in another way
        elif event.connection == road.posting:
            road.posting, road.unanswered = None, event.status is None
            if event.status in BODY_REFUSED:
                self._try_less(road)
            self._rest(event.hotkey, road, envelope.mono, self._hinted(event))

    def _hinted(self, event: PostFailed) -> float:
        longest = inf if self.state.is_of_0_1 else self.settings.websocket.max_reconnect_interval
        return hinted_wait(event.retry_after, longest)

    def _try_less(self, road: HttpRoute) -> None:
        """Send half of it next; a prediction that is refused by itself goes behind the others."""
        road.most = max(1, len(road.posted) // 2)
        if len(road.posted) == 1 and road.posted[0] in road.waiting:
            road.waiting[road.posted[0]] = road.waiting.pop(road.posted[0])

    @on_timer("poll")
    def poll_again(self, hotkey: Hotkey, envelope: Envelope) -> None:
        self._poll(hotkey, self.state.roads[hotkey])
        self.set_timer("poll", Micros(envelope.mono + micros(self.settings.poll_interval)), hotkey)

    @on_timer("fetch")
    def fetch_again(self, hotkey: Hotkey, envelope: Envelope) -> None:
        road = self.state.roads[hotkey]
        road.fetch_waits = False
        self._fetch(hotkey, road, envelope.mono)

    @on_timer("post")
    def post_again(self, hotkey: Hotkey, _: Envelope) -> None:
        road = self.state.roads[hotkey]
        road.resting = False
        self._post(hotkey, road)

    def _take(self, hotkey: Hotkey, road: HttpRoute, predictions: Iterable[TeamGamePrediction]) -> None:
        if road.asking:
            return  # they come again, in their place
        for prediction in predictions:
            road.waiting[prediction.prediction_id] = prediction
        self._post(hotkey, road)

    def _choose_where_disabled(self, now: Micros) -> None:
        if not self.settings.websocket.enabled:
            for hotkey, road in self.state.roads.items():
                if road.session is None:
                    self._choose(hotkey, road, "disabled", "the WebSocket is disabled here", now)

    def _choose(self, hotkey: Hotkey, road: HttpRoute, cause: FallbackCause, reason: str, now: Micros) -> None:
        if road.chosen or self._waits_for_question(hotkey, road, now):
            return
        road.chosen = True
        if road.session is None:
            road.waiting.clear()
            road.asking = True
        self.publish(FallbackChosen(hotkey, cause, reason))
        self.set_timer("poll", now, hotkey)

    def _waits_for_question(self, hotkey: Hotkey, road: HttpRoute, now: Micros) -> bool:
        """Whether predictions go to a validator over Synapse alone: it asks for them, and answers on no other road.

        Where nothing is dialled, HTTP goes on trying: nothing else finds out that the validator has migrated.
        """
        if not self.settings.websocket.enabled:
            return False
        return road.session is None and not road.answers and self._is_existing(hotkey, now)

    def _leave_to_synapse(self, hotkey: Hotkey, road: HttpRoute, now: Micros) -> None:
        """End the fallback if it can carry nothing: what it holds waits in the outbox for the next question."""
        if road.chosen and self._waits_for_question(hotkey, road, now):
            road.chosen = road.asking = road.resting = False
            road.failures = road.poll_failures = 0
            road.waiting.clear()
            self.cancel_timer("poll", hotkey)
            self.cancel_timer("post", hotkey)

    def _post(self, hotkey: Hotkey, road: HttpRoute) -> None:
        if self.state.stopping or road.closed or road.posting is not None or road.resting or not road.waiting:
            return
        if not self.may_tell(hotkey):
            self._poll(hotkey, road)  # its welcome says whether and how there is TLS
            return
        batch = next(codec.predictions_by_frame(islice(road.waiting.values(), road.most)))
        road.posted = [prediction.prediction_id for prediction in batch]
        road.posting = self._exchange()
        message = PredictionMessage(predictions=batch)
        self.publish(PostRequested(road.posting, hotkey, road.endpoint, message, self.tls_with(hotkey)))

    def _poll(self, hotkey: Hotkey, road: HttpRoute) -> None:
        if not self.state.stopping and not road.closed and road.polling is None:
            road.polling, road.polled_by = self._exchange(), self.tls_with(hotkey)
            position = self.state.positions.get(hotkey)
            self.publish(GamesRequested(road.polling, hotkey, road.endpoint, position, road.polled_by))

    def _fetch(self, hotkey: Hotkey, road: HttpRoute, now: Micros) -> None:
        """Ask for what was missed: at once, or when the pause since the last time is over."""
        if road.polling is not None:
            return
        if self.state.is_of_0_1:
            self._poll(hotkey, road)
        elif now >= road.fetch_from:
            ceiling = backoff(FETCH_PAUSE, max(FETCH_PAUSE, self.settings.max_poll_interval), road.vain)
            pause = FETCH_PAUSE + (self._jitter(ceiling - FETCH_PAUSE) if road.vain else 0)
            road.fetch_from = Micros(now + micros(pause))
            self._poll(hotkey, road)
        elif not road.fetch_waits:
            road.fetch_waits = True
            self.set_timer("fetch", road.fetch_from, hotkey)

    def _judge_poll(self, hotkey: Hotkey, road: HttpRoute) -> None:
        """Count a poll that has ended without what was missed."""
        position = self.state.positions.get(hotkey)
        known = Offset(0) if position is None else position.offset
        road.vain = 0 if known >= road.sought else road.vain + 1

    def _hear_from(self, hotkey: Hotkey, road: HttpRoute, now: Micros) -> None:
        """An answer by HTTP: end a back-off that silence caused, of polls and of POST."""
        if road.chosen and road.poll_failures and road.polling is None:
            self.set_timer("poll", now, hotkey)
        road.poll_failures, road.refusal = 0, ""
        if road.unanswered and road.resting:
            self._end_rest(hotkey, road)

    def _try_at_once(self, hotkey: Hotkey, road: HttpRoute, now: Micros) -> None:
        """End both back-offs: their reason may be gone."""
        road.poll_failures, road.refusal = 0, ""
        if road.chosen:
            self.set_timer("poll", now, hotkey)
        if road.resting:
            self._end_rest(hotkey, road)

    def _end_rest(self, hotkey: Hotkey, road: HttpRoute) -> None:
        road.resting, road.failures, road.unanswered = False, 0, False
        self.cancel_timer("post", hotkey)
        self._post(hotkey, road)

    def _exchange(self) -> ConnectionId:
        """Negative, so that it cannot be a WebSocket's number."""
        self.state.exchanges += 1
        return ConnectionId(-self.state.exchanges)

    def _poll_pause(self, road: HttpRoute) -> float:
        """Seconds between two polls, with jitter from the first failure on."""
        interval = self.settings.poll_interval
        longest = max(interval, longest_wait(road.refusal, self.settings.max_poll_interval))
        ceiling = backoff(interval, longest, road.poll_failures)
        return interval + (self._jitter(ceiling - interval) if ceiling > interval else 0)

    def _jitter(self, ceiling: float) -> float:
        self.state.draws += 1
        return full_jitter(self.state.seed, self.state.draws, ceiling)

    def _rest(self, hotkey: Hotkey, road: HttpRoute, now: Micros, at_least: float = 0) -> None:
        websocket = self.settings.websocket
        longest = longest_wait(road.refusal, websocket.max_reconnect_interval)
        ceiling = backoff(websocket.reconnect_base_interval, longest, road.failures)
        road.failures += 1
        road.resting = True
        delay = max(self._jitter(ceiling), at_least)
        self.set_timer("post", Micros(now + micros(delay)), hotkey)
