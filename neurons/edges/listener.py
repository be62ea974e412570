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
from typing import Any, Final

import uvicorn

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock
from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    ExchangeCompleted,
    HttpAnswered,
    HttpRequestReceived,
    ListeningBegun,
    NeuronDraining,
    PeerAuthenticated,
    PeerRefused,
    ReadingPaused,
    ReadingResumed,
    Road,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from bettensor.bus.redaction import names_a_secret
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.protocols import CLOSE_TIMEOUT, Inbox, RequestProtocol, SendLimits, SessionProtocol
from bettensor.neurons.edges.writer import FrameWriter

BACKLOG: Final = 2048
"""Connections that the system takes for us until we do."""
_SECRETS: Final = (b"authorization", b"cookie", b"proxy-authorization")
"""Headers that are for somebody else, a proxy say: like all that have the name of a secret they never become an event,
and so are in no log."""

Scope = dict[str, Any]


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
