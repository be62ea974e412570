"""uvicorn's HTTP and WebSocket, with the limits that a public port needs.

A request has deadlines, and frames of an open session go from the socket to the bus without ASGI.
"""

import asyncio
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from bettensor.bus import codec
from bettensor.bus.bus import EventBus
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    BinaryReceived,
    ConnectionClosed,
    FrameReceived,
    Road,
    SendQueueDrained,
    SendQueueFilled,
    UnsignedReceived,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.neurons.edges.frame_limits import MAX_EXTRA_FRAMES, MAX_FRAGMENTS, SLICE, FrameLimits
from bettensor.neurons.edges.inbox import Inbox
from bettensor.neurons.edges.writer import TransportGone

REQUEST_TIMEOUT: Final = 10.0
"""Seconds within which a request must arrive, from the socket's first byte or its opening to the body's last byte."""
ANSWER_TIMEOUT: Final = 20.0
"""Seconds within which the client must have read the answer: a miner waits 15 for the whole exchange."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds in which a session must end once a side wants it to end: its peer must answer our close, and read what waits
for it. Then its socket is aborted."""
MAX_LATE_FRAMES: Final = 10_000
"""Frames read between our close and the peer's answer: as many as an honest peer may have under way."""
MAX_LATE_BYTES: Final = 10_485_760
"""Bytes of such frames."""
_BEGINNING: Final = 64
"""Bytes that are kept of a frame that is none."""
_INBOX: Final = "inbox"
"""The cause for which a session is not read while its earlier frames wait."""
_MAX_REASON: Final = 123
"""Bytes of a close reason (RFC 6455, section 5.5)."""


class SendLimits(NamedTuple):
    """The limits of a slow reader."""

    queue_bytes: int
    """Bytes that may wait for it; beyond, its session ends with 4101."""
    timeout: float
    """Seconds for which its socket may take nothing; then its session ends with 4101."""


class OutOfTurn(Exception):
    """A request arrived before the earlier one was answered; the parser treats it as unreadable."""


class RequestProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with deadlines for sending the request and for reading the answer.

    One request at a time: uvicorn would buffer many pipelined requests.
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
        if not self.transport.get_write_buffer_size():
            self._forget_patience()
        self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._forget_patience()
        self._patience = self.loop.call_later(ANSWER_TIMEOUT, self._give_up)

    def _give_up(self) -> None:
        """End a connection that has not read its answer, or has sent no request since: uvicorn waits for ever if bytes
        that begin none trickle in.
        """
        if self.transport.get_write_buffer_size() or self.cycle.response_complete:
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
    """uvicorn's WebSocket, which after activation talks directly to the bus."""

    road: Road = "websocket"
    _connection: ConnectionId | None = None
    _late_frames = 0
    _late_bytes = 0
    _pauses: frozenset[str] = frozenset()
    """Why nothing is read from the socket."""
    _unparsed = b""
    """What was read from the socket, and waits until earlier frames are handed over."""
    _deadline: asyncio.TimerHandle | None = None
    """Aborts the socket; set as soon as the session is about to end."""

    def attach(self, bus: EventBus, inbox: Inbox, connection: ConnectionId, limits: SendLimits) -> None:
        """Turn frames into events of ``connection`` from now on."""
        self._bus = bus
        self._inbox = inbox
        self._connection = connection
        self._limits = limits
        self._patience: asyncio.TimerHandle | None = None

    def forget_handshake(self) -> None:
        """Free the handshake's headers: as text, as bytes and in the answer, they are a third of a session's memory."""
        self.scope["headers"] = []
        self.request.headers.clear()
        self.response.headers.clear()

    async def run_asgi(self) -> None:
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
            self._late(len(data))
        elif self.curr_msg_data_type != "text":
            self._inbox.put(BinaryReceived(self._connection, len(data)))
        elif codec.has_form(data):
            self._inbox.put(FrameReceived(self._connection, data))
        else:
            self._inbox.put(UnsignedReceived(self._connection, len(data), data[:_BEGINNING]))

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

    def _late(self, size: int = 0) -> None:
        self._late_frames += 1
        self._late_bytes += size
        if self._late_frames > MAX_LATE_FRAMES or self._late_bytes > MAX_LATE_BYTES:
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
        if self._connection is not None:
            reason = f"nothing read for {self._limits.timeout:g} s"
            self._patience = self.loop.call_later(self._limits.timeout, self.end, CloseCode.SLOW_CONSUMER, reason)
            self._bus.publish(SendQueueFilled(self._connection))

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        if self._connection is not None:
            self._forget_patience()
            self._bus.publish(SendQueueDrained(self._connection))

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def pause(self, cause: str) -> None:
        """Stop reading from the socket for ``cause``, and keep back what was read."""
        if self._connection is not None and not self._is_ending():
            self._inbox.hold(self._connection)
            self._stop_reading(cause)

    def resume(self, cause: str) -> None:
        """Read from the socket again, unless there is another cause not to."""
        if self._connection is None or cause not in self._pauses:
            return
        if self._pauses <= {cause, _INBOX}:
            self._inbox.release(self._connection)
        self._start_reading(cause)

    def go_on(self) -> None:
        """Parse what waits, now that earlier frames are handed over, and read from the socket again."""
        unparsed, self._unparsed = self._unparsed, b""
        self._start_reading(_INBOX)
        if not self.disconnected:
            self.data_received(unparsed)

    def _stop_reading(self, cause: str) -> None:
        if not self._pauses and not self.transport.is_closing():
            self.transport.pause_reading()
        self._pauses |= {cause}

    def _start_reading(self, cause: str) -> None:
        self._pauses -= {cause}
        if not self._pauses and not self.transport.is_closing():
            self.transport.resume_reading()

    def _is_ending(self) -> bool:
        ending: bool = self.close_sent or self.transport.is_closing()
        return ending

    def end(self, code: int, reason: str) -> None:
        """Close, and abort the socket if the peer does not answer."""
        if self._is_ending():
            return
        self._read_for_the_end()
        self.conn.send_close(code, _cut(reason))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._expire()

    def _read_for_the_end(self) -> None:
        """Read whatever there is: the peer's answer is still to come, and frames before it have no verdict."""
        if self._connection is not None:
            self._inbox.drop(self._connection)
        if _INBOX in self._pauses:
            self._pauses = frozenset({_INBOX})
            self.loop.call_soon(self.go_on)
        elif self._pauses:
            self._pauses = frozenset()
            self.transport.resume_reading()

    def _expire(self) -> None:
        """Abort the socket soon. A transport that is closing waits, for ever, until its peer has read everything."""
        if self._deadline is None and not self.disconnected:
            self._deadline = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self.transport.close()  # uvicorn leaves it open after a close of ours, unless it set a timer of its own

    def eof_received(self) -> None:
        self._expire()

    def shutdown(self) -> None:
        super().shutdown()
        self._expire()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if self.transport.is_closing():
            self._expire()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._forget_patience()
            self._unparsed = b""
            close = self.conn.close_sent or self.conn.close_rcvd
            code, reason = (close.code, close.reason) if close is not None else (CloseCode.ABNORMAL, "")
            self._inbox.end(ConnectionClosed(connection, int(code), reason))

    def data_received(self, data: bytes) -> None:
        """Parse ``data``, as long as few enough frames of this session wait."""
        for start in range(0, len(data), SLICE):
            if self._connection is not None and (self._unparsed or self._inbox.is_full(self._connection)):
                self._wait(self._connection, data[start:])
                break
            super().data_received(data[start : start + SLICE])
            if self.transport.is_closing():
                break
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn waits for ever for a handshake that the websockets library gave up (too many headers, say)
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
        if self.transport.is_closing():
            self._expire()

    def _wait(self, connection: ConnectionId, unparsed: bytes) -> None:
        """Keep what cannot be parsed yet, and read no more."""
        self._unparsed += unparsed
        if _INBOX not in self._pauses:
            self._inbox.call(connection, self)
            self._stop_reading(_INBOX)


def _cut(reason: str) -> str:
    return reason.encode()[:_MAX_REASON].decode(errors="ignore")
