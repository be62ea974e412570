"""Sessions as a miner has them: one with each validator, spoken on only after its welcome has proven true."""

from dataclasses import dataclass, field

from msgspec import UNSET

from bettensor.actors.actor import on, on_timer
from bettensor.actors.budget import Budget
from bettensor.actors.connection import ConnectionActor, ConnectionSettings, ConnectionState, Session, Stage
from bettensor.actors.cures import DIALLED_BY_TLS
from bettensor.actors.miner.tls import TlsFollower, TlsKnowledge, Untrusted
from bettensor.actors.schemes import pinned_scheme
from bettensor.actors.settings import AuthSettings, MinerTlsSettings, settings_class
from bettensor.actors.stream import StreamFollower, heartbeat_message
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CertificateDoubted,
    ConnectionOpened,
    MetagraphSynced,
    NeuronStarted,
    Position,
    Scheme,
    SessionActivated,
    SettingsReloaded,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros, micros
from bettensor.bus.messages import (
    Broadcast,
    PointToPoint,
    WebSocketMessage,
    WelcomeMessage,
    session_id,
)


@settings_class
class MinerConnectionSettings(ConnectionSettings):
    """The limits of one session with a validator."""

    auth: AuthSettings = field(default_factory=AuthSettings)
    tls: MinerTlsSettings = field(default_factory=MinerTlsSettings)


@dataclass(slots=True)
class MinerConnectionState(ConnectionState):
    """Where the miner is in each validator's stream, and which schemes the metagraph says."""

    positions: dict[Hotkey, Position] = field(default_factory=dict)
    pins_schemes: bool = True
    listed: dict[Hotkey, Scheme] = field(default_factory=dict)
    tls: TlsKnowledge = field(default_factory=TlsKnowledge)


class MinerConnectionActor(StreamFollower, TlsFollower, ConnectionActor):
    """Speaks with a validator only after its welcome has been verified."""

    Settings = MinerConnectionSettings
    State = MinerConnectionState
    settings: MinerConnectionSettings
    state: MinerConnectionState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, envelope: Envelope) -> None:
        super().begin(event, envelope)
        self.state.pins_schemes = not event.is_of_0_1

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        super().reload(event, envelope)
        self._leave_other_schemes()
        for session in list(self.state.sessions.values()):
            if session.stage is Stage.ACTIVE and not self.may_go_on(session.hotkey, session.tls_key):
                self._close(session, CloseCode.NORMAL, "tls.mode or tls.keys has changed")

    @on(MetagraphSynced)
    def know_schemes(self, event: MetagraphSynced, _: Envelope) -> None:
        self.state.listed = {neuron.hotkey: neuron.crypto for neuron in event.neurons if neuron.crypto is not None}
        self._leave_other_schemes()

    @on(ConnectionOpened)
    def await_welcome(self, event: ConnectionOpened, envelope: Envelope) -> None:
        self.state.sessions[event.connection] = Session(
            connection=event.connection,
            hotkey=event.hotkey,
            purpose=event.purpose,
            challenge=event.challenge,
            heard_at=envelope.mono,
            budget=Budget(self.settings.burst, envelope.mono),
            scheme=self._pinned(event.hotkey),
            tls_key=event.tls_key,
            vouched=event.vouched,
        )
        deadline = Micros(envelope.mono + micros(self.settings.greeting_timeout))
        self.set_timer("greeting", deadline, event.connection)

    @on_timer("greeting")
    def lose_patience(self, connection: ConnectionId, _: Envelope) -> None:
        session = self.state.sessions.get(connection)
        if session is not None and session.stage is Stage.GREETING:
            reason = f"no valid welcome within {self.settings.greeting_timeout:g} s"
            self._close(session, CloseCode.PROTOCOL_VIOLATION, reason)

    def _activate(self, session: Session, first: WebSocketMessage) -> None:
        self.cancel_timer("greeting", session.connection)
        if isinstance(first, WelcomeMessage) and not self._trusts(session, first):
            return
        session.become(Stage.ACTIVE)
        if session.purpose != "session":
            return  # an exchange sends nothing more
        self.state.present[session.hotkey] = session.connection
        # protocol, "Handshake": the miner sends a heartbeat at once, by which the validator activates the session
        self._write(session, heartbeat_message(self.state.positions.get(session.hotkey)))
        self.publish(
            SessionActivated(session.connection, session.hotkey, session.uid, session.session, bool(session.tls_key))
        )

    def _trusts(self, session: Session, welcome: WelcomeMessage) -> bool:
        """Whether to go on, by the key that this signed welcome names; otherwise the session is closed."""
        named = "" if welcome.tls_key is UNSET else welcome.tls_key
        assert isinstance(named, str)  # noqa: S101 - for the type checker
        try:
            tls = self.conclude(session.hotkey, named, session.tls_key, vouched=session.vouched)
        except Untrusted as fault:
            self.publish(CertificateDoubted(session.hotkey, str(fault)))
            self._close(session, CloseCode.PROTOCOL_VIOLATION, str(fault))
            return False
        self.tell_learned(session.hotkey, tls)
        if tls is None or session.tls_key or session.purpose != "session":
            return True
        self._close(session, CloseCode.NORMAL, DIALLED_BY_TLS)
        return False

    def _forgotten(self, session: Session) -> None:
        self.cancel_timer("greeting", session.connection)

    def _pinned(self, validator: Hotkey) -> Scheme:
        return pinned_scheme(validator, self.settings.auth.schemes, self.state.listed.get(validator))

    def _leave_other_schemes(self) -> None:
        """End the sessions with validators that must sign by another scheme from now on."""
        if not self.state.pins_schemes:
            return
        for session in list(self.state.sessions.values()):
            pinned = self._pinned(session.hotkey)
            if session.stage is not Stage.CLOSING and session.scheme != pinned:
                reason = f"this validator's scheme is {pinned} from now on: see auth.schemes"
                self._close(session, CloseCode.PROTOCOL_VIOLATION, reason)

    def _in_order(self, session: Session, message: WebSocketMessage) -> bool:
        if not super()._in_order(session, message):
            return False
        if session.stage is not Stage.GREETING or not isinstance(message, WelcomeMessage):
            return True
        if message.crypto == session.scheme:
            return True
        fault = f"the welcome names {message.crypto}, and this validator's scheme is {session.scheme} here"
        self._violation(session, f"{fault}: see auth.schemes", CloseCode.PROTOCOL_VIOLATION)
        return False

    def _of_session(self, session: Session, message: PointToPoint) -> bool:
        if session.stage is Stage.ACTIVE:
            return message.session == session.session
        return isinstance(message, WelcomeMessage) and self._adopt(session, message)

    def _adopt(self, session: Session, welcome: WelcomeMessage) -> bool:
        """Take the session id from a welcome that is for us and for this very request; False for any other.

        Its signature is still to be checked: if it is bad, the session ends.
        """
        mine = session_id(self.state.netuid, session.hotkey, self.state.hotkey, session.challenge, welcome.salt)
        if (
            welcome.receiver_hotkey != self.state.hotkey
            or welcome.challenge != session.challenge
            or welcome.netuid != self.state.netuid
            or welcome.session != mine
        ):
            return False
        session.session = mine
        if not self.state.pins_schemes:
            session.scheme = welcome.crypto
        return True

    def _takes_broadcast(self, session: Session, message: WebSocketMessage) -> bool:
        if session.stage is Stage.ACTIVE and (
            not isinstance(message, Broadcast) or message.netuid == self.state.netuid
        ):
            return True
        self._violation(session, "a broadcast before the welcome, or of another subnet", CloseCode.PROTOCOL_VIOLATION)
        return False
