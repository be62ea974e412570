"""What the suite tests: the WebSocket of our listener, and that of our dialer, each echoing what it gets.

Both speak as in a neuron. The cases of section 9 send messages of up to 16 MiB in up to 65,536 fragments, so they run
without our limits.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, Final
from unittest.mock import patch

from websockets.exceptions import InvalidState, WebSocketException

from bettensor.actors.settings import PortLimits
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import DialRequested
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from bettensor.neurons.edges import dialer, protocols
from bettensor.neurons.edges.http_server import HttpServer
from bettensor.neurons.edges.inbox import Inbox
from bettensor.neurons.edges.outlet import Outlet
from bettensor.neurons.edges.protocols import Sending, SendLimits, SessionProtocol
from bettensor.neurons.edges.scope import Scope

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the largest message of section 9."""


class Echo(SessionProtocol):
    """Sends each message back instead of publishing it."""

    def send_receive_event_to_app(self) -> None:
        if self._connection is None:
            super().send_receive_event_to_app()
            return
        data, self.frames = b"".join(self.frames), []
        with suppress(InvalidState):  # the peer's close came with the message
            self._echo(data)

    def _echo(self, data: bytes) -> None:
        if self.curr_msg_data_type == "text":
            try:
                data.decode()  # as bus/codec.py does
            except UnicodeDecodeError:
                self.end(CloseCode.INVALID_DATA, "not UTF-8")
                return
            self.conn.send_text(data)
        else:
            self.conn.send_binary(data)
        self.transport.write(b"".join(self.conn.data_to_send()))


@contextmanager
def unlimited() -> Iterator[None]:
    """Without our limits of sizes, fragments and control frames."""
    with ExitStack() as patches:
        for module in (dialer, protocols):
            for name in ("MAX_FRAGMENTS", "MAX_EXTRA_FRAMES"):
                patches.enter_context(patch.object(module, name, 1 << 30))
        patches.enter_context(patch.object(dialer, "MIN_FRAME_BYTES", 0))
        patches.enter_context(patch.object(dialer, "MAX_FRAME_BYTES", LARGEST))
        patches.enter_context(patch(f"{__name__}.MAX_FRAME_BYTES", LARGEST))
        yield


@asynccontextmanager
async def listening() -> AsyncIterator[str]:
    """Serve echoes; yields the address."""
    bus = EventBus(SystemClock())
    inbox, sending = Inbox(bus), Sending(SendLimits(4 * LARGEST, 60.0), Outlet(LARGEST), packs=False)

    async def echo(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        protocol: SessionProtocol = scope["extensions"]["bettensor"]
        protocol.attach(bus, inbox, sending, ConnectionId(1))
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    server = HttpServer(
        echo,
        limits=PortLimits(),
        refusal=lambda _, message: message.encode(),
        publish=bus.publish,
        ws=Echo,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
    )
    await server.start("axon", "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def dial(endpoint: str) -> None:
    """Echo what the suite's server sends in each of its cases, and have it stop.

    Args:
        endpoint: of the server.
    """
    [count] = [int(message) async for message in _messages(endpoint, "/getCaseCount")]
    for case in range(1, count + 1):
        async for _ in _messages(endpoint, f"/runCase?case={case}&agent=bettensor", echo=True):
            pass
    async for _ in _messages(endpoint, "/updateReports?agent=bettensor&shutdownOnComplete=true"):
        pass


async def _messages(endpoint: str, target: str, *, echo: bool = False) -> AsyncIterator[str | bytes]:
    request = DialRequested(ConnectionId(1), Hotkey(""), endpoint, None)
    try:
        socket, _ = await dialer.shake_hands(request, target, {})
        async with socket:
            async for message in socket:
                if echo:
                    await socket.send(message)
                yield message
    except (OSError, WebSocketException):
        return  # the end of a case that breaks the protocol
