"""Sessions: their sequence numbers, and the frames that they receive and send.

Knows a session's two parties, its place in its own sequence, and nothing of what is said. Trusts no peer: a frame that
is in order goes to have its signature checked, and only ``AuthActor`` accepts it.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from bettensor.actors.actor import Actor, on
from bettensor.actors.budget import Budget
from bettensor.actors.settings import Positive, Rate, Seconds, WebSocketSettings, settings_class
from bettensor.bus import codec
from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import Unreadable
from bettensor.bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    FrameReceived,
    MessageAccepted,
    MessageRefused,
    NeuronStarted,
    NeuronStopping,
    Purpose,
    Scheme,
    SendRequested,
    UnsignedReceived,
    VerificationRequested,
    WriteRequested,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, Hotkey, Micros, Netuid, Offset, SessionId, Uid
from bettensor.bus.messages import MAX_MESSAGE, ConfirmationMessage, ErrorMessage, PointToPoint, WebSocketMessage

MAX_PARCELS = 64
"""Confirmations kept for a miner that is away; the rest it will ask for again."""


class Stage(StrEnum):
    """How far a connection has come. Left only in the directions of ``NEXT``."""

    GREETING = "greeting"
    """The welcome is on its way, and no other message may be sent."""
    ACTIVE = "active"
    CLOSING = "closing"
    """We have asked for its end, and read no more of it."""


NEXT = {
    Stage.GREETING: (Stage.ACTIVE, Stage.CLOSING),
    Stage.ACTIVE: (Stage.CLOSING,),
    Stage.CLOSING: (),
}
"""The state machine of a session."""


@dataclass(slots=True)
class Session:
    """One WebSocket, or one HTTP exchange, from the moment that the other side is known by name."""

    connection: ConnectionId
    hotkey: Hotkey
    purpose: Purpose
    challenge: str
    heard_at: Micros
    budget: Budget
    scheme: Scheme = "sr25519"
    uid: Uid = Uid(-1)
    session: SessionId = SessionId("")
    salt: str = ""
    rhythm: Micros = Micros(0)
    """Between two heartbeats, as the welcome of a validator says; settings may change while a session is open."""
    stage: Stage = Stage.GREETING
    sent: int = 0
    """The last ``seq`` that we wrote."""
    received: int = 0
    """The last ``seq`` that came."""
    warned_at: Micros | None = None
    """Time at which the peer was last told that it sends too much."""
    known_epoch: Epoch | None = None
    known_offset: Offset | None = None
    outstanding: int = 0
    """Results that an HTTP exchange still waits for."""
    tls_key: str = ""
    """The key of the certificate that serves the connection; empty: it is plain."""
    vouched: bool = False
    """On the miner: the system's roots vouch for that certificate."""

    def become(self, stage: Stage) -> None:
        """
        Raises:
            AssertionError: the table does not know this way; a bug of ours.
        """
        if stage not in NEXT[self.stage]:
            raise AssertionError(f"a session does not go from {self.stage} to {stage}")
        self.stage = stage


@dataclass(slots=True)
class ConnectionState:
    """All that both roles remember of their connections."""

    netuid: Netuid = Netuid(0)
    hotkey: Hotkey = Hotkey("")
    scheme: Scheme = "sr25519"
    sessions: dict[ConnectionId, Session] = field(default_factory=dict)
    present: dict[Hotkey, ConnectionId] = field(default_factory=dict)
    """The active WebSocket session of each hotkey."""
    parcels: dict[Hotkey, deque[ConfirmationMessage]] = field(default_factory=dict)
    """Results whose session is gone: for the next one."""
    stopping: bool = False


@settings_class
class ConnectionSettings:
    """The limits of one session."""

    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    messages_per_second: Rate = 1000.0
    """Messages per second that one session may send in the long run. Each signature check takes about 50 us."""
    burst: Positive = 2000.0
    """Messages that one session may send at once after a silence."""
    greeting_timeout: Seconds = 5.0
    """If a new session brings no valid frame for this many seconds, this neuron closes it (close code 4000)."""


class ConnectionActor(Actor):
    """The road that every frame takes, on validator and miner alike.

    Opening and activating a session differ by role: see ``validator_connection.py`` and
    ``miner_connection.py``.
    """

    name = "connection"
    Settings = ConnectionSettings
    State = ConnectionState
    settings: ConnectionSettings
    state: ConnectionState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.netuid = event.netuid
        self.state.hotkey = event.hotkey
        self.state.scheme = event.scheme

    @on(FrameReceived)
    def read(self, event: FrameReceived, envelope: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is None or session.stage is Stage.CLOSING or self.state.stopping:
            return  # protocol, "Closing": frames not read at close have no verdict
        self._heard(session, len(event.data), envelope.mono)
        try:
            frame = codec.split(event.data)
            message = codec.read(frame.payload)
        except Unreadable as fault:
            self._violation(session, str(fault), fault.close)
            return
        if not self._in_order(session, message) or not self._within_budget(session, message, envelope.mono):
            return
        self.publish(
            VerificationRequested(
                session.connection, session.hotkey, session.scheme, frame.payload, frame.signature, message
            )
        )

    @on(BinaryReceived)
    def refuse_binary(self, event: BinaryReceived, envelope: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is not None and session.stage is not Stage.CLOSING:
            self._heard(session, event.size, envelope.mono)
            self._violation(session, "a binary frame; every frame is text", CloseCode.PROTOCOL_VIOLATION)

    @on(UnsignedReceived)
    def refuse_unsigned(self, event: UnsignedReceived, envelope: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is not None and session.stage is not Stage.CLOSING and not self.state.stopping:
            self._heard(session, event.size, envelope.mono)
            self._violation(session, codec.NO_SIGNATURE, CloseCode.BAD_SIGNATURE)

    @on(MessageAccepted)
    def hear(self, event: MessageAccepted, envelope: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is None or session.stage is Stage.CLOSING:
            return
        session.heard_at = envelope.mono
        if session.stage is Stage.GREETING:
            self._activate(session, event.message)

    @on(MessageRefused)
    def answer_refused(self, event: MessageRefused, _: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is not None and session.stage is Stage.ACTIVE:
            self._write(session, _error(event.code, event.message, event.message_id))

    @on(SendRequested)
    def address(self, event: SendRequested, _: Envelope) -> None:
        session = self._reachable(event.connection, event.hotkey)
        if session is not None:
            self._write(session, event.message)
            self._addressed(session, event.message)
        elif isinstance(event.message, ConfirmationMessage):
            self.state.parcels.setdefault(event.hotkey, deque(maxlen=MAX_PARCELS)).append(event.message)
        else:
            self.publish(WriteRequested(None, event.hotkey, event.message))

    @on(CloseRequested)
    def closing(self, event: CloseRequested, _: Envelope) -> None:
        session = self.state.sessions.get(event.connection)
        if session is not None:
            self._leave(session)

    @on(ConnectionClosed)
    def forget(self, event: ConnectionClosed, _: Envelope) -> None:
        session = self.state.sessions.pop(event.connection, None)
        if session is not None:
            self._forgotten(session)
            if session.stage is not Stage.CLOSING:
                self._leave(session)

    @on(NeuronStopping)
    def close_all(self, _: NeuronStopping, __: Envelope) -> None:
        self.state.stopping = True
        for session in list(self.state.sessions.values()):
            if session.stage is not Stage.CLOSING and session.purpose == "session":
                self._close(session, CloseCode.RESTARTING, "restarting or shutting down")

    # --- the parts that a role adds

    def _heard(self, session: Session, size: int, now: Micros) -> None:
        """A frame of ``size`` bytes came on ``session``."""

    def _activate(self, session: Session, first: WebSocketMessage) -> None:
        """Both sides have proven themselves, the other one by ``first``."""
        raise NotImplementedError

    def _addressed(self, session: Session, message: WebSocketMessage) -> None:
        """``message``, which another actor asked to send, goes out on ``session``."""

    def _forgotten(self, session: Session) -> None:
        """``session`` has ended: drop all other state that belongs to it."""

    # --- in

    def _in_order(self, session: Session, message: WebSocketMessage) -> bool:
        """Whether ``message`` is from the session's other side, for this session, and the next one in it."""
        if message.sender_hotkey != session.hotkey:
            fault = f"sender_hotkey is {message.sender_hotkey}, and this is the session of {session.hotkey}"
        elif codec.is_broadcast(message):
            return self._takes_broadcast(session, message)
        elif not isinstance(message, PointToPoint) or not self._of_session(session, message):
            fault = _out_of_place(message)
        elif message.seq != session.received + 1:
            fault = f"seq is {message.seq}, and {session.received + 1} is next"
        else:
            session.received = message.seq
            return True
        self._violation(session, fault, CloseCode.PROTOCOL_VIOLATION, message.message_id)
        return False

    def _of_session(self, session: Session, message: PointToPoint) -> bool:
        return message.session == session.session

    def _takes_broadcast(self, session: Session, _: WebSocketMessage) -> bool:
        self._violation(session, "only a validator broadcasts", CloseCode.PROTOCOL_VIOLATION)
        return False

    def _within_budget(self, session: Session, message: WebSocketMessage, now: Micros) -> bool:
        """Take one message from the session's budget; past it, say so once a second, and end it at twice the burst."""
        limits = self.settings
        if session.budget.spend(now, limits.messages_per_second, limits.burst):
            return True
        session.budget.tokens -= 1  # messages past the limit are a debt: a peer that goes on does not recover
        if session.budget.tokens < -limits.burst:
            self._close(session, CloseCode.RATE_LIMITED, "far above messages_per_second")
        elif session.warned_at is None or now - session.warned_at >= SECOND:
            session.warned_at = now
            text = f"more than {limits.messages_per_second:g} messages a second; send again later"
            self._write(session, _error(ErrorCode.RATE_LIMITED, text, message.message_id))
        return False

    # --- out

    def _reachable(self, connection: ConnectionId | None, hotkey: Hotkey) -> Session | None:
        """The session for a message to ``hotkey``: the one on which it last wrote, otherwise its present one."""
        for candidate in (connection, self.state.present.get(hotkey)):
            session = None if candidate is None else self.state.sessions.get(candidate)
            if session is not None and session.stage is Stage.ACTIVE:
                return session
        return None

    def _write(self, session: Session, message: WebSocketMessage) -> None:
        if isinstance(message, PointToPoint):
            session.sent += 1
            message = codec.place(message, session.session, session.sent)
        self.publish(WriteRequested(session.connection, session.hotkey, message))

    def _violation(self, session: Session, fault: str, close: CloseCode, about: str | None = None) -> None:
        if close is CloseCode.PROTOCOL_VIOLATION and session.stage is Stage.ACTIVE:
            self._write(session, _error(ErrorCode.MALFORMED, fault, about))
        self._close(session, close, fault)

    def _close(self, session: Session, code: CloseCode, reason: str) -> None:
        self._leave(session)
        self.publish(CloseRequested(session.connection, code, reason))

    def _leave(self, session: Session) -> None:
        """End the use of this session. Found by connection, never by hotkey: that may have a newer session by now."""
        if session.stage is not Stage.CLOSING:
            session.become(Stage.CLOSING)
        if self.state.present.get(session.hotkey) == session.connection:
            del self.state.present[session.hotkey]


def _out_of_place(message: WebSocketMessage) -> str:
    """The fault of a message that does not belong to its session; a welcome that cannot be read never does."""
    if isinstance(message, codec.UnreadMessage) and message.message_type == "welcome":
        return f"the welcome is invalid: {message.fault}"
    return "the message is for another session"


def _error(code: str, message: str, in_reply_to: str | None) -> ErrorMessage:
    return ErrorMessage(code=code, message=message[:MAX_MESSAGE], in_reply_to=in_reply_to)
