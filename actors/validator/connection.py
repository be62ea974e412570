"""Sessions as a validator has them: welcomed, activated by the miner's first word, one for each hotkey.

An HTTP request is a session of one request: it is active at once, replaces nothing, and ends with its answer.
"""

import json
from dataclasses import dataclass, field

from msgspec import UNSET

from bettensor.actors.actor import on, on_timer
from bettensor.actors.budget import Budget
from bettensor.actors.connection import ConnectionActor, ConnectionSettings, ConnectionState, Session, Stage
from bettensor.actors.health import Health, HealthWatcher, asks_for_health, lacks_tls
from bettensor.actors.settings import AxonSettings, Seconds, settings_class
from bettensor.actors.stream import recoverable
from bettensor.bus.codes import CloseCode, ErrorCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BroadcastRequested,
    BroadcastWriteRequested,
    CertificateLoaded,
    ConnectionOpened,
    ExchangeCompleted,
    GamesUpdated,
    HttpAnswered,
    HttpRequestReceived,
    LedgerOpened,
    MessageAccepted,
    MessageRefused,
    NeuronDraining,
    PeerAuthenticated,
    PeerRefused,
    SendQueueDrained,
    SendQueueFilled,
    SendRequested,
    SessionActivated,
    SlateRequested,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, LedgerId, Micros, Offset, micros
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


@settings_class
class ValidatorConnectionSettings(ConnectionSettings):
    """The limits of one session, or one request, at a validator."""

    axon: AxonSettings = field(default_factory=AxonSettings)
    verdict_timeout: Seconds = 10.0
    """If verdicts for a POST /predictions are still missing after this many seconds, the answer is 503."""


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
            deadline = Micros(envelope.mono + micros(self.settings.greeting_timeout))
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
        if not asks_for_health(event) or lacks_tls(event, self.settings.axon.tls):
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
        self._bring_up_to_date(session)

    @on(BroadcastRequested)
    def broadcast(self, event: BroadcastRequested, _: Envelope) -> None:
        connections, message = tuple(self.state.present.values()), event.message
        if isinstance(message, GameUpdateMessage):
            connections = tuple(connection for connection in connections if connection not in self.state.lagging)
            if message.part == message.parts:
                self.state.told = message.offset
        if connections:
            self.publish(BroadcastWriteRequested(connections, message))

    @on(SendQueueFilled)
    def hold_back(self, event: SendQueueFilled, _: Envelope) -> None:
        self.state.lagging.setdefault(event.connection, self.state.told)

    @on(SendQueueDrained)
    def catch_up(self, event: SendQueueDrained, _: Envelope) -> None:
        """Send the updates that were held back, merged into one."""
        known = self.state.lagging.pop(event.connection, None)
        session, here = self.state.sessions.get(event.connection), self.state.offset
        if session is None or session.stage is not Stage.ACTIVE or known is None or here is None or known == here:
            return
        place = known if recoverable(known, here) else None
        self.publish(SlateRequested(session.connection, session.hotkey, place, merged=True))

    def _forgotten(self, session: Session) -> None:
        self.state.lagging.pop(session.connection, None)
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

    def _bring_up_to_date(self, session: Session) -> None:
        known = session.known_offset if self._recovered(session) else None
        if known is None or known != self.state.offset:
            self.publish(SlateRequested(session.connection, session.hotkey, known))

    def _recovered(self, session: Session) -> bool:
        """Whether updates alone bring the miner up to date."""
        known, here = session.known_offset, self.state.offset
        if known is None or here is None or session.known_epoch != self.state.epoch:
            return False
        return recoverable(known, here)

    # --- HTTP exchanges

    def _begin_exchange(self, session: Session, envelope: Envelope) -> None:
        session.become(Stage.ACTIVE)
        self._write(session, self._welcome(session))
        deadline = Micros(envelope.mono + micros(self.settings.verdict_timeout))
        self.set_timer("exchange", deadline, session.connection)
        if session.purpose == "games":
            self._bring_up_to_date(session)
            has_it_all = self._recovered(session) and session.known_offset == self.state.offset
            if has_it_all or self.state.offset is None:
                self._complete_exchange(session)  # the welcome says so

    @on(MessageAccepted)
    def count_predictions(self, event: MessageAccepted, _: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is not None and session.purpose == "predictions" and isinstance(event.message, PredictionMessage):
            session.outstanding += sum(bool(p.prediction_id) for p in event.message.predictions)

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
        if session is None:  # a failure of ours before the sender was known
            self.publish(PeerRefused(event.connection, RefusalCode.INTERNAL, event.message, remote=""))
        elif session.purpose == "session":
            super().answer_refused(event, envelope)
        elif session.stage is Stage.ACTIVE and event.code != ErrorCode.MALFORMED:
            self._fail_exchange(session, RefusalCode.INTERNAL, event.message)
        elif session.stage is Stage.ACTIVE:
            super().answer_refused(event, envelope)
            if session.outstanding <= 0:
                self._complete_exchange(session)

    def _is_last(self, message: GameUpdateMessage) -> bool:
        return message.offset == self.state.offset and message.part == message.parts

    def _complete_exchange(self, session: Session) -> None:
        self._leave(session)
        self.publish(ExchangeCompleted(session.connection))

    def _fail_exchange(self, session: Session, code: RefusalCode, reason: str) -> None:
        self._leave(session)
        self.publish(PeerRefused(session.connection, code, reason, remote="", hotkey=session.hotkey, retry_after=1))
