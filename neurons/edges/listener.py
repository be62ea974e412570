"""The validator's public port: HTTP and WebSocket on one socket, by uvicorn.

Knows HTTP and RFC 6455, and nothing of who is asking or what is said: every request becomes an event and waits for the
decision. Frames of an open session go straight from the socket to the bus.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import socket
from collections.abc import Generator, Iterator
from secrets import token_hex
from typing import Any, Final, NamedTuple

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from bus.bus import EventBus
from bus.clock import Clock
from bus.codes import CloseCode, RefusalCode
from bus.envelope import Envelope
from bus.errors import ConfigurationError
from bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    ExchangeCompleted,
    FrameReceived,
    HttpAnswered,
    HttpRequestReceived,
    ListeningBegun,
    NeuronDraining,
    PeerAuthenticated,
    PeerRefused,
    ReadingPaused,
    ReadingResumed,
    Road,
    SendQueueDrained,
    SendQueueFilled,
)
from bus.identifiers import ConnectionId
from bus.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from bus.redaction import names_a_secret
from bus.timestamps import rfc3339
from neurons.edges.frame_limits import MAX_EXTRA_FRAMES, MAX_FRAGMENTS, FrameLimits
from neurons.edges.writer import FrameWriter, TransportGone

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
BACKLOG: Final = 2048
"""Connections that the system takes for us until we do."""
_MAX_REASON: Final = 123
"""Bytes of a close reason (RFC 6455, section 5.5)."""

_SECRETS: Final = (b"authorization", b"cookie", b"proxy-authorization")
"""Headers that are for somebody else, a proxy say: like all that have the name of a secret they never become an event,
and so are in no log."""

Scope = dict[str, Any]


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
    """uvicorn's HTTP, with deadlines for whoever opens a socket: to say, and finish, what he wants, and to take the
    answer. One request at a time: uvicorn makes room for many pipelined ones with each that it answers.
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


class Exchange:
    """One HTTP request that waits for its answer, a handshake included. Frames written to it are the answer's body."""

    road: Road = "http"

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def queued(self) -> int:
        """Nothing waits: the answer goes out as a whole."""
        return 0

    def write(self, data: bytes) -> None:
        """Add a frame to the answer."""
        self.frames.append(data)

    def decide(self, event: Event) -> None:
        """The first decision counts."""
        if not self.answer.done():
            self.answer.set_result(event)


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn calls every refused handshake an error of ours."""
    return "without completing handshake" not in record.getMessage()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are the neuron's own affair


class Listener:
    """Serves one address until it is closed."""

    def __init__(
        self, bus: EventBus, writer: FrameWriter, clock: Clock, host: str, port: int, limits: SendLimits
    ) -> None:
        self._bus = bus
        self._writer = writer
        self._clock = clock
        self._host = host
        self._port = port
        self._limits = limits
        self._ids: Iterator[int] = itertools.count(1)
        self._exchanges: dict[ConnectionId, Exchange] = {}
        self._sessions: dict[ConnectionId, SessionProtocol] = {}
        self._draining = False
        self._serving: asyncio.Task[None] | None = None
        self._all_ended = asyncio.Event()
        bus.subscribe(PeerAuthenticated, self._admitted, "listener")
        bus.subscribe(PeerRefused, self._decided, "listener")
        bus.subscribe(HttpAnswered, self._decided, "listener")
        bus.subscribe(ExchangeCompleted, self._decided, "listener")
        bus.subscribe(CloseRequested, self._close_session, "listener")
        bus.subscribe(ConnectionClosed, self._forget_session, "listener")
        bus.subscribe(NeuronDraining, self._pause_all, "listener")
        bus.subscribe(ReadingPaused, self._pause, "listener")
        bus.subscribe(ReadingResumed, self._resume, "listener")

    async def start(self) -> int:
        """Bind, and begin to serve; returns the port.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        self._socket = _bind(self._host, self._port)
        self._inbox = Inbox(self._bus)
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            http=RequestProtocol,
            ws=SessionProtocol,
            ws_max_size=MAX_FRAME_BYTES,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(CLOSE_TIMEOUT),
            backlog=BACKLOG,
        )
        self._server = _Server(config)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="listener")
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # uvicorn has no event for it
        host, port = self._socket.getsockname()[:2]
        self._bus.publish(ListeningBegun(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
        return int(port)

    def _pause_all(self, _: NeuronDraining, __: Envelope) -> None:
        self._draining = True
        for session in self._sessions.values():
            session.read(on=False)

    def _pause(self, event: ReadingPaused, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None:
            session.read(on=False)

    def _resume(self, event: ReadingResumed, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None and not self._draining:
            session.read(on=True)

    async def drained(self) -> None:
        """Wait until every session has ended. Safe to cancel."""
        self._all_ended = asyncio.Event()
        if self._sessions:
            await self._all_ended.wait()

    async def close(self) -> None:
        """Stop serving, if it has begun: what is still open is closed with 1012. When cancelled it waits for nobody."""
        if self._serving is None:
            return
        self._server.should_exit = True
        try:
            await asyncio.shield(self._serving)
        except asyncio.CancelledError:
            self._server.force_exit = True
            await self._serving
            raise

    # --- ASGI

    async def _serve(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._answer_request(scope, receive, send)
        else:
            await self._open_session(scope, receive, send)

    async def _answer_request(self, scope: Scope, receive: Any, send: Any) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        connection, exchange = self._begin()
        try:
            self._bus.publish(self._request(scope, connection, body))
            status, headers, content = self._answer(await exchange.answer, exchange)
        finally:
            self._finish(connection)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _open_session(self, scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        connection, exchange = self._begin()
        try:
            self._bus.publish(self._request(scope, connection, b"", upgrade=True))
            decision = await exchange.answer
        except asyncio.CancelledError:
            self._finish(connection)
            raise
        if not isinstance(decision, PeerAuthenticated):
            self._finish(connection)
            status, headers, content = self._answer(decision, exchange)
            await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": content})
            return
        del self._exchanges[connection]
        protocol: SessionProtocol = scope["extensions"]["bettensor"]
        protocol.attach(self._bus, self._inbox, connection, self._limits)
        if protocol.transport.is_closing():  # gone while it was decided
            self._bus.publish(ConnectionClosed(connection, CloseCode.ABNORMAL, ""))
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        protocol.forget_handshake()
        self._sessions[connection] = protocol
        self._writer.open(connection, protocol)
        self._bus.publish(ConnectionOpened(connection, decision.hotkey, decision.challenge))
        while (await receive())["type"] != "websocket.disconnect":
            pass

    def _begin(self) -> tuple[ConnectionId, Exchange]:
        connection, exchange = ConnectionId(next(self._ids)), Exchange()
        self._exchanges[connection] = exchange
        self._writer.open(connection, exchange)
        return connection, exchange

    def _finish(self, connection: ConnectionId) -> None:
        del self._exchanges[connection]
        self._writer.close(connection)
        self._bus.publish(ConnectionClosed(connection, 0, ""))

    def _request(
        self, scope: Scope, connection: ConnectionId, body: bytes, *, upgrade: bool = False
    ) -> HttpRequestReceived:
        query: bytes = scope["query_string"]
        target: bytes = scope["raw_path"] + (b"?" + query if query else b"")
        return HttpRequestReceived(
            connection,
            scope.get("method", "GET"),
            target.decode("latin-1"),
            tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1"))
                for name, value in scope["headers"]
                if name.lower() not in _SECRETS and not names_a_secret(name.decode("latin-1"))
            ),
            body,
            scope["client"][0] if scope["client"] else "",
            upgrade,
            token_hex(16),
        )

    def _answer(self, decision: Event, exchange: Exchange) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        headers = [(b"content-type", b"application/json")]
        if isinstance(decision, HttpAnswered):
            status, content = decision.status, decision.body.encode()
        elif isinstance(decision, PeerRefused):
            status = decision.code.status
            content = json.dumps(
                {
                    "error": decision.code,
                    "message": decision.message,
                    "server_time": rfc3339(self._clock.wall()),
                }
            ).encode()
            if decision.retry_after is not None:
                headers.append((b"retry-after", str(decision.retry_after).encode()))
        else:
            status, content = 200, b"".join(frame + b"\n" for frame in exchange.frames)
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
        return status, [*headers, (b"content-length", str(len(content)).encode())], content

    # --- what was decided

    def _admitted(self, event: PeerAuthenticated, _: Envelope) -> None:
        exchange = self._exchanges.get(event.connection)
        if exchange is not None and event.purpose == "session":
            exchange.decide(event)

    def _decided(self, event: PeerRefused | HttpAnswered | ExchangeCompleted, _: Envelope) -> None:
        exchange = self._exchanges.get(event.connection)
        if exchange is not None:
            exchange.decide(event)

    def _close_session(self, event: CloseRequested, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None:
            session.end(event.code, event.reason)
        exchange = self._exchanges.get(event.connection)
        if exchange is not None:
            exchange.decide(PeerRefused(event.connection, RefusalCode.INTERNAL, event.reason, remote=""))

    def _forget_session(self, event: ConnectionClosed, _: Envelope) -> None:
        self._sessions.pop(event.connection, None)
        if not self._sessions:
            self._all_ended.set()
        self._writer.close(event.connection)


async def _read_body(receive: Any) -> bytes | None:
    """The whole body, or a byte more than the limit; None where the client left."""
    body = bytearray()
    while len(body) <= MAX_FRAME_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            break
    return bytes(body[: MAX_FRAME_BYTES + 1])


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as unless_it_listens:
            listening = unless_it_listens.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)  # not left to uvicorn, which would keep to itself that another was first
            unless_it_listens.pop_all()
    except OSError as error:
        raise ConfigurationError(
            f"axon.ip {host!r}, axon.port {port}: cannot listen there: {error}. "
            "Is another neuron running, or is the port below 1024?"
        ) from None
    listening.setblocking(False)
    return listening


def _cut(reason: str) -> str:
    return reason.encode()[:_MAX_REASON].decode(errors="ignore")
