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
from typing import Any

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
from bettensor.bus.packing import DEFLATE
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.edge import Edge, Transports, on
from bettensor.neurons.edges.http_server import HttpServer, Scope, headers_of, remote_of, target_of
from bettensor.neurons.edges.outlet import Outlet
from bettensor.neurons.edges.protocols import (
    CLOSE_TIMEOUT,
    Inbox,
    RequestProtocol,
    Sending,
    SendLimits,
    SessionProtocol,
)
from bettensor.neurons.edges.shared_frames import Frames, Written


class Exchange:
    """One HTTP request that waits for its answer, or a handshake. Frames written to it become the answer's body."""

    road: Road = "http"
    packs = False

    def __init__(self) -> None:
        self.answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self.shared: Frames = ()
        self._own: list[bytes] = []
        self._parcels: list[tuple[Frames, Written | None]] = []
        self._task = asyncio.current_task()

    def queued(self) -> int:
        """Always 0: frames wait here for the decision, and then for the reader, but in no queue of this connection."""
        return 0

    def write(self, data: bytes) -> None:
        """Add a frame to the answer."""
        self._own.append(data + b"\n")

    def share(self, frames: Frames, written: Written | None = None) -> None:
        """Add shared frames to the answer, after those that are its own."""
        self.shared += frames
        self._parcels.append((frames, written))

    async def body(self, outlet: Outlet) -> list[bytes]:
        """The body of the answer, in pieces that each are written as they are."""
        for frame in self.shared:
            if not frame.is_made:
                await outlet.turn()
                frame.make()
        for frames, written in self._parcels:
            if written is not None:
                written(sum(frame.size for frame in frames))
        return [b"".join(self._own), *(frame.line for frame in self.shared)]

    def give_up(self, reason: str) -> None:  # noqa: ARG002 - HTTP has no words for it once an answer has begun
        """End the connection: the peer is too slow for what waits."""
        if self._task is not None:
            self._task.cancel()

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
        limits: PortLimits,
        transports: Transports,
        clock: Clock,
    ) -> None:
        self._axon = axon
        self._outlet = Outlet(limits.unread_bytes)
        pace = SendLimits(websocket.send_queue_bytes, websocket.send_timeout)
        self._sending = {packs: Sending(pace, self._outlet, packs) for packs in (False, True)}
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
            http=RequestProtocol,
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
        connection, exchange = self._begin()
        try:
            self._bus.publish(self._request(scope, connection, body))
            status, headers, pieces = await self._answer(await exchange.answer, exchange)
        finally:
            self._finish(connection)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        self._outlet.hold(exchange.shared, exchange)
        try:
            for piece in pieces[:-1]:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await self._outlet.turn()
            await send({"type": "http.response.body", "body": pieces[-1]})
        finally:
            self._outlet.release(exchange.shared, exchange)

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
            status, headers, pieces = await self._answer(decision, exchange)
            await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"".join(pieces)})
            return
        del self._exchanges[connection]
        protocol: SessionProtocol = scope["extensions"]["bettensor"]
        sending = self._sending[decision.encoding == DEFLATE]
        protocol.attach(self._bus, self._inbox, sending, connection)
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

    def _begin(self) -> tuple[ConnectionId, Exchange]:
        connection, exchange = ConnectionId(next(self._ids)), Exchange()
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
        )

    async def _answer(self, decision: Event, exchange: Exchange) -> tuple[int, list[tuple[bytes, bytes]], list[bytes]]:
        """Status, headers, and the body in pieces."""
        headers = [(b"content-type", b"application/json")]
        if isinstance(decision, HttpAnswered):
            status, pieces = decision.status, [decision.body.encode()]
        elif isinstance(decision, PeerRefused):
            status = decision.code.status
            refusal = {
                "error": decision.code,
                "message": decision.message,
                "server_time": rfc3339(self._clock.wall()),
            }
            pieces = [json.dumps(refusal).encode()]
            if decision.retry_after is not None:
                headers.append((b"retry-after", str(decision.retry_after).encode()))
        else:
            status, pieces = 200, await exchange.body(self._outlet)
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
        size = sum(map(len, pieces))
        return status, [*headers, (b"content-length", str(size).encode())], pieces

    # --- decisions of actors

    @on(PeerAuthenticated)
    def admit(self, event: PeerAuthenticated, _: Envelope) -> None:
        exchange = self._exchanges.get(event.connection)
        if exchange is not None and event.purpose == "session":
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
