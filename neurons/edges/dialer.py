"""The miner's WebSockets to validators, by the websockets library.

Opens, reads and writes a WebSocket. Actors decide when to dial, and whose identity to believe.
"""

import asyncio
import contextlib
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from bettensor.actors.settings import WebSocketSettings
from bettensor.bus import packing
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BettensorError, Unreadable
from bettensor.bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    DialRequested,
    FrameReceived,
    Road,
    Tls,
)
from bettensor.bus.identifiers import ConnectionId, Micros
from bettensor.bus.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from bettensor.neurons.edges.edge import Edge, Identity, RequestSigner, Transports, on
from bettensor.neurons.edges.frame_limits import MAX_EXTRA_FRAMES, MAX_FRAGMENTS, MAX_LATE_BYTES, FrameLimits
from bettensor.neurons.edges.http_answers import read_retry_after
from bettensor.neurons.edges.intake import Flooded, Intake
from bettensor.neurons.edges.refusals import read_refusal
from bettensor.neurons.edges.tasks import Tasks
from bettensor.neurons.edges.tls import Shown, by_tls, tls_trouble, wants_tls
from bettensor.neurons.edges.writer import TransportGone

OPEN_TIMEOUT: Final = 10.0
"""Seconds for a handshake."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds in which a validator must answer our close."""
MAX_QUEUED: Final = 64 * 1024 * 1024
"""Bytes that may wait for one validator: enough for a full outbox and a slow reader."""
MAX_PONGS_WAITING: Final = 1024 * 1024
"""Bytes that a validator may leave unread in the socket's buffer. At most two of our own frames are in it, so anything
above this is pongs, the answers to endless pings."""
MIN_FRAME_BYTES: Final = 134
"""Bytes of the shortest frame: ``{}``, a newline and a signature. Shorter ones cost their sender almost nothing."""


class _Socket(FrameLimits, ClientConnection):
    """The library's WebSocket, with limits on frames that cost the peer next to nothing."""

    _fragments = 0
    _late_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.protocol.state in (State.CLOSING, State.CLOSED):
            self._late_bytes += len(data)
        if self.protocol.handshake_exc is not None or self._late_bytes > MAX_LATE_BYTES:
            self.transport.abort()  # the library would read on for as long as the other side sends
        elif self.transport.get_write_buffer_size() > MAX_PONGS_WAITING:
            self.give_up(CloseCode.SLOW_CONSUMER, "it sends pings and does not read the pongs")

    def process_event(self, event: Frame | Response) -> None:  # type: ignore[override]
        if isinstance(event, Frame):
            if event.opcode not in (Opcode.TEXT, Opcode.BINARY) and self._count_extra() == MAX_EXTRA_FRAMES:
                text = f"more than {MAX_EXTRA_FRAMES} pings, pongs and continuations a second"
                self.give_up(CloseCode.RATE_LIMITED, text)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._fragments = 0 if event.fin else self._fragments + 1
            if event.opcode is Opcode.TEXT and event.fin and len(event.data) < MIN_FRAME_BYTES:
                self.give_up(CloseCode.PROTOCOL_VIOLATION, "a frame that is too short to be one")
                return
            if self._fragments == MAX_FRAGMENTS:
                self.give_up(CloseCode.TOO_BIG, f"more than {MAX_FRAGMENTS} fragments")
            if self._fragments >= MAX_FRAGMENTS:
                return
        super().process_event(event)

    def give_up(self, code: CloseCode, reason: str) -> None:
        """End the session without waiting for the validator."""
        self.protocol.fail(code, reason)
        self.send_data()
        self.transport.abort()


class Dialled:
    """One open WebSocket. Frames are queued, and written in order by a task."""

    road: Road = "websocket"
    packs = False

    def __init__(self, socket: _Socket) -> None:
        self._socket = socket
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._queued = 0
        self._close: tuple[int, str] | None = None
        self._writer = asyncio.create_task(self._write_all(), name="dialled writer")

    def write(self, data: bytes) -> None:
        """Queue one text frame.

        Raises:
            TransportGone: the session has ended, or its reader is too slow.
        """
        if self._writer.done() or self._close is not None:
            raise TransportGone("the connection has ended")
        if self.queued() > MAX_QUEUED:
            self.end(CloseCode.SLOW_CONSUMER, f"{MAX_QUEUED} bytes wait to be read")
            raise TransportGone("the reader is too slow")
        self._frames.put_nowait(data)
        self._queued += len(data)

    def queued(self) -> int:
        """Bytes that were accepted and not sent yet."""
        unsent: int = self._socket.transport.get_write_buffer_size()
        return self._queued + unsent

    @property
    def ending(self) -> bool:
        """Whether we have requested the close."""
        return self._close is not None

    def end(self, code: int, reason: str) -> None:
        """Close, after the queued frames. The socket of a peer that reads nothing or does not answer is abandoned."""
        self._close = code, reason
        self._frames.put_nowait(b"")
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._socket.transport.abort)

    def abandon(self, code: CloseCode, reason: str) -> None:
        """Close at once, and wait for nothing."""
        self._close = code, reason
        self._socket.give_up(code, reason)

    def ended(self) -> tuple[int, str]:
        """Code and reason: the peer's, or ours if it gave none."""
        protocol = self._socket.protocol
        close = protocol.close_rcvd or protocol.close_sent
        if close is not None:
            return int(close.code), close.reason
        return (CloseCode.ABNORMAL, "") if self._close is None else self._close

    async def stop(self) -> None:
        """End the writing task."""
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)

    async def _write_all(self) -> None:
        try:
            while data := await self._frames.get():
                await self._socket.send(data, text=True)
                self._queued -= len(data)
        except SocketClosed:
            return  # the reading task reports the end
        if self._close is not None:
            await self._socket.close(*self._close)


class _NoSubprotocol(InvalidHandshake):
    """The answer does not say that the other side speaks bettensor/1."""


class _Handshake(connect):
    """Follows no redirect: the metagraph names the validator's address, and any other answer is a refusal."""

    def __init__(self, tls: Tls | None, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tls = tls
        self.shown = Shown()

    async def create_connection(self) -> ClientConnection:
        """Open the socket. By TLS nothing is sent before its certificate has been looked at."""
        if self._tls is None:
            return await super().create_connection()
        connection, self.shown = await by_tls(self._tls, self._connect)
        return connection

    async def _connect(self, **options: Any) -> ClientConnection:
        self.connection_kwargs = self.connection_kwargs | options
        return await super().create_connection()

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Dialer(Edge):
    """Opens the requested WebSockets, and reads each until it ends."""

    name = "dialer"

    def __init__(
        self,
        websocket: WebSocketSettings,
        identity: Identity,
        signer: RequestSigner,
        transports: Transports,
        intake: Intake,
        clock: Clock,
    ) -> None:
        self._netuid = identity.netuid
        self._unpacks = websocket.compression
        self._signer = signer
        self._transports = transports
        self._intake = intake
        self._clock = clock
        self._open: dict[ConnectionId, Dialled] = {}

    def attach(self, bus: EventBus) -> None:
        """Subscribe. Dials and sessions are separate tasks, because they end differently."""
        super().attach(bus)
        self._dials = self._tasks
        self._sessions = Tasks(bus, self.name)

    @on(DialRequested)
    def dial(self, event: DialRequested, _: Envelope) -> None:
        """Answered by ``ConnectionOpened`` or ``DialFailed``."""
        self._dials.start(self._dial(event), f"dial to {event.hotkey}")

    @on(CloseRequested)
    def end(self, event: CloseRequested, _: Envelope) -> None:
        """Answered by ``ConnectionClosed``."""
        dialled = self._open.get(event.connection)
        if dialled is not None:
            dialled.end(event.code, event.reason)

    async def close(self) -> None:
        """Give closing sessions their time, and end the others."""
        await self._dials.cancel()
        await self._sessions.settle(CLOSE_TIMEOUT)
        await self._sessions.cancel()

    async def _dial(self, event: DialRequested) -> None:
        target = f"/ws?netuid={self._netuid}"
        if event.position is not None:
            target += f"&epoch={event.position.epoch}&offset={event.position.offset}"
        if self._unpacks:
            target += f"&encoding={packing.DEFLATE}"
        headers = self._signer.sign_request("GET", target, b"", event.hotkey)
        try:
            socket, shown = await shake_hands(event, target, headers)
        except InvalidStatus as refusal:
            self._bus.publish(_refused(event, refusal, self._clock.wall()))
        except (
            OSError,
            TimeoutError,
            BettensorError,
            WebSocketException,
            ValueError,
        ) as error:  # ValueError: no address
            reason = f"{event.endpoint}: {str(error) or type(error).__name__}"
            trouble = tls_trouble(error, is_plain=event.tls is None, is_no_http=isinstance(error, InvalidMessage))
            self._bus.publish(DialFailed(event.connection, event.hotkey, reason, tls=trouble))
        else:
            session = self._read(event, socket, headers["X-Bittensor-Nonce"], shown)
            self._sessions.start(session, f"session with {event.hotkey}")

    async def _read(self, event: DialRequested, socket: _Socket, challenge: str, shown: Shown) -> None:
        connection = event.connection
        dialled = self._open[connection] = Dialled(socket)
        self._transports.add(connection, dialled)
        try:
            async with socket:
                self._bus.publish(ConnectionOpened(connection, event.hotkey, challenge, "session", *shown))
                async for data in socket:
                    if not dialled.ending:  # otherwise frames mean nothing, and stay out of the log
                        await self._take(event, dialled, data)
        except SocketClosed:
            pass  # the socket knows its close code
        finally:
            self._transports.remove(connection)
            del self._open[connection]
            await dialled.stop()
            self._bus.publish(ConnectionClosed(connection, *dialled.ended()))

    async def _take(self, event: DialRequested, dialled: Dialled, data: str | bytes) -> None:
        """Publish a message when it is this validator's turn."""
        received = self._received(event.connection, data)
        try:
            await self._intake.turn(event.hotkey, _size(received))
        except Flooded as flood:
            dialled.abandon(CloseCode.RATE_LIMITED, str(flood))
        if dialled.ending:
            return
        self._bus.publish(received)

    def _received(self, connection: ConnectionId, data: str | bytes) -> FrameReceived | BinaryReceived:
        if isinstance(data, str):
            return FrameReceived(connection, data.encode())
        if self._unpacks:
            with contextlib.suppress(Unreadable):
                return FrameReceived(connection, packing.unpack(data))
        return BinaryReceived(connection, len(data))


def _size(received: FrameReceived | BinaryReceived) -> int:
    return len(received.data) if isinstance(received, FrameReceived) else received.size


async def shake_hands(event: DialRequested, target: str, headers: dict[str, str]) -> tuple[_Socket, Shown]:
    """A WebSocket that speaks bettensor/1, and the certificate that was shown.

    Raises:
        HandshakeFailed, OtherKey: its TLS is not as requested.
        InvalidStatus: the validator refuses.
        OSError: it cannot be reached.
        TimeoutError: it does not answer in time.
        WebSocketException: its answer is none.
        ValueError: the endpoint is no address.
    """
    handshake = _Handshake(
        event.tls,
        f"{'ws' if event.tls is None else 'wss'}://{event.endpoint}{target}",
        create_connection=_Socket,
        additional_headers=headers,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        max_size=MAX_FRAME_BYTES,
        ping_interval=None,
        open_timeout=OPEN_TIMEOUT,
        close_timeout=CLOSE_TIMEOUT,
        proxy=None,  # for the chain alone: a validator may refuse by the address that it sees
    )
    socket = await handshake
    assert isinstance(socket, _Socket)  # noqa: S101 - for the type checker: create_connection makes it
    if socket.subprotocol != SUBPROTOCOL:  # RFC 6455 lets a server ignore what we asked for
        socket.transport.abort()
        raise _NoSubprotocol(f"its answer does not name the subprotocol {SUBPROTOCOL}")
    return socket, handshake.shown


def _refused(event: DialRequested, refusal: InvalidStatus, now: Micros) -> DialFailed:
    """The validator's reason, as far as it can be read. It is unsigned, and only a hint."""
    response = refusal.response
    code, said = read_refusal(response.body or b"") or ("", response.reason_phrase)
    return DialFailed(
        event.connection,
        event.hotkey,
        f"{event.endpoint}: {response.status_code} {said}"[:500],
        response.status_code,
        read_retry_after(response.headers.get_all("Retry-After"), now),
        code,
        wants_tls(event.tls, response.status_code, code),
    )
