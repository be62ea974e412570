"""A miner's edges on a bus, and validators that do not answer as they should."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from bittensor_core import Keypair
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame

from bettensor.actors.settings import IntakeSettings
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import ConnectionClosed, Decided, DialRequested, EdgeFailed, Event, GamesRequested
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.messages import SUBPROTOCOL
from bettensor.neurons.edges.dialer import Dialer
from bettensor.neurons.edges.http_client import HttpClient
from bettensor.neurons.edges.intake import Intake
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.writer import FrameWriter
from tests.support import Injected, make_hotkey, make_identity

PATIENCE = 20.0
VALIDATOR = make_hotkey("validator")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bench:
    """A bus with the miner's edges, and all that they observe."""

    def __init__(self, intake_settings: IntakeSettings) -> None:
        self.heard: list[Event] = []
        self.bus = EventBus(SystemClock())
        self.bus.subscribe("*", self._hear, "test")
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        keys = Keys(Keypair.create_from_uri("//Alice"))
        identity = make_identity(keys.hotkey, "miner")
        self.writer = FrameWriter(keys, SystemClock())
        intake = Intake(intake_settings, SystemClock())
        self.dialer = Dialer(identity, keys, self.writer, intake, SystemClock())
        self.http = HttpClient(identity, keys, intake, SystemClock())
        for edge in (self.writer, self.dialer, self.http):
            edge.attach(self.bus)
        self._news = asyncio.Event()

    def ask(self, event: Decided) -> None:
        self.bus.publish(Injected(event))

    def dial(self, endpoint: str, connection: int = 1) -> None:
        self.ask(DialRequested(ConnectionId(connection), VALIDATOR, endpoint, None))

    def poll(self, endpoint: str, connection: int = -1, validator: Hotkey = VALIDATOR) -> None:
        self.ask(GamesRequested(ConnectionId(connection), validator, endpoint, None))

    async def until(self, *kinds: type[Event]) -> Event:
        """The first event of one of these kinds, or of a failed edge."""
        async with asyncio.timeout(PATIENCE):
            while not (found := [event for event in self.heard if isinstance(event, (*kinds, EdgeFailed))]):
                self._news.clear()
                await self._news.wait()
        return found[0]

    def _hear(self, event: Event, _: Envelope) -> None:
        self.heard.append(event)
        self._news.set()


@asynccontextmanager
async def benched(intake: IntakeSettings | None = None) -> AsyncIterator[Bench]:
    """A bench whose edges are closed at the end."""
    bench = Bench(intake or IntakeSettings())
    yield bench
    await bench.dialer.close()
    await bench.http.close()


@asynccontextmanager
async def serving(answer: Serve) -> AsyncIterator[str]:
    """A server that answers like this; yields its address."""
    at_work: set[asyncio.Task[None] | None] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_work.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError):
                await answer(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in filter(None, at_work):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def frozen(bench: Bench) -> AsyncIterator[str]:
    """A validator that opens a session and then reads nothing, not even our close; yields its address."""

    async def freeze(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await bench.until(ConnectionClosed)
        socket.transport.abort()

    async with serve(freeze, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:  # type: ignore[list-item]
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that never ends, a byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def flooding(flood: Frame, first: bytes = b"") -> AsyncIterator[str]:
    """A validator that sends this frame without end, and reads nothing; yields its address."""
    many = flood.serialize(mask=False) * 500

    async def pour(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        socket.transport.write(first)
        while not socket.transport.is_closing():
            if socket.transport.get_write_buffer_size() < 1_000_000:
                socket.transport.write(many)
            await asyncio.sleep(0)

    async with serve(pour, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:  # type: ignore[list-item]
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def refusal(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 503 No", b"Content-Length: %d" % len(body), *headers, b"", body])


@asynccontextmanager
async def recording_proxy(patch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """A proxy that the environment names for all; it refuses what it is asked for, and tells it."""
    asked: list[str] = []

    async def refuse_and_tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with serving(refuse_and_tell) as endpoint:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.setenv(name, f"http://{endpoint}")
            patch.delenv(name.upper(), raising=False)
        patch.setenv("no_proxy", "elsewhere.example")  # what is added to it is undone
        patch.delenv("NO_PROXY", raising=False)
        yield asked
