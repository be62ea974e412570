"""The miner's edges, and validators that do not answer as they should: nothing waits for them for ever."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from bittensor_core import Keypair
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Decided,
    DialFailed,
    DialRequested,
    EdgeFailed,
    Event,
    FrameReceived,
    GamesRequested,
    PostAnswered,
    PostFailed,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.messages import SUBPROTOCOL
from bettensor.neurons.edges.dialer import Dialer
from bettensor.neurons.edges.http_client import MAX_ANSWER, HttpClient
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.writer import FrameWriter, TransportGone
from tests.support import Injected, make_hotkey, make_identity

PATIENCE = 20.0
VALIDATOR = make_hotkey("validator")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bench:
    """A bus with the miner's edges, and all that they observe."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.bus = EventBus(SystemClock())
        self.bus.subscribe("*", self._hear, "test")
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        keys = Keys(Keypair.create_from_uri("//Alice"))
        identity = make_identity(keys.hotkey, "miner")
        self.writer = FrameWriter(keys, SystemClock())
        self.dialer = Dialer(identity, keys, self.writer)
        self.http = HttpClient(identity, keys, SystemClock())
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


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
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


async def test_only_so_much_waits_for_a_validator_that_reads_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.dialer.CLOSE_TIMEOUT", 0.2)
    monkeypatch.setattr("bettensor.neurons.edges.dialer.MAX_QUEUED", 8_000_000)
    async with frozen(bench) as endpoint:
        bench.dial(endpoint)
        assert isinstance(await bench.until(ConnectionOpened, DialFailed), ConnectionOpened)
        transport = bench.writer._transports[ConnectionId(1)]  # noqa: SLF001 - what is written to it
        while transport.queued() <= 8_000_000:
            transport.write(b"x" * 60_000)
            await asyncio.sleep(0)
        with pytest.raises(TransportGone, match="too slow"):
            transport.write(b"x")
        closed = await bench.until(ConnectionClosed)
        assert isinstance(closed, ConnectionClosed)
        assert closed.code == CloseCode.SLOW_CONSUMER


@pytest.mark.parametrize("endpoint", ["a..b:80", "127.0.0.1:1", "[::1]:1"])
async def test_an_endpoint_that_is_none_is_a_failed_dial_and_a_failed_exchange(bench: Bench, endpoint: str) -> None:
    bench.dial(endpoint)
    bench.poll(endpoint)
    for kind in (DialFailed, PostFailed):
        failed = await bench.until(kind)
        assert isinstance(failed, kind), failed


async def test_a_validator_that_reads_nothing_cannot_keep_a_session_that_we_close(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.dialer.CLOSE_TIMEOUT", 0.2)

    async with frozen(bench) as endpoint:
        bench.dial(endpoint)
        assert isinstance(await bench.until(ConnectionOpened, DialFailed), ConnectionOpened)
        transport = bench.writer._transports[ConnectionId(1)]  # noqa: SLF001 - what is written to it
        while bench.writer.queued() < 4_000_000:
            transport.write(b"x" * 60_000)
            await asyncio.sleep(0)
        bench.ask(CloseRequested(ConnectionId(1), CloseCode.STALE, "nothing heard"))
        assert isinstance(await bench.until(ConnectionClosed), ConnectionClosed)


async def test_an_exchange_has_its_time_however_slowly_its_answer_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.http_client.TIMEOUT", 0.3)
    async with serving(drip) as endpoint:
        bench.poll(endpoint)
        failed = await bench.until(PostFailed, PostAnswered)
        assert isinstance(failed, PostFailed), failed


async def test_exchanges_that_hang_are_in_nobodys_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.http_client.TIMEOUT", 600.0)
    async with serving(hang) as hanging, serving(refuse) as endpoint:
        for number in range(150):
            bench.poll(hanging, -2 - number, make_hotkey(f"hanging-{number}"))
        bench.poll(endpoint)
        failed = await bench.until(PostFailed)
        assert isinstance(failed, PostFailed)
        assert (failed.hotkey, failed.status) == (VALIDATOR, 503)


async def test_no_redirect_is_followed(bench: Bench) -> None:
    followed: list[bytes] = []

    async def note(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        followed.append(await reader.readline())

    async with serving(note) as elsewhere:

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            place = f"Location: ws://{elsewhere}/\r\n".encode()
            writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n" + place + b"\r\n")

        async with serving(redirect) as endpoint:
            bench.dial(endpoint)
            bench.poll(endpoint)
            for kind in (DialFailed, PostFailed):
                failed = await bench.until(kind)
                assert isinstance(failed, (DialFailed, PostFailed))
                assert failed.status == 302
    assert followed == []


async def test_a_close_that_is_not_answered_keeps_its_code(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.dialer.CLOSE_TIMEOUT", 0.2)

    async with frozen(bench) as endpoint:
        bench.dial(endpoint)
        await bench.until(ConnectionOpened)
        bench.ask(CloseRequested(ConnectionId(1), CloseCode.BAD_SIGNATURE, "not yours"))
        closed = await bench.until(ConnectionClosed)
        assert closed == ConnectionClosed(ConnectionId(1), CloseCode.BAD_SIGNATURE, "not yours")


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


@pytest.mark.parametrize(
    ("first", "flood", "code"),
    [
        (b"", Frame(Opcode.PING, bytes(125)), CloseCode.RATE_LIMITED),
        (b"", Frame(Opcode.PONG, b""), CloseCode.RATE_LIMITED),
        (
            Frame(Opcode.TEXT, b"", fin=False).serialize(mask=False),
            Frame(Opcode.CONT, b"", fin=False),
            CloseCode.TOO_BIG,
        ),
    ],
    ids=["pings", "pongs", "fragments"],
)
async def test_what_costs_a_validator_nothing_cannot_fill_a_miners_memory(
    bench: Bench, first: bytes, flood: Frame, code: CloseCode
) -> None:
    async with flooding(flood, first) as endpoint:
        bench.dial(endpoint)
        closed = await bench.until(ConnectionClosed, DialFailed)
        assert isinstance(closed, ConnectionClosed)
        assert closed.code == code


async def test_pongs_that_are_not_read_end_a_session(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.dialer.MAX_EXTRA_FRAMES", 1_000_000)
    async with flooding(Frame(Opcode.PING, bytes(125))) as endpoint:
        bench.dial(endpoint)
        closed = await bench.until(ConnectionClosed, DialFailed)
        assert isinstance(closed, ConnectionClosed)
        assert closed.code == CloseCode.SLOW_CONSUMER


async def test_what_comes_after_our_close_is_not_even_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing limits how much that is, and the event log would have to take all of it."""
    monkeypatch.setattr("bettensor.neurons.edges.dialer.CLOSE_TIMEOUT", 0.2)
    async with flooding(Frame(Opcode.TEXT, bytes(1000))) as endpoint:
        bench.dial(endpoint)
        await bench.until(FrameReceived)
        bench.ask(CloseRequested(ConnectionId(1), CloseCode.BAD_SIGNATURE, "not yours"))
        heard = len(bench.heard)
        await bench.until(ConnectionClosed)
        assert not [event for event in bench.heard[heard:] if isinstance(event, FrameReceived)]


def refusal(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 503 No", b"Content-Length: %d" % len(body), *headers, b"", body])


async def test_an_answer_that_is_compressed_is_not_unpacked(bench: Bench) -> None:
    bomb = gzip.compress(bytes(4 * MAX_ANSWER))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
        await writer.drain()

    async with serving(answer) as endpoint:
        bench.poll(endpoint)
        answered = await bench.until(PostAnswered, PostFailed)
    frames = [event.data for event in bench.heard if isinstance(event, FrameReceived)]
    assert sum(map(len, frames)) <= len(bomb), answered  # whatever it is taken for, it is no longer than it was


REFUSALS = {
    "a body that is nested without end": refusal(b"[" * 100_000),
    "a number without end": refusal(b'{"error": ' + b"1" * 10_000 + b', "message": ""}'),
    "two times to wait": refusal(b"{}", b"Retry-After: 1", b"Retry-After: 2"),
    "digits of another script": refusal(b"{}", "Retry-After: ٣".encode()),
    "no text": refusal(b'{"error": "\xff\xfe", "message": "\xff"}'),
    "half a character": refusal(b'{"error": "\\ud800", "message": "\\ud800"}'),
    "a body that is no gzip": refusal(b"no", b"Content-Encoding: gzip"),
    "a charset that is none": refusal(b"no", b"Content-Type: text/plain; charset=\x00nothing"),
    "a cookie": refusal(b"{}", b"Set-Cookie: a=b; Max-Age=999999999999999999999", b"Set-Cookie: b=c"),
    "two lengths": refusal(b"{}", b"Content-Length: 3"),
    "two protocols": b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "a line without end": b"HTTP/1.1 503 " + b"x" * 200_000,
    "a status that is none": b"HTTP/1.1 99999 Yes\r\n\r\n",
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
async def test_whatever_a_validator_refuses_with_is_a_failed_dial_and_a_failed_exchange(
    bench: Bench, answer: bytes
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with serving(refuse) as endpoint:
        bench.dial(endpoint)
        dial = await bench.until(DialFailed)
        bench.poll(endpoint)
        post = await bench.until(PostFailed)
    assert isinstance(dial, DialFailed), dial
    assert isinstance(post, PostFailed), post
    assert (dial.reason + post.reason).encode()  # a text that can be recorded
    assert len(bench.http._client.cookies.jar) == 0  # noqa: SLF001 - they would grow for ever
