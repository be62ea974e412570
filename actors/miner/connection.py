"""Sessions as a miner has them: one with each validator, spoken on only after its welcome has proven true."""

from dataclasses import dataclass, field

from bettensor.actors.actor import on, on_timer
from bettensor.actors.budget import Budget
from bettensor.actors.connection import ConnectionActor, ConnectionSettings, ConnectionState, Session, Stage
from bettensor.actors.stream import StreamFollower, heartbeat_message
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ConnectionOpened,
    Position,
    SessionActivated,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros, micros
from bettensor.bus.messages import (
    Broadcast,
    PointToPoint,
    WebSocketMessage,
    WelcomeMessage,
    session_id,
)


@dataclass(slots=True)
class MinerConnectionState(ConnectionState):
    """Where the miner is in each validator's stream."""

    positions: dict[Hotkey, Position] = field(default_factory=dict)


class MinerConnectionActor(StreamFollower, ConnectionActor):
    """Speaks with a validator only after its welcome has been verified."""

    Settings = ConnectionSettings
    State = MinerConnectionState
    state: MinerConnectionState

    @on(ConnectionOpened)
    def await_welcome(self, event: ConnectionOpened, envelope: Envelope) -> None:
        self.state.sessions[event.connection] = Session(
            connection=event.connection,
            hotkey=event.hotkey,
            purpose=event.purpose,
            challenge=event.challenge,
            heard_at=envelope.mono,
            budget=Budget(self.settings.burst, envelope.mono),
        )
        deadline = Micros(envelope.mono + micros(self.settings.greeting_timeout))
        self.set_timer("greeting", deadline, event.connection)

    @on_timer("greeting")
    def lose_patience(self, connection: ConnectionId, _: Envelope) -> None:
        session = self.state.sessions.get(connection)
        if session is not None and session.stage is Stage.GREETING:
            reason = f"no valid welcome within {self.settings.greeting_timeout:g} s"
            self._close(session, CloseCode.PROTOCOL_VIOLATION, reason)

    def _activate(self, session: Session, _: WebSocketMessage) -> None:
        self.cancel_timer("greeting", session.connection)
        session.become(Stage.ACTIVE)
        if session.purpose != "session":
            return  # an exchange has said all that it had to say
        self.state.present[session.hotkey] = session.connection
        # protocol, "Handshake": the miner sends a heartbeat at once, by which the validator activates the session
        self._write(session, heartbeat_message(self.state.positions.get(session.hotkey)))
        self.publish(SessionActivated(session.connection, session.hotkey, session.uid, session.session))

    def _forgotten(self, session: Session) -> None:
        self.cancel_timer("greeting", session.connection)

    def _of_session(self, session: Session, message: PointToPoint) -> bool:
        if session.stage is Stage.ACTIVE:
            return message.session == session.session
        return isinstance(message, WelcomeMessage) and self._adopt(session, message)

    def _adopt(self, session: Session, welcome: WelcomeMessage) -> bool:
        """Take session id and scheme from a welcome that is for us and for this very request; False for any other.

        Its signature is still to be checked, by that scheme: where it is bad, the session ends.
        """
        mine = session_id(self.state.netuid, session.hotkey, self.state.hotkey, session.challenge, welcome.salt)
        if (
            welcome.receiver_hotkey != self.state.hotkey
            or welcome.challenge != session.challenge
            or welcome.netuid != self.state.netuid
            or welcome.session != mine
        ):
            return False
        session.session, session.scheme = mine, welcome.crypto
        return True

    def _takes_broadcast(self, session: Session, message: WebSocketMessage) -> bool:
        if session.stage is Stage.ACTIVE and (
            not isinstance(message, Broadcast) or message.netuid == self.state.netuid
        ):
            return True
        self._violation(session, "a broadcast before the welcome, or of another subnet", CloseCode.PROTOCOL_VIOLATION)
        return False
