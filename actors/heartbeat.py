"""Keeps sessions alive, and reports peers that have gone silent (protocol, "Heartbeats").

Knows when each peer was last heard. Writes nothing and closes nothing itself: it asks. All by the monotonic clock.
"""

from dataclasses import dataclass, field

from bettensor.actors.actor import on, on_timer
from bettensor.actors.settings import WebSocketSettings, settings_class
from bettensor.actors.stream import StreamFollower, heartbeat_message
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    MessageAccepted,
    NeuronStarted,
    PeerStale,
    Position,
    ReadingPaused,
    ReadingResumed,
    Role,
    SendRequested,
    SessionActivated,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, SessionId, micros
from bettensor.bus.messages import HeartbeatMessage, WelcomeMessage

SHORTEST = Micros(SECOND // 10)
"""The least time between two heartbeats, even if a validator or an operator asks for less."""
LONGEST = 86_400.0
"""Seconds between two heartbeats, at most, that a miner believes a welcome."""
SLOTS = 60
"""Slots of an interval. Sessions of one slot beat together: a timer for each would cost more than its heartbeat."""


@settings_class
class HeartbeatSettings:
    """How often this side is heard, and how long it waits for the other."""

    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)


@dataclass(slots=True)
class Pulse:
    """One session's rhythm."""

    hotkey: Hotkey
    heard_at: Micros
    beats_at: Micros
    interval: Micros
    timeout: Micros
    paused: bool = False
    """We do not read from it, because it waits for too many answers; so it cannot be heard."""
    slowed: bool = False
    """We do not read from it, because it sends too much."""


@dataclass(slots=True)
class HeartbeatState:
    """The pulse of each active session, and how far each stream is known."""

    role: Role = "validator"
    hotkey: Hotkey = Hotkey("")
    pulses: dict[ConnectionId, Pulse] = field(default_factory=dict)
    positions: dict[Hotkey, Position] = field(default_factory=dict)
    wanted: dict[Hotkey, Micros] = field(default_factory=dict)
    """The heartbeat interval that a validator's welcome sets, for a session that is not active yet."""


class HeartbeatActor(StreamFollower):
    """Beats for every session, on validator and miner alike."""

    name = "heartbeat"
    Settings = HeartbeatSettings
    State = HeartbeatState
    settings: HeartbeatSettings
    state: HeartbeatState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.role, self.state.hotkey = event.role, event.hotkey

    @on(MessageAccepted)
    def hear(self, event: MessageAccepted, envelope: Envelope) -> None:
        if isinstance(event.message, WelcomeMessage):
            self.state.wanted[event.hotkey] = micros(min(event.message.heartbeat_interval, LONGEST))
        pulse = self.state.pulses.get(event.connection)
        if pulse is None:
            return
        pulse.heard_at = envelope.mono
        is_soon_due = pulse.beats_at - envelope.mono <= pulse.interval // 2
        if self.state.role == "miner" and isinstance(event.message, HeartbeatMessage) and is_soon_due:
            self._beat(event.connection, pulse, envelope)  # with the others of its validator's slot

    @on(SessionActivated)
    def start(self, event: SessionActivated, envelope: Envelope) -> None:
        websocket = self.settings.websocket
        interval, timeout = micros(websocket.heartbeat_interval), micros(websocket.connection_timeout)
        wanted = self.state.wanted.pop(event.hotkey, interval)
        # a validator that wants to hear from us more often gets its way; one that speaks less often gets its time
        rhythm, patience = max(SHORTEST, min(interval, wanted)), max(timeout, 2 * wanted)
        first = _slot(envelope.mono + _share(event.session, rhythm), rhythm)
        pulse = Pulse(event.hotkey, envelope.mono, first, rhythm, Micros(patience))
        self.state.pulses[event.connection] = pulse
        self._schedule(event.connection, pulse)

    @on_timer("beat")
    def beat(self, connection: ConnectionId, envelope: Envelope) -> None:
        pulse = self.state.pulses[connection]
        if pulse.paused or pulse.slowed:
            pulse.heard_at = envelope.mono
        silence = Micros(envelope.mono - pulse.heard_at)
        if silence >= pulse.timeout:
            self.publish(PeerStale(connection, pulse.hotkey, silence))
            reason = f"nothing heard for {silence / SECOND:.0f} s"
            self.publish(CloseRequested(connection, CloseCode.STALE, reason))
            return
        if envelope.mono >= pulse.beats_at:
            self._beat(connection, pulse, envelope)
        self._schedule(connection, pulse)

    @on(ReadingPaused, ReadingResumed)
    def note_reading(self, event: ReadingPaused | ReadingResumed, envelope: Envelope) -> None:
        pulse = self.state.pulses.get(event.connection)
        if pulse is None:
            return
        pulse.heard_at, is_paused = envelope.mono, isinstance(event, ReadingPaused)
        if event.cause == "work":
            pulse.slowed = is_paused
        else:
            pulse.paused = is_paused

    @on(ConnectionClosed, CloseRequested)
    def forget(self, event: ConnectionClosed | CloseRequested, _: Envelope) -> None:
        if self.state.pulses.pop(event.connection, None) is not None:
            self.cancel_timer("beat", event.connection)

    def _beat(self, connection: ConnectionId, pulse: Pulse, envelope: Envelope) -> None:
        pulse.beats_at = _slot(envelope.mono + pulse.interval, pulse.interval)
        self.publish(SendRequested(pulse.hotkey, self._heartbeat(pulse.hotkey), connection))

    def _schedule(self, connection: ConnectionId, pulse: Pulse) -> None:
        self.set_timer("beat", min(pulse.beats_at, Micros(pulse.heard_at + pulse.timeout)), connection)

    def _heartbeat(self, peer: Hotkey) -> HeartbeatMessage:
        stream = self.state.hotkey if self.state.role == "validator" else peer
        return heartbeat_message(self.state.positions.get(stream))


def _slot(moment: int, interval: Micros) -> Micros:
    """The beginning of the slot in which ``moment`` is."""
    return Micros(moment * SLOTS // interval * interval // SLOTS)


def _share(session: SessionId, interval: Micros) -> Micros:
    """A place within the interval, another for each session, so that those who came together do not beat together."""
    return Micros(int(session[:8], 16) * interval >> 32)
