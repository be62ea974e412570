"""A validator's port without a socket: uvicorn's parser with our limits, and the judgement on what it reads."""

import asyncio
from typing import Any, Final

from bettensor.actors.settings import PortLimits
from bettensor.actors.validator.auth import ValidatorAuthActor, ValidatorAuthSettings
from bettensor.bus.events import ActorFailed, MetagraphSynced, NeuronInfo, NeuronStarted
from bettensor.bus.identifiers import ConnectionId, Hotkey, Uid
from bettensor.bus.messages import MAX_FRAME_BYTES
from bettensor.neurons.edges.forwarding import Client
from bettensor.neurons.edges.http_server import HttpServer
from bettensor.neurons.edges.incoming import request_of
from bettensor.neurons.edges.protocols import SessionProtocol
from tests.support import NETUID, Harness

VALIDATOR: Final = Hotkey("5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu")
MINER: Final = Hotkey("5GoNkf6WdbxCFnPdAnYYQyCjAKPJgLNxXwPjwTh6DGg6gN3E")
PEER: Final = Client("127.0.0.1", 1)
_TURNS: Final = 8
"""Turns of the event loop, after which a request is answered."""


class _Wire(asyncio.Transport):
    """Takes everything, and is never full."""

    def __init__(self, protocol: Any) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._protocol = protocol
        self._closing = False

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True

    def write(self, data: Any) -> None:
        assert not self._closing or data is not None

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Port:
    """Hears one connection after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._harness = Harness(ValidatorAuthActor(ValidatorAuthSettings()))
        neurons = (NeuronInfo(Uid(0), VALIDATOR), NeuronInfo(Uid(1), MINER, crypto="ed25519"))
        self._harness.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0), MetagraphSynced(neurons))
        self._connections = 0
        self._faults: list[Exception] = []
        self._loop.run_until_complete(self._open())

    def hear(self, data: bytes) -> None:
        """Hear ``data`` in two pieces, from a peer that leaves then."""
        self._harness.envelopes.clear()
        self._loop.run_until_complete(self._hear(data))
        assert not self._faults, self._faults
        failures = self._harness.all(ActorFailed)
        assert not failures, failures[0].error

    async def _open(self) -> None:
        self._server = HttpServer(
            self._serve,
            limits=PortLimits(),
            refusal=lambda _, message: message.encode(),
            publish=self._harness.bus.publish,
            max_body=MAX_FRAME_BYTES,
            ws=SessionProtocol,
            ws_max_size=MAX_FRAME_BYTES,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
        )
        await self._server.start("axon", "127.0.0.1", 0)

    async def _hear(self, data: bytes) -> None:
        protocol: Any = self._server._server.make_protocol(PEER)  # noqa: SLF001 - what the acceptor is given
        wire = _Wire(protocol)
        protocol.connection_made(wire)
        middle = len(data) // 2
        for piece in (data[:middle], data[middle:]):
            if piece and not wire.is_closing():
                wire.get_protocol().data_received(piece)
            await asyncio.sleep(0)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        wire.get_protocol().connection_lost(None)
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._answer(scope, receive, send)
        except Exception as fault:  # noqa: BLE001 - uvicorn would only log it
            self._faults.append(fault)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytearray()
        is_handshake = scope["type"] == "websocket"
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            assert len(body) <= 2 * MAX_FRAME_BYTES
            if not message["more_body"]:
                break
        self._connections += 1
        request = request_of(scope, ConnectionId(self._connections), bytes(body), "0" * 32, upgrade=is_handshake)
        self._harness.observe(request)
        kind = "websocket.http" if is_handshake else "http"
        await send({"type": f"{kind}.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
        await send({"type": f"{kind}.response.body", "body": b""})
