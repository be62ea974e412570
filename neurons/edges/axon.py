"""The miner's public port, at which existing validators ask: Synapse over HTTP, as a Dendrite speaks it.

Knows HTTP and the forms of the wire, but not who may ask: the head of every request becomes an event and waits for the
decision. Only then is the body read, and parsed outside the event loop.
"""

import asyncio
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import uuid4
from weakref import WeakValueDictionary

from bettensor.actors.settings import MinerSynapseSettings, PortLimits
from bettensor.bus import codec, synapse
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import Unreadable
from bettensor.bus.events import (
    CloseRequested,
    Event,
    FrameWritten,
    ListeningBegun,
    MessageRefused,
    NeuronDraining,
    QueryAdmitted,
    QueryAnswered,
    QueryEnded,
    QueryRefused,
    QueryUnreadable,
    SlateQueried,
    VerdictsConfirmed,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey
from bettensor.bus.messages import PredictionMessage
from bettensor.neurons.edges.axon_protocol import AxonProtocol
from bettensor.neurons.edges.edge import Edge, Identity, on
from bettensor.neurons.edges.forwarding import forwarding_of
from bettensor.neurons.edges.http_server import HttpServer
from bettensor.neurons.edges.incoming import query_of
from bettensor.neurons.edges.scope import Scope, headers_of

FIRST_CONNECTION: Final = 1 << 40
"""The number of the first request: no WebSocket and no query of a miner has it."""
BODY_TIMEOUT: Final = 20.0
"""Seconds within which a body must arrive, from the admission of its head."""
TIMEOUT: Final = 12.0
"""Seconds that a Dendrite waits by default."""


class OpenQuery:
    """One request, and what actors decide about it."""

    def __init__(self, connection: ConnectionId, scope: Scope) -> None:
        self.connection = connection
        self.header = headers_of(scope)
        self.decisions: asyncio.Queue[Event] = asyncio.Queue()


class Axon(Edge):
    """Serves one address until it is closed."""

    name = "axon"
    port: int
    """The port on which it listens, once it is open."""

    def __init__(self, settings: MinerSynapseSettings, limits: PortLimits, identity: Identity, clock: Clock) -> None:
        self._settings = settings
        self._limits = limits
        self._hotkey = identity.hotkey
        self._clock = clock
        self._ids: Iterator[int] = itertools.count(FIRST_CONNECTION)
        self._queries: dict[ConnectionId, OpenQuery] = {}
        self._all_ended = asyncio.Event()
        self._turns: WeakValueDictionary[Hotkey, asyncio.Lock] = WeakValueDictionary()
        """One body of each validator is parsed at a time."""
        self._server: HttpServer | None = None

    async def open(self) -> None:
        """Bind, and begin to serve.

        Raises:
            ConfigurationError: the address cannot be bound; nor at a later start.
            Unavailable: it cannot be bound now.
        """
        self._server = HttpServer(
            self._serve,
            limits=self._limits,
            refusal=lambda _, message: synapse.refusal(message),
            publish=self._bus.publish,
            http=AxonProtocol,
            forwarding=forwarding_of(self._settings),
            ws="none",
        )
        await self._server.start("synapse", self._settings.ip, self._settings.port)
        self.port = self._server.port
        self._bus.publish(ListeningBegun(self._server.endpoint))

    async def pause(self) -> None:
        """Have new requests refused."""
        if self._server is not None:
            self._bus.publish(NeuronDraining())

    async def settle(self) -> None:
        """Wait until every request is answered. Safe to cancel."""
        self._all_ended.clear()
        if self._queries:
            await self._all_ended.wait()

    async def close(self) -> None:
        """Stop serving. If cancelled, it waits for no answer."""
        if self._server is not None:
            await self._server.stop()

    # --- ASGI

    async def _serve(self, scope: Scope, receive: Any, send: Any) -> None:
        began_at = self._clock.mono()
        connection = ConnectionId(next(self._ids))
        query = self._queries[connection] = OpenQuery(connection, scope)
        try:
            self._bus.publish(query_of(scope, connection))
            decision: Event | None = await query.decisions.get()
            if isinstance(decision, QueryAdmitted):
                scope["extensions"]["bettensor"].lease.recognise(decision.hotkey)
                decision = await self._hear(decision, query, receive)
            if isinstance(decision, QueryAnswered):
                took = (self._clock.mono() - began_at) / SECOND
                await self._answer(decision, query, took, scope, send)
            elif isinstance(decision, QueryRefused):
                await _refuse(decision, send)
        finally:
            del self._queries[connection]
            self._bus.publish(QueryEnded(connection))
            if not self._queries:
                self._all_ended.set()

    async def _hear(self, admitted: QueryAdmitted, query: OpenQuery, receive: Any) -> Event | None:
        """Read the body, and return what is decided about it; None if its sender leaves before."""
        connection, hotkey = admitted.connection, admitted.hotkey
        said: Event
        try:
            body = await asyncio.wait_for(_read_body(receive), BODY_TIMEOUT)
            if body is None:
                return None
            said = await self._parse(connection, hotkey, body)
        except TimeoutError:
            said = QueryUnreadable(connection, hotkey, 408, f"the body did not come within {BODY_TIMEOUT:g} s")
        except Unreadable as error:
            said = QueryUnreadable(connection, hotkey, 400, str(error))
        self._bus.publish(said)
        return await _decision_unless_left(query, receive)

    async def _parse(self, connection: ConnectionId, hotkey: Hotkey, body: bytes) -> Event:
        async with self._turns.setdefault(hotkey, asyncio.Lock()):
            said = await asyncio.to_thread(synapse.read_query, body)
        if isinstance(said, synapse.Query):
            return SlateQueried(connection, hotkey, said.games, said.left_out)
        return VerdictsConfirmed(connection, hotkey, said.results, said.stats)

    async def _answer(self, answer: QueryAnswered, query: OpenQuery, took: float, scope: Scope, send: Any) -> None:
        dendrite, timeout = _dendrite(answer.hotkey, query.header), _timeout(query.header)
        axon = synapse.Terminal(self._hotkey, status_code=200, status_message="Success")
        predictions = answer.predictions
        at = self._clock.wall()
        content = synapse.answer(timeout, dendrite, axon, predictions, synapse_id=str(uuid4()), uid=answer.uid, at=at)
        await _send(send, 200, _answer_headers(timeout, dendrite, axon, took), content)
        if scope["extensions"]["bettensor"].transport.is_closing():
            return  # its sender has left: nothing was written
        for portion in codec.predictions_by_frame(predictions or ()):
            size = len(content) * len(portion) // len(predictions or portion)
            message = PredictionMessage(predictions=portion)
            self._bus.publish(FrameWritten(answer.connection, answer.hotkey, message, size, "synapse"))

    # --- decisions of actors

    @on(QueryAdmitted, QueryRefused, QueryAnswered)
    def decide(self, event: QueryAdmitted | QueryRefused | QueryAnswered, _: Envelope) -> None:
        query = self._queries.get(event.connection)
        if query is not None:
            query.decisions.put_nowait(event)

    @on(CloseRequested, MessageRefused)
    def give_up(self, event: CloseRequested | MessageRefused, _: Envelope) -> None:
        """A request that could not be handled, because an actor failed."""
        query = self._queries.get(event.connection)
        if query is not None:
            message = "this request could not be handled"
            query.decisions.put_nowait(QueryRefused(event.connection, 500, message, remote=""))


async def _read_body(receive: Any) -> bytes | None:
    """The whole body; None if its sender leaves. Its length is limited by its Content-Length, which was judged."""
    body = bytearray()
    while (message := await receive())["type"] != "http.disconnect":
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)
    return None


async def _decision_unless_left(query: OpenQuery, receive: Any) -> Event | None:
    """The next decision; None if the sender leaves before."""
    leaving = asyncio.create_task(_read_body(receive))
    deciding = asyncio.create_task(query.decisions.get())
    try:
        await asyncio.wait((leaving, deciding), return_when=asyncio.FIRST_COMPLETED)
        return deciding.result() if deciding.done() else None
    finally:
        leaving.cancel()
        deciding.cancel()


async def _refuse(refused: QueryRefused, send: Any) -> None:
    headers = [("allow", "POST")] if refused.status == 405 else []
    await _send(send, refused.status, headers, synapse.refusal(refused.message))


async def _send(send: Any, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    fixed = [("content-type", "application/json"), ("content-length", str(len(content)))]
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*headers, *fixed]]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


def _answer_headers(
    timeout: float, dendrite: synapse.Terminal, axon: synapse.Terminal, took: float
) -> list[tuple[str, str]]:
    """As an Axon sends them: they override what the body says of both sides."""
    fields = {
        "name": synapse.NAME,
        "timeout": timeout,
        "bt_header_axon_status_code": axon.status_code,
        "bt_header_axon_status_message": axon.status_message,
        "bt_header_axon_process_time": took,
        "bt_header_axon_hotkey": axon.hotkey,
        "bt_header_dendrite_ip": dendrite.ip,
        "bt_header_dendrite_version": dendrite.version,
        "bt_header_dendrite_nonce": dendrite.nonce,
        "bt_header_dendrite_uuid": dendrite.uuid,
        "bt_header_dendrite_hotkey": dendrite.hotkey,
        "bt_header_dendrite_signature": dendrite.signature,
        "computed_body_hash": synapse.BODY_HASH,
    }
    return [(name, str(value)) for name, value in fields.items() if value is not None]


def _dendrite(hotkey: Hotkey, header: Mapping[str, str]) -> synapse.Terminal:
    """The asking side, as its head describes it; all that counts of this was verified."""
    of = "bt_header_dendrite_"
    version = header.get(f"{of}version", "")
    return synapse.Terminal(
        hotkey,
        ip=header.get(f"{of}ip"),
        version=int(version) if version.isascii() and version.isdecimal() and len(version) < 16 else None,
        nonce=int(header[f"{of}nonce"]),
        uuid=header[f"{of}uuid"],
        signature=header[f"{of}signature"],
    )


def _timeout(header: Mapping[str, str]) -> float:
    """Seconds that the asking side says it waits; decides nothing."""
    try:
        seconds = float(header.get("timeout", TIMEOUT))
    except ValueError:
        return TIMEOUT
    return seconds if math.isfinite(seconds) else TIMEOUT
