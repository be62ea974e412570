"""uvicorn's WebSocket, with the limits that a public port needs: frames go from the socket to the bus without ASGI."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State

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
from bettensor.neurons.edges.frame_limits import MAX_EXTRA_FRAMES, MAX_FRAGMENTS, MAX_LATE_BYTES, SLICE, FrameLimits
from bettensor.neurons.edges.inbox import Inbox
from bettensor.neurons.edges.lease import CLOSE_TIMEOUT, Lease
from bettensor.neurons.edges.outlet import Outlet
from bettensor.neurons.edges.reading_watch import ReadingWatch
from bettensor.neurons.edges.shared_frames import Frames, Message, Written, size_of
from bettensor.neurons.edges.writer import TransportGone

MAX_LATE_FRAMES: Final = 10_000
"""Frames read between our close and the peer's answer: as many as an honest peer may have under way."""
_BEGINNING: Final = 64
"""Bytes that are kept of a frame that is none."""
_INBOX: Final = "inbox"
"""The cause for which a session is not read while its earlier frames wait."""
_MAX_REASON: Final = 123
"""Bytes of a close reason (RFC 6455, section 5.5)."""


class SendLimits(NamedTuple):
    """The limits of a slow reader."""

    queue_bytes: int
    """Bytes of its own frames that may wait for it; beyond, its session ends with 4101."""
    timeout: float
    """Seconds for which it may read nothing while bytes wait; then its session ends with 4101."""


class Sending(NamedTuple):
    """How frames are sent to the sessions of one port, which share it."""

    limits: SendLimits
    outlet: Outlet
    packs: bool
    """Whether large shared frames are sent in their compressed form."""


@dataclass(slots=True, eq=False)
class Parcel:
    """Shared frames that a session was given together."""

    frames: Frames
    written: Written | None
    sent: int = 0
    """Frames that its transport has taken."""
    size: int = 0
    """Their bytes."""

    @property
    def left(self) -> int:
        """Bytes of the other frames, as text."""
        return sum(frame.size for frame in self.frames[self.sent :])


class SessionProtocol(ReadingWatch, FrameLimits, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which after activation talks directly to the bus.

    It has two kinds of frames to send. Its own go to the transport at once, and wait there. Shared ones wait here, as
    references, and go when the transport's buffer has drained. Between the two kinds the protocol promises no order.
    """

    road: Road = "websocket"
    lease: Lease
    """The connection, which has had a deadline until here."""
    _connection: ConnectionId | None = None
    """Once it is attached, and until it has ended."""
    _late_frames = 0
    _is_full = False
    """Whether the bus was told that the peer reads more slowly than we write."""
    _has_turn = False
    """Whether ``_step`` will be called."""
    _before = 0
    """Bytes that had filled the buffer when it became full; only bytes beyond them can be too many."""
    _late_bytes = 0
    _pauses: frozenset[str] = frozenset()
    """Why nothing is read from the socket."""
    _unparsed = b""
    """What was read from the socket, and waits until earlier frames are handed over."""
    _is_expiring = False
    """Whether its socket will be aborted, because the session is about to end."""

    def connection_made(self, transport: Any) -> None:
        before = transport.get_protocol()  # whose connection this one takes over
        self.lease = before.lease
        super().connection_made(transport)
        self.client = before.client

    def attach(self, bus: EventBus, inbox: Inbox, sending: Sending, connection: ConnectionId) -> None:
        """Turn frames into events of ``connection`` from now on."""
        self.lease.begin_session()
        self._bus = bus
        self._inbox = inbox
        self._sending = sending
        self._connection = connection
        self._parcels: list[Parcel] = []

    @property
    def packs(self) -> bool:
        """Whether it sends shared frames in their compressed form."""
        return self._sending.packs

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
        if self._connection is None:  # RFC 6455, 4.1: it has to wait for our answer
            self.transport.abort()
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
        return size + sum(parcel.left for parcel in list(self._parcels))

    def write(self, data: bytes) -> None:
        """Queue one text frame of this session's own.

        Raises:
            TransportGone: the session has ended, or its reader is too slow.
        """
        self._check_open()
        if self.transport.get_write_buffer_size() > self._before + self._sending.limits.queue_bytes:
            self.end(CloseCode.SLOW_CONSUMER, f"{self._sending.limits.queue_bytes} bytes wait to be read")
            raise TransportGone("the reader is too slow")
        self.conn.send_text(data)
        self._hand_over((b"".join(self.conn.data_to_send()),))

    def share(self, frames: Frames, written: Written | None = None) -> None:
        """Queue shared frames, each as one message; one that can be sent at once is.

        Raises:
            TransportGone: the session has ended.
        """
        self._check_open()
        at_once = len(frames) == 1 and not self._parcels and self.writable.is_set()
        self._parcels.append(Parcel(frames, written))
        if at_once:
            self._write_next()
        else:
            self._sending.outlet.hold(frames, self)
            self._take_turns()

    def give_up(self, reason: str) -> None:
        """End the session: its peer is too slow for what waits."""
        self.end(CloseCode.SLOW_CONSUMER, reason)

    def _check_open(self) -> None:
        if self.transport.is_closing() or self.conn.state is not State.OPEN:
            raise TransportGone("the connection has ended")

    def _hand_over(self, message: Message) -> None:
        if self._watch is not None:
            self._mark += size_of(message)
        for piece in message:  # not by writelines, at which asyncio of Python 3.12.0 to 3.12.8 pauses nobody
            self.transport.write(piece)

    def _take_turns(self) -> None:
        if self._parcels and self.writable.is_set() and not self._has_turn:
            self._has_turn = True
            self._sending.outlet.turns.join(self._step)

    def _step(self) -> bool:
        """Write the next shared frame; whether one more can follow."""
        if self._may_share():
            self._write_next()
        self._has_turn = self._may_share()
        return self._has_turn

    def _may_share(self) -> bool:
        return bool(self._parcels) and self.writable.is_set() and not self.transport.is_closing()

    def _write_next(self) -> None:
        parcel = self._parcels[0]
        frame = parcel.frames[parcel.sent]
        message = frame.packed if self.packs else frame.text
        parcel.sent += 1
        parcel.size += size_of(message)
        self._hand_over(message)
        if parcel.sent == len(parcel.frames) and parcel in self._parcels:
            self._parcels.remove(parcel)
            self._sending.outlet.release(parcel.frames, self)
            if parcel.written is not None:
                parcel.written(parcel.size)
            self._tell_drained()

    def _drop_parcels(self) -> None:
        """Forget all shared frames that wait, in the middle of an update perhaps: the session ends."""
        parcels, self._parcels = self._parcels, []
        for parcel in parcels:
            self._sending.outlet.release(parcel.frames, self)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        super().pause_writing()
        self._before = self.transport.get_write_buffer_size()
        if self._connection is not None and not self._is_full:
            self._is_full = True
            self._bus.publish(SendQueueFilled(self._connection))

    def resume_writing(self) -> None:
        """The peer has read what was in the socket's buffer."""
        super().resume_writing()
        self._before = 0
        if self._connection is not None:
            self._take_turns()
            self._tell_drained()

    def _tell_drained(self) -> None:
        if self._connection is not None and self._is_full and not self._parcels and self.writable.is_set():
            self._is_full = False
            self._bus.publish(SendQueueDrained(self._connection))

    def _reading_timeout(self) -> float:
        return CLOSE_TIMEOUT if self._connection is None else self._sending.limits.timeout

    def _stalled(self) -> None:
        """A peer that reads nothing is disconnected, and is not waited for if that was asked for already."""
        if self._connection is not None and not self.close_sent and not self.transport.is_closing():
            self.end(CloseCode.SLOW_CONSUMER, f"nothing read for {self._sending.limits.timeout:g} s")
        else:
            self.transport.abort()

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
        self._drop_parcels()
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
        if not self._is_expiring and not self.disconnected:
            self._is_expiring = True
            self.lease.until(CLOSE_TIMEOUT)

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
        self.lease.end()
        super().connection_lost(exc)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._drop_parcels()
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
