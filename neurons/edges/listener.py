"""The validator's public port: HTTP and WebSocket on one socket, by uvicorn.

Knows HTTP and RFC 6455, but neither identities nor messages: every request becomes an event and waits for the decision.
Frames of an open session go straight from the socket to the bus.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterator
from secrets import token_hex
from typing import Any, Final

from bettensor.actors.settings import AxonSettings, PortLimits, WebSocketSettings
from bettensor.bus.clock import Clock
from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    ExchangeCompleted,
    HttpAnswered,
    HttpRequestReceived,
    ListeningBegun,
    PeerAuthenticated,
    PeerRefused,
    ReadingPaused,
    ReadingResumed,
    Road,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.certificates import Certificates
from bettensor.neurons.edges.edge import Edge, Transports, on
from bettensor.neurons.edges.http_server import HttpServer, Scope, headers_of, remote_of, target_of, tls_key_of
from bettensor.neurons.edges.lease import CLOSE_TIMEOUT, Lease
from bettensor.neurons.edges.protocols import Inbox, SendLimits, SessionProtocol

RETRY_AFTER: Final = 30
"""Seconds after which a miner may try again to open a session for which no file is left."""


class Exchange:
    """One HTTP request that waits for its answer, or a handshake. Frames written to it become the answer's body."""

    road: Road = "http"

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.frames: list[bytes] = []
        self.answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def queued(self) -> int:
        """Always 0: the answer is sent as a whole."""
        return 0

    def write(self, data: bytes) -> None:
        """Add a frame to the answer."""
        self.frames.append(data)

    def decide(self, event: Event) -> None:
        """Take the decision; only the first one counts."""
        if not self.answer.done():
            self.answer.set_result(event)


class Listener(Edge):
    """Serves one address until it is closed."""

    name = "listener"
    port: int
    """The port on which it listens, once it is open."""

    def __init__(
        self,
        axon: AxonSettings,
        websocket: WebSocketSettings,
        port_limits: PortLimits,
        transports: Transports,
        clock: Clock,
        certificates: Certificates | None = None,
    ) -> None:
        self._axon = axon
        self._port_limits = port_limits
        self._tls = None if certificates is None or not certificates.serves else certificates.context
        self._limits = SendLimits(websocket.send_queue_bytes, websocket.send_timeout)
        self._transports = transports
        self._clock = clock
        self._ids: Iterator[int] = itertools.count(1)
        self._exchanges: dict[ConnectionId, Exchange] = {}
        self._sessions: dict[ConnectionId, SessionProtocol] = {}
        self._draining = False
        self._server: HttpServer | None = None
        self._all_ended = asyncio.Event()

    async def open(self) -> None:
        """Bind, and begin to serve.

        Raises:
            ConfigurationError: the address cannot be bound; nor at a later start.
            Unavailable: it cannot be bound now.
        """
        self._inbox = Inbox(self._bus)
        self._server = HttpServer(
            self._serve,
            limits=self._port_limits,
            refusal=self._refusal,
            publish=self._bus.publish,
            max_body=MAX_FRAME_BYTES,
            tls=self._tls,
            ws=SessionProtocol,
            ws_max_size=MAX_FRAME_BYTES,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
        )
        await self._server.start("axon", self._axon.ip, self._axon.port)
        self.port = self._server.port
        self._bus.publish(ListeningBegun(self._server.endpoint))

    async def pause(self) -> None:
        """Stop reading from all sessions. Actors refuse new requests, because they know that the neuron is stopping."""
        self._draining = True
        for session in self._sessions.values():
            session.read(on=False)

    @on(ReadingPaused)
    def pause_reading(self, event: ReadingPaused, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None:
            session.read(on=False)

    @on(ReadingResumed)
    def resume_reading(self, event: ReadingResumed, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None and not self._draining:
            session.read(on=True)

    async def close(self) -> None:
        """Wait until the closing sessions have ended, and stop serving.

        Sessions that are open then are closed with 1012. If cancelled, it stops waiting.
        """
        if self._server is None or not self._server.is_serving:
            return
        try:
            await self._sessions_to_end()
        except asyncio.CancelledError:
            await self._server.abort()
            raise
        await self._server.stop()

    async def _sessions_to_end(self) -> None:
        """Wait for them; each is aborted ``CLOSE_TIMEOUT`` after our close."""
        self._all_ended = asyncio.Event()
        if self._sessions:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_ended.wait(), CLOSE_TIMEOUT)

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
        connection, exchange = self._begin(scope)
        try:
            self._bus.publish(self._request(scope, connection, body))
            status, headers, content = self._answer(await exchange.answer, exchange)
        finally:
            self._finish(connection)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _open_session(self, scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        connection, exchange = self._begin(scope)
        try:
            self._bus.publish(self._request(scope, connection, b"", upgrade=True))
            decision = await exchange.answer
        except asyncio.CancelledError:
            self._finish(connection)
            raise
        if isinstance(decision, PeerAuthenticated) and not exchange.lease.may_begin_session():
            message = "no connection is left for a further session"
            decision = PeerRefused(connection, RefusalCode.OVER_CAPACITY, message, remote="", retry_after=RETRY_AFTER)
        if not isinstance(decision, PeerAuthenticated):
            self._finish(connection)
            status, headers, content = self._answer(decision, exchange)
            await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": content})
            return
        del self._exchanges[connection]
        protocol: SessionProtocol = scope["extensions"]["bettensor"]
        protocol.attach(self._bus, self._inbox, connection, self._limits)
        if protocol.transport.is_closing():  # the client left before the decision
            self._bus.publish(ConnectionClosed(connection, CloseCode.ABNORMAL, ""))
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        protocol.forget_handshake()
        self._sessions[connection] = protocol
        self._transports.add(connection, protocol)
        self._bus.publish(ConnectionOpened(connection, decision.hotkey, decision.challenge))
        while (await receive())["type"] != "websocket.disconnect":
            pass

    def _begin(self, scope: Scope) -> tuple[ConnectionId, Exchange]:
        connection, exchange = ConnectionId(next(self._ids)), Exchange(scope["extensions"]["bettensor"].lease)
        self._exchanges[connection] = exchange
        self._transports.add(connection, exchange)
        return connection, exchange

    def _finish(self, connection: ConnectionId) -> None:
        del self._exchanges[connection]
        self._transports.remove(connection)
        self._bus.publish(ConnectionClosed(connection, 0, ""))

    def _request(
        self, scope: Scope, connection: ConnectionId, body: bytes, *, upgrade: bool = False
    ) -> HttpRequestReceived:
        return HttpRequestReceived(
            connection,
            scope.get("method", "GET"),
            target_of(scope),
            headers_of(scope),
            body,
            remote_of(scope),
            upgrade,
            token_hex(16),
            tls_key_of(scope),
        )

    def _answer(self, decision: Event, exchange: Exchange) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        headers = [(b"content-type", b"application/json")]
        if isinstance(decision, HttpAnswered):
            status, content = decision.status, decision.body.encode()
        elif isinstance(decision, PeerRefused):
            status = decision.code.status
            content = self._refusal(decision.code, decision.message)
            if decision.retry_after is not None:
                headers.append((b"retry-after", str(decision.retry_after).encode()))
        else:
            status, content = 200, b"".join(frame + b"\n" for frame in exchange.frames)
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
        return status, [*headers, (b"content-length", str(len(content)).encode())], content

    def _refusal(self, code: RefusalCode, message: str) -> bytes:
        """Its body (protocol, "Refusals")."""
        return json.dumps({"error": code, "message": message, "server_time": rfc3339(self._clock.wall())}).encode()

    # --- decisions of actors

    @on(PeerAuthenticated)
    def admit(self, event: PeerAuthenticated, _: Envelope) -> None:
        exchange = self._exchanges.get(event.connection)
        if exchange is None:
            return
        exchange.lease.recognise(event.hotkey)
        if event.purpose == "session":
            exchange.decide(event)

    @on(PeerRefused, HttpAnswered, ExchangeCompleted)
    def answer(self, event: PeerRefused | HttpAnswered | ExchangeCompleted, _: Envelope) -> None:
        exchange = self._exchanges.get(event.connection)
        if exchange is not None:
            exchange.decide(event)

    @on(CloseRequested)
    def close_session(self, event: CloseRequested, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None:
            session.end(event.code, event.reason)
        exchange = self._exchanges.get(event.connection)
        if exchange is not None:
            exchange.decide(PeerRefused(event.connection, RefusalCode.INTERNAL, event.reason, remote=""))

    @on(ConnectionClosed)
    def forget_session(self, event: ConnectionClosed, _: Envelope) -> None:
        self._sessions.pop(event.connection, None)
        if not self._sessions:
            self._all_ended.set()
        self._transports.remove(event.connection)


async def _read_body(receive: Any) -> bytes | None:
    """The whole body, or one byte more than the limit; None if the client left."""
    body = bytearray()
    while len(body) <= MAX_FRAME_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            break
    return bytes(body[: MAX_FRAME_BYTES + 1])
