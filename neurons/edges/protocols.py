"""HTTP and WebSocket as uvicorn speaks them, with the limits that a public port needs.

A request has deadlines, and frames of an open session go from the socket to the bus without ASGI.
"""

import asyncio
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
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
from bettensor.neurons.edges.writer import TransportGone

REQUEST_TIMEOUT: Final = 10.0
"""Seconds within which a request must be there, from the socket's first byte, or its opening, to the body's last."""
ANSWER_TIMEOUT: Final = 20.0
"""Seconds within which the answer to a request must have been taken: a miner waits 15 for the whole exchange."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a peer has to answer our close; then its socket is aborted, read or not."""
MAX_LATE_FRAMES: Final = 10_000
"""Frames that are read between our close and its answer: what may honestly be under way when we close."""
MAX_TOGETHER: Final = 64
"""Frames that the bus takes at a time: 3 ms, in which nothing else is done."""
_MAX_REASON: Final = 123
"""Bytes of a close reason (RFC 6455, section 5.5)."""


class SendLimits(NamedTuple):
    """What a slow reader may cost."""

    queue_bytes: int
    """Bytes that may wait for it; then its session ends with 4101."""
    timeout: float
    """Seconds for which its socket may take nothing; then the same."""


class Inbox:
    """What sessions hear in one turn of the event loop, which the bus then takes together."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        """Soon on the bus, after all that was put before."""
        self._events.append(event)
        if len(self._events) == 1:
            self._loop.call_soon(self.flush)
        elif len(self._events) >= MAX_TOGETHER:
            self.flush()

    def flush(self) -> None:
        """On the bus now."""
        events, self._events = self._events, []
        with self._bus.together():
            for event in events:
                self._bus.publish(event)


class OutOfTurn(Exception):
    """A request that comes before the answer to the one before; the parser takes it for one that cannot be read."""


class RequestProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with deadlines for sending the request and for reading the answer.

    One request at a time: uvicorn makes room for many pipelined requests with each one that it answers.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT, transport.abort)
        self._patience: asyncio.TimerHandle | None = None

    def on_message_complete(self) -> None:
        self._deadline.cancel()
        super().on_message_complete()

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            raise OutOfTurn
        super().on_message_begin()
        self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._forget_patience()
        self._patience = self.loop.call_later(ANSWER_TIMEOUT, self._give_up)

    def _give_up(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def handle_websocket_upgrade(self) -> None:
        self._deadline.cancel()
        self._forget_patience()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._forget_patience()
        super().connection_lost(exc)


class SessionProtocol(FrameLimits, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which from its activation on talks to the bus and not to a coroutine."""

    road: Road = "websocket"
    _late_frames = 0

    def attach(self, bus: EventBus, inbox: Inbox, connection: ConnectionId, limits: SendLimits) -> None:
        """From now on frames become events of ``connection``."""
        self._bus = bus
        self._inbox = inbox
        self._connection: ConnectionId | None = connection
        self._limits = limits
        self._patience: asyncio.TimerHandle | None = None

    def forget_handshake(self) -> None:
        """It is over, and its headers, as text, as bytes and in the answer, would be a third of what is held."""
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
        if self.close_sent:  # until it is answered: what comes before has no verdict, and no place in a log
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
        """We ask for none."""
        self._is_flooded()

    def handle_ping(self) -> None:
        """RFC 6455, 5.5.2: who sends many pings may get a pong for the last one only. Who does not read gets none."""
        if not self._is_flooded() and self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def _is_flooded(self) -> bool:
        """Count a frame that is no message; True where the session is at its end, perhaps by this one."""
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
        """Bytes that were taken and not sent yet."""
        size: int = self.transport.get_write_buffer_size()
        return size

    def write(self, data: bytes) -> None:
        """One text frame.

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
        """The socket takes no more: a peer that does not read gets some time, and then is given up."""
        super().pause_writing()
        connection: ConnectionId | None = getattr(self, "_connection", None)
        if connection is not None:
            reason = f"nothing read for {self._limits.timeout:g} s"
            self._patience = self.loop.call_later(self._limits.timeout, self.end, CloseCode.SLOW_CONSUMER, reason)
            self._bus.publish(SendQueueFilled(connection))

    def resume_writing(self) -> None:
        """It reads on."""
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
        """Take frames from the socket, or leave them there."""
        if self.transport.is_closing():
            return
        if on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def end(self, code: int, reason: str) -> None:
        """Close, and abort the socket if the peer does not follow."""
        if self.close_sent or self.transport.is_closing():
            return
        self.read(on=True)  # the peer's answer is still to come
        self.conn.send_close(code, _cut(reason))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
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
