"""uvicorn's WebSocket, with the limits that a public port needs: frames go from the socket to the bus without ASGI."""

import asyncio
from typing import Any, Final, NamedTuple

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from bettensor.bus.bus import EventBus
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    BinaryReceived,
    ConnectionClosed,
    Event,
    FrameReceived,
    Road,
    SendQueueDrained,
    SendQueueFilled,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.neurons.edges.frame_limits import MAX_EXTRA_FRAMES, MAX_FRAGMENTS, FrameLimits
from bettensor.neurons.edges.lease import CLOSE_TIMEOUT, Lease
from bettensor.neurons.edges.writer import TransportGone

MAX_LATE_FRAMES: Final = 10_000
"""Frames read between our close and the peer's answer: as many as an honest peer may have under way."""
MAX_TOGETHER: Final = 64
"""Frames that the bus takes at a time: 3 ms, during which the loop does nothing else."""
_MAX_REASON: Final = 123
"""Bytes of a close reason (RFC 6455, section 5.5)."""


class SendLimits(NamedTuple):
    """The limits of a slow reader."""

    queue_bytes: int
    """Bytes that may wait for it; beyond, its session ends with 4101."""
    timeout: float
    """Seconds for which its socket may take nothing; then its session ends with 4101."""


class Inbox:
    """Collects the frames of one turn of the event loop, and hands them to the bus together."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        """Publish it soon, after all events that were put before."""
        self._events.append(event)
        if len(self._events) == 1:
            self._loop.call_soon(self.flush)
        elif len(self._events) >= MAX_TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Publish everything now."""
        events, self._events = self._events, []
        with self._bus.together():
            for event in events:
                self._bus.publish(event)


class SessionProtocol(FrameLimits, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which after activation talks directly to the bus."""

    road: Road = "websocket"
    lease: Lease
    """The connection, which has had a deadline until here."""
    _late_frames = 0

    def attach(self, bus: EventBus, inbox: Inbox, connection: ConnectionId, limits: SendLimits) -> None:
        """Turn frames into events of ``connection`` from now on."""
        self.lease.begin_session()
        self._bus = bus
        self._inbox = inbox
        self._connection: ConnectionId | None = connection
        self._limits = limits
        self._patience: asyncio.TimerHandle | None = None

    def forget_handshake(self) -> None:
        """Free the handshake's headers: as text, as bytes and in the answer, they are a third of a session's memory."""
        self.scope["headers"] = []
        self.request.headers.clear()
        self.response.headers.clear()

    async def run_asgi(self) -> None:
        self._connection = None
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["bettensor"] = self
        await super().run_asgi()

    def send_receive_event_to_app(self) -> None:
        if self._connection is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:  # until the close is answered: earlier frames get no verdict, and stay out of the log
            self._late()
            return
        if self.curr_msg_data_type == "text":
            self._inbox.put(FrameReceived(self._connection, data))
        else:
            self._inbox.put(BinaryReceived(self._connection, len(data)))

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self.end(CloseCode.TOO_BIG, f"more than {MAX_FRAGMENTS} fragments")
            return
        if not self._is_flooded():
            super().handle_cont(event)

    def handle_pong(self, _: Frame) -> None:
        """Ignore it: we send no pings."""
        self._is_flooded()

    def handle_ping(self) -> None:
        """RFC 6455, 5.5.2: of many pings only the last may get a pong. A peer that does not read gets none."""
        if not self._is_flooded() and self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def _is_flooded(self) -> bool:
        """Count a control or continuation frame; True if the session has ended, perhaps by this one."""
        if self.close_sent:
            self._late()
            return True
        if self._count_extra() > MAX_EXTRA_FRAMES:
            self.end(CloseCode.RATE_LIMITED, f"more than {MAX_EXTRA_FRAMES} pings, pongs and continuations a second")
        return self.close_sent

    def _late(self) -> None:
        self._late_frames += 1
        if self._late_frames > MAX_LATE_FRAMES:
            self.transport.abort()

    def queued(self) -> int:
        """Bytes that were accepted and not sent yet."""
        size: int = self.transport.get_write_buffer_size()
        return size

    def write(self, data: bytes) -> None:
        """Queue one text frame.

        Raises:
            TransportGone: the session has ended, or its reader is too slow.
        """
        if self.transport.is_closing():
            raise TransportGone("the connection has ended")
        if self.transport.get_write_buffer_size() > self._limits.queue_bytes:
            self.end(CloseCode.SLOW_CONSUMER, f"{self._limits.queue_bytes} bytes wait to be read")
            raise TransportGone("the reader is too slow")
        try:
            self.conn.send_text(data)
        except InvalidState:
            raise TransportGone("the connection is closing") from None
        self.transport.write(b"".join(self.conn.data_to_send()))

    def pause_writing(self) -> None:
        """The socket's buffer is full: a peer that does not read for ``timeout`` seconds is disconnected."""
        super().pause_writing()
        connection: ConnectionId | None = getattr(self, "_connection", None)
        if connection is not None:
            reason = f"nothing read for {self._limits.timeout:g} s"
            self._patience = self.loop.call_later(self._limits.timeout, self.end, CloseCode.SLOW_CONSUMER, reason)
            self._bus.publish(SendQueueFilled(connection))

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        connection: ConnectionId | None = getattr(self, "_connection", None)
        if connection is not None:
            self._forget_patience()
            self._bus.publish(SendQueueDrained(connection))

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def read(self, *, on: bool) -> None:
        """Start or stop reading frames from the socket."""
        if self.transport.is_closing():
            return
        if on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def end(self, code: int, reason: str) -> None:
        """Close, and abort the socket if the peer does not answer."""
        if self.close_sent or self.transport.is_closing():
            return
        self.read(on=True)  # the peer's answer is still to come
        self.conn.send_close(code, _cut(reason))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lease.end()
        super().connection_lost(exc)
        connection, self._connection = getattr(self, "_connection", None), None
        if connection is not None:
            self._forget_patience()
            close = self.conn.close_sent or self.conn.close_rcvd
            code, reason = (close.code, close.reason) if close is not None else (CloseCode.ABNORMAL, "")
            self._inbox.put(ConnectionClosed(connection, int(code), reason))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn waits for ever for a handshake that the websockets library gave up (too many headers, say)
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()


def _cut(reason: str) -> str:
    return reason.encode()[:_MAX_REASON].decode(errors="ignore")
