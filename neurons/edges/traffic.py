"""The lines of the levels DEBUG and TRACE: the traffic with each peer, and every event.

At any other level nothing is subscribed, so that these lines cost nothing. They are written past the bus: the logbook
decides the lines of all other levels, and a recorded log does not depend on the level.
"""

import re
from typing import Final

from bettensor.bus.bus import EVERYTHING, EventBus
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BroadcastWritten,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    DialRequested,
    Event,
    FrameReceived,
    FrameWritten,
    GamesRequested,
    HttpAnswered,
    HttpRequestReceived,
    LineLogged,
    PeerAuthenticated,
    PostAnswered,
    PostRequested,
    QueryAdmitted,
    QueryReceived,
    SlateWritten,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.messages import KINDS, WebSocketMessage
from bettensor.bus.subscriber import Subscriber
from bettensor.bus.text import printable
from bettensor.neurons.config.settings import LoggingSettings
from bettensor.neurons.edges.edge import Edge, on
from bettensor.neurons.edges.log import LogLines

LEVELS: Final = ("TRACE", "DEBUG")
"""The levels at which traffic is written; at the first one every event too."""
_NAMED: Final = re.compile(rb'"message_type":\s*"([^"\n]{1,40})"')


class TrafficLines(Edge):
    """Subscribes the lines of a neuron's traffic when its level asks for them."""

    name = "traffic"

    def __init__(self, settings: LoggingSettings, lines: LogLines | None = None) -> None:
        """
        Args:
            settings: with the level at the start.
            lines: writes the lines; None: an operator's own edge writes the log, and gets none of these.
        """
        self._level: str = settings.level
        self._lines = lines
        self._subscribed: set[str] = set()

    def attach(self, bus: EventBus) -> None:
        """Subscribe what the level asks for."""
        super().attach(bus)
        self.take(self._level)

    def take(self, level: str) -> None:
        """Obey another level."""
        self._level = level
        if level in LEVELS and "DEBUG" not in self._subscribed:
            self._subscribed.add("DEBUG")
            Traffic(self).attach(self._bus)
        if level == "TRACE" and "TRACE" not in self._subscribed:
            self._subscribed.add("TRACE")
            self._bus.subscribe(EVERYTHING, self._trace, self.name)

    def write(self, level: str, text: str, envelope: Envelope) -> None:
        """Write one line, unless the level has changed meanwhile."""
        if self._lines is not None and self._level in LEVELS[: LEVELS.index(level) + 1]:
            self._lines.line(level, printable(text), envelope)

    def _trace(self, event: Event, envelope: Envelope) -> None:
        if not isinstance(event, LineLogged):
            causes = f", caused by {', '.join(map(str, envelope.causes))}" if envelope.causes else ""
            self.write("TRACE", f"Event {envelope.seq}: {event.topic}{causes}", envelope)


class Traffic(Subscriber):
    """Knows whose connection is whose, and says what is sent and received on each."""

    name = TrafficLines.name

    def __init__(self, edge: TrafficLines) -> None:
        self._edge = edge
        self._peers: dict[ConnectionId, Hotkey] = {}

    @on(HttpRequestReceived)
    def requested(self, event: HttpRequestReceived, envelope: Envelope) -> None:
        what = "handshake" if event.upgrade else f"{event.size} bytes"
        self._line(f"Received {event.method} {event.target} from {event.remote}: {what}", event.connection, envelope)

    @on(QueryReceived)
    def queried(self, event: QueryReceived, envelope: Envelope) -> None:
        self._line(f"Received {event.method} {event.target} from {event.remote}: the head", event.connection, envelope)

    @on(QueryAdmitted)
    def admitted(self, event: QueryAdmitted, envelope: Envelope) -> None:
        self._line(f"Admitted {event.hotkey}", event.connection, envelope)

    @on(HttpAnswered)
    def answered(self, event: HttpAnswered, envelope: Envelope) -> None:
        self._line(f"Answered with status {event.status}: {len(event.body)} bytes", event.connection, envelope)

    @on(PeerAuthenticated)
    def authenticated(self, event: PeerAuthenticated, envelope: Envelope) -> None:
        self._peers[event.connection] = event.hotkey
        self._line(f"Admitted {event.hotkey} (UID: {event.uid})", event.connection, envelope)

    @on(DialRequested)
    def dialled(self, event: DialRequested, envelope: Envelope) -> None:
        self._line(f"Dialling {event.hotkey} at {event.endpoint}", event.connection, envelope)

    @on(DialFailed)
    def not_dialled(self, event: DialFailed, envelope: Envelope) -> None:
        self._line(f"No WebSocket with {event.hotkey}: {event.reason}", event.connection, envelope)

    @on(ConnectionOpened)
    def opened(self, event: ConnectionOpened, envelope: Envelope) -> None:
        self._peers[event.connection] = event.hotkey
        self._line(f"Opened, with {event.hotkey}", event.connection, envelope)

    @on(ConnectionClosed)
    def closed(self, event: ConnectionClosed, envelope: Envelope) -> None:
        self._line(f"Closed: {event.code} {event.reason}".rstrip(), event.connection, envelope)
        self._peers.pop(event.connection, None)

    @on(PostRequested, GamesRequested)
    def asked(self, event: PostRequested | GamesRequested, envelope: Envelope) -> None:
        what = "POST /predictions" if isinstance(event, PostRequested) else "GET /games"
        self._line(f"Sending {what} to {event.hotkey} at {event.endpoint}", event.connection, envelope)

    @on(PostAnswered)
    def exchanged(self, event: PostAnswered, envelope: Envelope) -> None:
        self._line(f"The HTTP exchange with {event.hotkey} is complete", event.connection, envelope)

    @on(FrameReceived)
    def received(self, event: FrameReceived, envelope: Envelope) -> None:
        found = _NAMED.search(event.data)
        kind = found[1].decode(errors="replace") if found else "a frame"
        peer = self._peers.get(event.connection, "a peer")
        self._line(f"Received {kind} from {peer}: {len(event.data)} bytes", event.connection, envelope)

    @on(FrameWritten)
    def written(self, event: FrameWritten, envelope: Envelope) -> None:
        self._line(f"Sent {_kind(event.message)} to {event.hotkey}: {event.size} bytes", event.connection, envelope)

    @on(SlateWritten)
    def brought_up_to_date(self, event: SlateWritten, envelope: Envelope) -> None:
        text = (
            f"Sent the games up to offset {event.offset} to {event.hotkey}: {event.frames} frames, {event.size} bytes"
        )
        self._line(text, event.connection, envelope)

    @on(BroadcastWritten)
    def broadcast(self, event: BroadcastWritten, envelope: Envelope) -> None:
        text = f"Sent {_kind(event.message)} to {event.count} miners: {event.size} bytes each"
        text += f", compressed to {event.packed_size} for {event.packed_count}" if event.packed_count else ""
        self._edge.write("DEBUG", text, envelope)

    def _line(self, text: str, connection: ConnectionId, envelope: Envelope) -> None:
        self._edge.write("DEBUG", f"Connection {connection}: {text}", envelope)


def _kind(message: WebSocketMessage) -> str:
    """The ``message_type`` of ``message``."""
    return next(kind for kind, cls in KINDS.items() if isinstance(message, cls))
