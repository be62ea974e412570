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

from bettensor.actors.health import asks_for_health, lacks_tls
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
    RequestBodyReceived,
    Road,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from bettensor.bus.packing import DEFLATE
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.certificates import Certificates
from bettensor.neurons.edges.edge import Edge, SentTargets, Transports, on
from bettensor.neurons.edges.forwarding import forwarding_of
from bettensor.neurons.edges.http_server import HttpServer
from bettensor.neurons.edges.inbox import Inbox
from bettensor.neurons.edges.incoming import claimed_by, request_of
from bettensor.neurons.edges.lease import CLOSE_TIMEOUT, Lease
from bettensor.neurons.edges.outlet import Outlet
from bettensor.neurons.edges.protocols import Sending, SendLimits, SessionProtocol
from bettensor.neurons.edges.request_protocol import HttpAnswer, json_answer, whole_answer
from bettensor.neurons.edges.scope import Scope, remote_of, target_of, tls_key_of
from bettensor.neurons.edges.shared_frames import Frames, Written
from bettensor.neurons.edges.turns import Turns
from bettensor.neurons.edges.turnstile import Barrier, Turnstile

REQUESTS_A_TURN: Final = 4
"""Requests of which an event is made in one turn of the event loop: 2 ms of work for registered peers."""
RETRY_AFTER: Final = 30
"""Seconds after which a miner may try again to open a session for which no file is left."""


class Exchange:
    """One HTTP request that waits for its answer, or a handshake. Frames written to it become the answer's body."""

    road: Road = "http"
    packs = False

    def __init__(self, lease: Lease, body: bytes) -> None:
        self.lease = lease
        self.request_body = body
        """Of no event before its sender is proven."""
        self.close: CloseRequested | None = None
        """What was decided about the session that this handshake becomes, before it is one."""
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
                await outlet.turns.next()
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

    def end(self, event: CloseRequested) -> None:
        """Refuse, or close the session as soon as it is open."""
        self.close = event
        self.decide(PeerRefused(event.connection, RefusalCode.INTERNAL, event.reason, remote=""))


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
        targets: SentTargets,
        turnstile: Turnstile,
        clock: Clock,
        certificates: Certificates | None = None,
    ) -> None:
        self._axon = axon
        self._targets = targets
        self._turnstile = turnstile
        self._port_limits = port_limits
        self._outlet = Outlet(port_limits.unread_bytes)
        self._entrance = Turns(REQUESTS_A_TURN)
        self._tls = None if certificates is None or not certificates.serves else certificates.context
        pace = SendLimits(websocket.send_queue_bytes, websocket.send_timeout)
        self._sending = {packs: Sending(pace, self._outlet, packs) for packs in (False, True)}
        self._transports = transports
        self._clock = clock
        self._ids: Iterator[int] = itertools.count(1)
        self._exchanges: dict[ConnectionId, Exchange] = {}
        self._sessions: dict[ConnectionId, SessionProtocol] = {}
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
            door=self._door,
            tls=self._tls,
            forwarding=forwarding_of(self._axon),
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
        for session in self._sessions.values():
            session.pause("stop")

    @on(ReadingPaused)
    def pause_reading(self, event: ReadingPaused, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None:
            session.pause(event.cause)

    @on(ReadingResumed)
    def resume_reading(self, event: ReadingResumed, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None:
            session.resume(event.cause)

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
        with contextlib.ExitStack() as held:
            answer = await self._answer_to(scope, receive, held)
            if answer is None:
                return
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            for piece in answer.pieces[:-1]:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await self._outlet.turns.next()
            await send({"type": "http.response.body", "body": answer.pieces[-1]})

    async def _answer_to(self, scope: Scope, receive: Any, held: contextlib.ExitStack) -> HttpAnswer | None:
        """The answer to a request; None if its client has left. Closing ``held`` frees the answer's frames."""
        is_check = self._is_check(scope)
        known = self._turnstile.known_health() if is_check else None
        if known is not None:
            return json_answer(known.status, known.body.encode())
        bar = None if is_check else self._bar(scope)
        if bar is not None and not self._may_prove(bar, scope):
            return self._turn_away(bar)
        body = await _read_body(receive)
        if body is None:
            return None
        await self._entrance.next()
        request = self._request(scope, body)
        if bar is not None and not self._turnstile.proves(request, target_of(scope)):
            return self._turn_away(bar)
        exchange = self._begin(request, scope, body)
        try:
            self._bus.publish(request)
            decision = await exchange.answer
            answer = await self._answer(decision, exchange)
        finally:
            self._finish(request.connection)
        if is_check and isinstance(decision, HttpAnswered):
            self._turnstile.remember_health(decision)
        self._outlet.hold(exchange.shared, exchange)
        held.callback(self._outlet.release, exchange.shared, exchange)
        return answer

    async def _open_session(self, scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        await self._entrance.next()
        request = self._request(scope, b"", upgrade=True)
        connection, exchange = request.connection, self._begin(request, scope)
        try:
            self._bus.publish(request)
            decision = await exchange.answer
        except asyncio.CancelledError:
            self._finish(connection)
            raise
        if isinstance(decision, PeerAuthenticated) and not exchange.lease.may_begin_session():
            message = "no connection is left for a further session"
            decision = PeerRefused(connection, RefusalCode.OVER_CAPACITY, message, remote="", retry_after=RETRY_AFTER)
        if not isinstance(decision, PeerAuthenticated):
            self._finish(connection)
            if isinstance(decision, HttpAnswered) and self._is_check(scope):
                self._turnstile.remember_health(decision)
            await _refuse_handshake(await self._answer(decision, exchange), send)
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
        if exchange.close is not None:
            protocol.end(exchange.close.code, exchange.close.reason)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    def _request(self, scope: Scope, body: bytes, *, upgrade: bool = False) -> HttpRequestReceived:
        connection, key = ConnectionId(next(self._ids)), tls_key_of(scope)
        return request_of(scope, connection, body, token_hex(16), upgrade=upgrade, tls_key=key)

    def _begin(self, request: HttpRequestReceived, scope: Scope, body: bytes = b"") -> Exchange:
        connection, exchange = request.connection, Exchange(scope["extensions"]["bettensor"].lease, body)
        self._exchanges[connection] = exchange
        self._transports.add(connection, exchange)
        if not request.is_whole:
            self._targets.expect(connection, target_of(scope))
        return exchange

    def _finish(self, connection: ConnectionId) -> None:
        del self._exchanges[connection]
        self._inbox.drop(connection)
        self._transports.remove(connection)
        self._bus.publish(ConnectionClosed(connection, 0, ""))

    # --- at the door

    def _door(self, scope: Scope) -> HttpAnswer | None:
        """The answer to a handshake that needs no decision; None if it does."""
        if self._is_check(scope):
            known = self._turnstile.known_health()
            return None if known is None else json_answer(known.status, known.body.encode())
        bar = self._bar(scope)
        if bar is None or (self._may_prove(bar, scope) and self._proves(scope)):
            return None
        return self._turn_away(bar)

    def _proves(self, scope: Scope) -> bool:
        return self._turnstile.proves(self._request(scope, b"", upgrade=True), target_of(scope))

    def _is_check(self, scope: Scope) -> bool:
        """Whether a request, or a handshake, is answered with the health of this validator, whoever sends it."""
        if not asks_for_health(scope.get("method", "GET"), target_of(scope)):
            return False
        return not self._axon.tls.required or not lacks_tls(self._request(scope, b""), self._axon.tls)

    def _bar(self, scope: Scope) -> Barrier | None:
        return self._turnstile.bar(remote_of(scope), claimed_by(scope))

    def _may_prove(self, bar: Barrier, scope: Scope) -> bool:
        return bar.lets_members_in and self._turnstile.is_member(claimed_by(scope))

    def _turn_away(self, bar: Barrier) -> HttpAnswer:
        return self._refused(RefusalCode.RATE_LIMITED, bar.reason, self._turnstile.turn_away(bar))

    # --- answers

    async def _answer(self, decision: Event, exchange: Exchange) -> HttpAnswer:
        if isinstance(decision, HttpAnswered):
            return json_answer(decision.status, decision.body.encode())
        if isinstance(decision, PeerRefused):
            return self._refused(decision.code, decision.message, decision.retry_after)
        pieces = await exchange.body(self._outlet)
        return whole_answer(200, (b"content-type", b"text/plain; charset=utf-8"), pieces=pieces)

    def _refused(self, code: RefusalCode, message: str, retry_after: int | None) -> HttpAnswer:
        again = () if retry_after is None else ((b"retry-after", str(retry_after).encode()),)
        return json_answer(code.status, self._refusal(code, message), *again)

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
        elif event.purpose == "predictions":
            self._inbox.put(RequestBodyReceived(event.connection, exchange.request_body))

    @on(PeerRefused, HttpAnswered, ExchangeCompleted)
    def answer(self, event: PeerRefused | HttpAnswered | ExchangeCompleted, _: Envelope) -> None:
        exchange = self._exchanges.get(event.connection)
        if exchange is not None:
            self._inbox.drop(event.connection)  # the body of what is refused after all enters no log
            exchange.decide(event)

    @on(CloseRequested)
    def close_session(self, event: CloseRequested, _: Envelope) -> None:
        session = self._sessions.get(event.connection)
        if session is not None:
            session.end(event.code, event.reason)
        exchange = self._exchanges.get(event.connection)
        if exchange is not None:
            exchange.end(event)

    @on(ConnectionClosed)
    def forget_session(self, event: ConnectionClosed, _: Envelope) -> None:
        self._sessions.pop(event.connection, None)
        if not self._sessions:
            self._all_ended.set()
        self._transports.remove(event.connection)


async def _refuse_handshake(answer: HttpAnswer, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "websocket.http.response.body", "body": b"".join(answer.pieces)})


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
