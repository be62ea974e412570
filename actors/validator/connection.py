"""Sessions as a validator has them: welcomed, activated by the miner's first word, one for each hotkey.

An HTTP request is a session of one request: it is active at once, replaces nothing, and ends with its answer.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET

from bettensor.actors.actor import on, on_timer
from bettensor.actors.budget import Budget, budget_of
from bettensor.actors.connection import ConnectionActor, ConnectionSettings, ConnectionState, Session, Stage
from bettensor.actors.health import Health, HealthWatcher, asks_for_health, lacks_tls
from bettensor.actors.settings import AxonSettings, Positive, Rate, Seconds, settings_class
from bettensor.actors.stream import recoverable
from bettensor.bus.codes import CloseCode, ErrorCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BroadcastRequested,
    BroadcastWriteRequested,
    CertificateLoaded,
    CloseRequested,
    ConnectionOpened,
    ExchangeCompleted,
    GamesUpdated,
    HttpAnswered,
    HttpRequestReceived,
    LedgerOpened,
    MessageAccepted,
    MessageRefused,
    MetagraphSynced,
    NeuronDraining,
    NeuronStarted,
    PeerAuthenticated,
    PeerRefused,
    ReadingPaused,
    ReadingResumed,
    RequestBodyReceived,
    SendQueueDrained,
    SendQueueFilled,
    SendRequested,
    SessionActivated,
    SlateRequested,
    SlateWriteRequested,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, Hotkey, LedgerId, Micros, Offset, micros
from bettensor.bus.messages import (
    MAX_FRAME_BYTES,
    MAX_PREDICTIONS,
    ConfirmationMessage,
    GameUpdateMessage,
    Limits,
    PredictionMessage,
    WebSocketMessage,
    WelcomeMessage,
)

MAX_HOTKEYS: Final = 10_000
"""Hotkeys whose slates are counted at a time: more than a subnet registers."""
MAX_WORKERS = 10_000
"""Hotkeys whose work is counted at a time."""
LEAST_PAUSE = Micros(SECOND // 10)
"""The least time for which a session is not read: shorter ones would cost a timer for every few frames."""
FAULTS = (
    CloseCode.PROTOCOL_VIOLATION,
    CloseCode.BAD_SIGNATURE,
    CloseCode.INVALID_DATA,
    CloseCode.TOO_BIG,
)
"""Closes that a frame of the miner causes."""


@settings_class
class ValidatorConnectionSettings(ConnectionSettings):
    """The limits of one session, or one request, at a validator."""

    axon: AxonSettings = field(default_factory=AxonSettings)
    predictions_per_second: Rate = 250.0
    """Predictions per second that one hotkey may send in the long run; any other message counts as one. If it sends
    more, its sessions are read more slowly, and nothing in them is refused; POST /predictions is answered with 429."""
    prediction_burst: Positive = 1000.0
    """Predictions that one hotkey may send at once after a silence."""
    bytes_per_second: Rate = 524_288.0
    """Bytes of frames and bodies per second that one hotkey may send in the long run. If it sends more, its sessions
    are read more slowly, and nothing in them is refused; POST /predictions is answered with 429."""
    byte_burst: Positive = 4_194_304.0
    """Bytes of frames and bodies that one hotkey may send at once after a silence."""
    refusals_per_second: Rate = 1.0
    """Messages per second of one hotkey that may be refused in the long run. If there are more, its session is closed
    (close code 4103)."""
    refusal_burst: Positive = 100.0
    """Messages of one hotkey that may be refused at once after a silence."""
    verdict_timeout: Seconds = 10.0
    """If verdicts for a POST /predictions are still missing after this many seconds, the answer is 503."""
    slate_frames_per_second: Rate = 16.0
    """Frames of the slate and of missed updates, of up to 64 KiB each, that one hotkey is sent per second in the long
    run, whatever it reconnects or asks for. Live updates do not count."""
    slate_burst: Positive = 512.0
    """Frames of the slate and of missed updates that one hotkey is sent at once. The largest slate has about 130. After
    that a session waits for its slate, and GET /games is answered with 429."""


@dataclass(slots=True)
class Work:
    """The work that one hotkey may still give this validator, over all its sessions."""

    predictions: Budget
    size: Budget
    """In bytes."""
    refusals: Budget | None = None
    """None: none of its messages has been refused."""


@dataclass(slots=True)
class ValidatorConnectionState(ConnectionState):
    """The fields of a welcome that are the same for all sessions."""

    ledger_id: LedgerId = LedgerId("")
    epoch: Epoch | None = None
    offset: Offset | None = None
    health: Health = field(default_factory=Health)
    told: Offset = Offset(0)
    """Offset of the last update whose parts were all broadcast."""
    lagging: dict[ConnectionId, Offset] = field(default_factory=dict)
    """Slow readers, from whom updates are held back, with the last update that each was sent."""
    waiting: dict[ConnectionId, Offset] = field(default_factory=dict)
    """The same of sessions whose hotkey has used up its budget of slates; 0: it was sent none."""
    slates: dict[Hotkey, Budget] = field(default_factory=dict)
    """Frames that each hotkey may be sent to bring it up to date."""
    work: dict[Hotkey, Work] = field(default_factory=dict)
    slowed: dict[ConnectionId, None] = field(default_factory=dict)
    """Sessions that are not read, because their hotkeys have given too much work."""
    charges_work: bool = True
    """Release 0.1.0 counted nothing but messages."""
    tls_key: str = ""
    """The key of this validator's certificate; empty: it has none."""
    proxy_key: str = ""
    """The key that miners see instead, because a proxy ends TLS; empty: none does."""


class ValidatorConnectionActor(HealthWatcher, ConnectionActor):
    """Welcomes miners, and knows which session is a miner's present one."""

    Settings = ValidatorConnectionSettings
    State = ValidatorConnectionState
    settings: ValidatorConnectionSettings
    state: ValidatorConnectionState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, envelope: Envelope) -> None:
        super().begin(event, envelope)
        self.state.charges_work = not event.is_of_0_1

    @on(LedgerOpened)
    def know_ledger(self, event: LedgerOpened, _: Envelope) -> None:
        self.state.ledger_id = event.ledger_id

    @on(CertificateLoaded)
    def know_certificate(self, event: CertificateLoaded, _: Envelope) -> None:
        if event.of_proxy:
            self.state.proxy_key = event.key
        else:
            self.state.tls_key = event.key

    @on(GamesUpdated)
    def know_position(self, event: GamesUpdated, _: Envelope) -> None:
        if self.state.epoch is None:
            self.state.told = event.offset
        self.state.epoch, self.state.offset = event.epoch, event.offset

    @on(NeuronDraining)
    def read_no_more(self, _: NeuronDraining, __: Envelope) -> None:
        self.state.stopping = True

    @on(MetagraphSynced)
    def forget_parcels(self, event: MetagraphSynced, _: Envelope) -> None:
        """Results for hotkeys that have left the subnet: one that comes back asks again."""
        if not self.state.health.is_of_0_1:
            members = {neuron.hotkey for neuron in event.neurons}
            for gone in [hotkey for hotkey in self.state.parcels if hotkey not in members]:
                del self.state.parcels[gone]

    @on(PeerAuthenticated)
    def prepare(self, event: PeerAuthenticated, envelope: Envelope) -> None:
        session = Session(
            connection=event.connection,
            hotkey=event.hotkey,
            purpose=event.purpose,
            challenge=event.challenge,
            heard_at=envelope.mono,
            budget=Budget(self.settings.burst, envelope.mono),
            scheme=event.scheme,
            uid=event.uid,
            session=event.session,
            salt=event.salt,
            rhythm=micros(self.settings.websocket.heartbeat_interval),
            known_epoch=event.known_epoch,
            known_offset=event.known_offset,
            tls_key=event.tls_key,
        )
        self.state.sessions[event.connection] = session
        if event.purpose != "session":
            self._begin_exchange(session, envelope)

    @on(ConnectionOpened)
    def welcome(self, event: ConnectionOpened, envelope: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is not None and session.stage is Stage.GREETING:
            self._write(session, self._welcome(session))
            self._slow_down(session, envelope.mono)
            begins_at = max(envelope.mono, self._free_at(session.hotkey))  # until then it is not read
            deadline = Micros(begins_at + micros(self.settings.greeting_timeout))
            self.set_timer("greeting", deadline, session.connection)

    @on_timer("greeting")
    def lose_patience(self, connection: ConnectionId, _: Envelope) -> None:
        session = self.state.sessions.get(connection)
        if session is not None and session.stage is not Stage.CLOSING:
            reason = f"no valid frame within {self.settings.greeting_timeout:g} s of the welcome"
            self._close(session, CloseCode.PROTOCOL_VIOLATION, reason)

    @on_timer("exchange")
    def give_up_exchange(self, connection: ConnectionId, _: Envelope) -> None:
        session = self.state.sessions.get(connection)
        if session is not None and session.stage is not Stage.CLOSING:
            reason = f"no verdict within {self.settings.verdict_timeout:g} s; send the same ids again"
            self._fail_exchange(session, RefusalCode.NO_VERDICT, reason)

    @on(HttpRequestReceived)
    def report_health(self, event: HttpRequestReceived, envelope: Envelope) -> None:
        if not asks_for_health(event.method, event.target) or lacks_tls(event, self.settings.axon.tls):
            return
        open_sessions = [s for s in self.state.sessions.values() if s.stage is Stage.ACTIVE and s.purpose == "session"]
        active = sum(envelope.mono - session.heard_at <= 1.5 * session.rhythm for session in open_sessions)
        health = {
            "status": self.state.health.status(envelope.mono, stopping=self.state.stopping),
            "connections": len(open_sessions),
            "active_connections": active,
        }
        healthy = health["status"] == "online"
        self.publish(HttpAnswered(event.connection, 200 if healthy else 503, json.dumps(health)))

    # --- work

    def _heard(self, session: Session, size: int, now: Micros) -> None:
        if self.state.charges_work:
            limits, budget = self.settings, self._work_of(session.hotkey, now).size
            if not budget.charge(now, size, limits.bytes_per_second, limits.byte_burst):
                self._slow_down(session, now)

    @on(RequestBodyReceived)
    def charge_body(self, event: RequestBodyReceived, envelope: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is not None:
            self._heard(session, len(event.body), envelope.mono)

    @on(CloseRequested)
    def closing(self, event: CloseRequested, envelope: Envelope) -> None:
        super().closing(event, envelope)
        session = self.state.sessions.get(event.connection)
        if session is not None and event.code in FAULTS:
            self._may_be_refused(session.hotkey, envelope.mono)

    @on_timer("work")
    def read_again(self, connection: ConnectionId, envelope: Envelope) -> None:
        session = self.state.sessions.get(connection)
        if session is None or connection not in self.state.slowed:
            return
        free_at = self._free_at(session.hotkey)
        if free_at > envelope.mono:  # another session of its hotkey was read meanwhile
            self.set_timer("work", free_at, connection)
        else:
            del self.state.slowed[connection]
            self.publish(ReadingResumed(connection, "work"))

    def _charge(self, session: Session, predictions: int, now: Micros) -> None:
        """Count the work of one message, and stop reading from its session until its hotkey may send more."""
        limits = self.settings
        if self.state.charges_work:
            budget = self._work_of(session.hotkey, now).predictions
            if not budget.charge(now, predictions, limits.predictions_per_second, limits.prediction_burst):
                self._slow_down(session, now)

    def _slow_down(self, session: Session, now: Micros) -> None:
        connection, free_at = session.connection, self._free_at(session.hotkey)
        is_read = session.purpose == "session" and session.stage is not Stage.CLOSING
        if free_at > now and is_read and connection not in self.state.slowed:
            self.state.slowed[connection] = None
            self.publish(ReadingPaused(connection, "work"))
            self.set_timer("work", max(free_at, Micros(now + LEAST_PAUSE)), connection)

    def _free_at(self, hotkey: Hotkey) -> Micros:
        """When the work of ``hotkey`` is within its budget."""
        work, limits = self.state.work.get(hotkey), self.settings
        if work is None:
            return Micros(0)
        return max(work.predictions.free_at(limits.predictions_per_second), work.size.free_at(limits.bytes_per_second))

    def _may_be_refused(self, hotkey: Hotkey, now: Micros) -> bool:
        """Count a message that is refused; False if there were too many of them."""
        if not self.state.charges_work:
            return True
        limits, work = self.settings, self._work_of(hotkey, now)
        if work.refusals is None:
            work.refusals = Budget(limits.refusal_burst, now)
        return work.refusals.spend(now, limits.refusals_per_second, limits.refusal_burst)

    def _work_of(self, hotkey: Hotkey, now: Micros) -> Work:
        known, limits = self.state.work, self.settings
        work = known.get(hotkey)
        if work is None:
            if len(known) >= MAX_WORKERS:
                del known[next(iter(known))]
            work = known[hotkey] = Work(Budget(limits.prediction_burst, now), Budget(limits.byte_burst, now))
        return work

    # --- WebSocket

    def _activate(self, session: Session, _: WebSocketMessage) -> None:
        self.cancel_timer("greeting", session.connection)
        older = self.state.sessions.get(self.state.present.get(session.hotkey, ConnectionId(-1)))
        if older is not None:
            self._close(older, CloseCode.REPLACED, "a newer session of the same hotkey took its place")
        session.become(Stage.ACTIVE)
        self.state.present[session.hotkey] = session.connection
        tls = bool(session.tls_key or self.state.proxy_key)
        self.publish(SessionActivated(session.connection, session.hotkey, session.uid, session.session, tls))
        for parcel in self.state.parcels.pop(session.hotkey, ()):
            self._write(session, parcel)
        self._bring_up_to_date(session, session.heard_at)

    @on(BroadcastRequested)
    def broadcast(self, event: BroadcastRequested, _: Envelope) -> None:
        connections, message = tuple(self.state.present.values()), event.message
        if isinstance(message, GameUpdateMessage):
            held_back = self.state.lagging.keys() | self.state.waiting.keys()
            connections = tuple(connection for connection in connections if connection not in held_back)
            if message.part == message.parts:
                self.state.told = message.offset
        if connections:
            self.publish(BroadcastWriteRequested(connections, message))

    @on(SendQueueFilled)
    def hold_back(self, event: SendQueueFilled, _: Envelope) -> None:
        known = self.state.waiting.get(event.connection, self.state.told)
        self.state.lagging.setdefault(event.connection, known)

    @on(SendQueueDrained)
    def catch_up(self, event: SendQueueDrained, envelope: Envelope) -> None:
        """Send the updates that were held back, merged into one."""
        known = self.state.lagging.pop(event.connection, None)
        if known is not None and event.connection not in self.state.waiting:
            self._send_what_was_held_back(event.connection, known, envelope.mono)

    @on_timer("slate")
    def end_wait(self, connection: ConnectionId, envelope: Envelope) -> None:
        known = self.state.waiting.pop(connection, None)
        if (
            known is not None and connection not in self.state.lagging
        ):  # otherwise it follows when the queue has drained
            self._send_what_was_held_back(connection, known, envelope.mono)

    def _send_what_was_held_back(self, connection: ConnectionId, known: Offset, now: Micros) -> None:
        session, here = self.state.sessions.get(connection), self.state.offset
        if session is None or session.stage is not Stage.ACTIVE or here is None or known == here:
            return
        self._request_slate(session, known if recoverable(known, here) else None, now, merged=True)

    def _request_slate(self, session: Session, known: Offset | None, now: Micros, *, merged: bool = False) -> None:
        """Have the session sent what it lacks after ``known``, as soon as the budget of its hotkey allows."""
        rate, burst = self.settings.slate_frames_per_second, self.settings.slate_burst
        budget = self.state.slates.get(session.hotkey)
        debt = 0.0 if budget is None else -budget.refill(now, rate, burst)
        if debt <= 0:
            self.publish(SlateRequested(session.connection, session.hotkey, known, merged))
        elif session.purpose == "games":
            seconds = math.ceil(debt / rate)
            reason = f"{session.hotkey} was sent more of the slate than {rate:g} frames a second; ask in {seconds} s"
            self._fail_exchange(session, RefusalCode.RATE_LIMITED, reason, seconds)
        else:
            self.state.waiting[session.connection] = known or Offset(0)
            self.set_timer("slate", Micros(now + math.ceil(debt / rate * SECOND)), session.connection)

    @on(SlateWriteRequested)
    def charge_slate(self, event: SlateWriteRequested, envelope: Envelope) -> None:
        now, burst = envelope.mono, self.settings.slate_burst
        budget = budget_of(self.state.slates, event.hotkey, now, burst, MAX_HOTKEYS)
        budget.refill(now, self.settings.slate_frames_per_second, burst)
        budget.tokens -= event.frames
        session = self.state.sessions.get(event.connection)
        if session is not None and session.purpose == "games" and session.stage is Stage.ACTIVE:
            self._complete_exchange(session)

    def _forgotten(self, session: Session) -> None:
        self.state.lagging.pop(session.connection, None)
        if self.state.waiting.pop(session.connection, None) is not None:
            self.cancel_timer("slate", session.connection)
        if session.connection in self.state.slowed:
            del self.state.slowed[session.connection]
            self.cancel_timer("work", session.connection)
        self.cancel_timer("greeting" if session.purpose == "session" else "exchange", session.connection)

    def _welcome(self, session: Session) -> WelcomeMessage:
        return WelcomeMessage(
            receiver_hotkey=session.hotkey,
            challenge=session.challenge,
            salt=session.salt,
            netuid=self.state.netuid,
            crypto=self.state.scheme,
            ledger_id=self.state.ledger_id,
            heartbeat_interval=session.rhythm / SECOND,
            connection_timeout=self.settings.websocket.connection_timeout,
            epoch=self.state.epoch,
            offset=self.state.offset,
            recovered=self._recovered(session),
            limits=Limits(
                frame_bytes=MAX_FRAME_BYTES,
                predictions_per_message=MAX_PREDICTIONS,
                messages_per_second=self.settings.messages_per_second,
                burst=self.settings.burst,
            ),
            tls_key=self._key_for(session) or UNSET,
        )

    def _key_for(self, session: Session) -> str:
        """The key of the certificate that the miner sees, or would see by TLS; empty if there is no TLS."""
        return self.state.proxy_key or session.tls_key or self.state.tls_key

    def _bring_up_to_date(self, session: Session, now: Micros) -> None:
        known = session.known_offset if self._recovered(session) else None
        if known is None or known != self.state.offset:
            self._request_slate(session, known, now)

    def _recovered(self, session: Session) -> bool:
        """Whether updates alone bring the miner up to date."""
        known, here = session.known_offset, self.state.offset
        if known is None or here is None or session.known_epoch != self.state.epoch:
            return False
        return recoverable(known, here)

    # --- HTTP exchanges

    def _begin_exchange(self, session: Session, envelope: Envelope) -> None:
        session.become(Stage.ACTIVE)
        wait = self._free_at(session.hotkey) - envelope.mono
        if session.purpose == "predictions" and wait > 0:
            limits, seconds = self.settings, math.ceil(wait / SECOND)
            most = f"{limits.predictions_per_second:g} predictions or {limits.bytes_per_second:g} bytes a second"
            reason = f"{session.hotkey} has sent more than {most}; send again in {seconds} s"
            self._fail_exchange(session, RefusalCode.RATE_LIMITED, reason, seconds)
            return
        self._write(session, self._welcome(session))
        deadline = Micros(envelope.mono + micros(self.settings.verdict_timeout))
        self.set_timer("exchange", deadline, session.connection)
        if session.purpose == "games":
            self._bring_up_to_date(session, envelope.mono)
            has_it_all = self._recovered(session) and session.known_offset == self.state.offset
            if has_it_all or self.state.offset is None:
                self._complete_exchange(session)  # the welcome says so

    @on(MessageAccepted)
    def count_predictions(self, event: MessageAccepted, envelope: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is None:
            return
        predictions = event.message.predictions if isinstance(event.message, PredictionMessage) else ()
        if session.purpose == "predictions":
            session.outstanding += sum(bool(prediction.prediction_id) for prediction in predictions)
        self._charge(session, max(1, len(predictions)), envelope.mono)

    def _addressed(self, session: Session, message: WebSocketMessage) -> None:
        if isinstance(message, ConfirmationMessage) and session.purpose == "predictions":
            session.outstanding -= len(message.results)
            if session.outstanding <= 0:
                self._complete_exchange(session)
        elif isinstance(message, GameUpdateMessage) and session.purpose == "games" and self._is_last(message):
            self._complete_exchange(session)

    @on(SendRequested)
    def address(self, event: SendRequested, envelope: Envelope) -> None:
        if event.connection is None or event.connection >= 0:  # below 0 it is ValidatorSynapseActor's
            super().address(event, envelope)

    @on(MessageRefused)
    def answer_refused(self, event: MessageRefused, envelope: Envelope) -> None:
        if event.connection < 0:  # ValidatorSynapseActor's
            return
        session = self.state.sessions.get(event.connection)
        if session is None:
            if event.message_id is None or self.state.health.is_of_0_1:  # a failure of ours before a sender was known
                self.publish(PeerRefused(event.connection, RefusalCode.INTERNAL, event.message, remote=""))
        elif session.purpose == "session":
            self._answer_refused(session, event, envelope)
        elif session.stage is Stage.ACTIVE and event.code != ErrorCode.MALFORMED:
            self._fail_exchange(session, RefusalCode.INTERNAL, event.message)
        elif session.stage is Stage.ACTIVE:
            super().answer_refused(event, envelope)
            if session.outstanding <= 0:
                self._complete_exchange(session)

    def _answer_refused(self, session: Session, event: MessageRefused, envelope: Envelope) -> None:
        is_its_fault = event.code in (ErrorCode.MALFORMED, ErrorCode.UNKNOWN_TYPE)
        if is_its_fault and session.stage is Stage.ACTIVE and not self._may_be_refused(session.hotkey, envelope.mono):
            self._close(session, CloseCode.RATE_LIMITED, "too many messages of this hotkey had to be refused")
        else:
            super().answer_refused(event, envelope)

    def _is_last(self, message: GameUpdateMessage) -> bool:
        return message.offset == self.state.offset and message.part == message.parts

    def _complete_exchange(self, session: Session) -> None:
        self._leave(session)
        self.publish(ExchangeCompleted(session.connection))

    def _fail_exchange(self, session: Session, code: RefusalCode, reason: str, retry_after: int = 1) -> None:
        self._leave(session)
        self.publish(PeerRefused(session.connection, code, reason, "", session.hotkey, retry_after))
