"""A miner's sessions with validators that do not behave: none of them waits for ever, or fills its memory."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from bettensor.actors.settings import IntakeSettings
from bettensor.bus import packing
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    Event,
    FrameReceived,
    PostFailed,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from bettensor.neurons.edges.writer import TransportGone
from tests.neurons.edges.validators import Bench, Serve, benched, flooding, frozen, recording_proxy, refuse, serving

LONG = 60.0
"""Seconds of a deadline that must not be needed."""


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with benched() as bench:
        yield bench


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


async def test_no_proxy_is_asked_for_a_validator(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async with recording_proxy(monkeypatch) as asked, serving(refuse) as endpoint:
        bench.dial(endpoint)
        bench.poll(endpoint)
        for kind in (DialFailed, PostFailed):
            failed = await bench.until(kind)
            assert isinstance(failed, kind)
            assert failed.status == 503
    assert asked == []


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


async def test_a_close_that_is_not_answered_keeps_its_code(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.dialer.CLOSE_TIMEOUT", 0.2)

    async with frozen(bench) as endpoint:
        bench.dial(endpoint)
        await bench.until(ConnectionOpened)
        bench.ask(CloseRequested(ConnectionId(1), CloseCode.BAD_SIGNATURE, "not yours"))
        closed = await bench.until(ConnectionClosed)
        assert closed == ConnectionClosed(ConnectionId(1), CloseCode.BAD_SIGNATURE, "not yours")


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


async def test_what_has_no_end_after_our_close_is_cut_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.dialer.CLOSE_TIMEOUT", LONG)
    monkeypatch.setattr("bettensor.neurons.edges.dialer.MAX_LATE_BYTES", 1_000_000)
    async with flooding(Frame(Opcode.TEXT, bytes(1000))) as endpoint:
        bench.dial(endpoint)
        await bench.until(FrameReceived)
        bench.ask(CloseRequested(ConnectionId(1), CloseCode.BAD_SIGNATURE, "not yours"))
        assert isinstance(await bench.until(ConnectionClosed), ConnectionClosed)


async def test_an_answer_to_a_handshake_without_an_end_is_not_read_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.dialer.OPEN_TIMEOUT", LONG)
    cuts: list[asyncio.Future[None]] = []

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Yes\r\n")
        cuts.append(asyncio.get_running_loop().create_future())
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"abcdefgh: ijklmnop\r\n" * 1000)
                await writer.drain()
        cuts[-1].set_result(None)

    async with serving(pour) as endpoint:
        bench.dial(endpoint)
        failed = await bench.until(DialFailed, ConnectionOpened)
        assert isinstance(failed, DialFailed)
        assert "did not receive a valid HTTP response" in failed.reason
        async with asyncio.timeout(LONG):
            await asyncio.gather(*cuts)


def _welcoming(status: bytes, *headers: bytes) -> Serve:
    """A server that agrees to a WebSocket, in its own way."""

    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (key,) = (line[19:].decode() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
        ours = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept_key(key).encode())
        writer.write(b"\r\n".join((status, *ours, *headers, b"", b"")))
        await reader.read()

    return agree


NAMED = b"Sec-WebSocket-Protocol: bettensor.v1"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_welcoming(b"HTTP/1.1 101 Yes"), "does not name the subprotocol bettensor.v1"),
        (_welcoming(b"HTTP/1.1 101 Yes", b"Sec-WebSocket-Protocol: chat"), "unsupported subprotocol: chat"),
        (_welcoming(b"HTTP/1.1 101 Yes", NAMED, NAMED), "multiple values"),
        (_welcoming(b"HTTP/1.1 101 Yes", NAMED, b"Sec-WebSocket-Extensions: permessage-deflate"), "no extensions"),
        (_welcoming(b"HTTP/1.0 101 Yes", NAMED), "valid HTTP response"),
    ],
    ids=["no subprotocol", "another subprotocol", "two", "an extension", "HTTP/1.0"],
)
async def test_a_handshake_that_is_not_as_we_asked_opens_nothing(bench: Bench, answer: Serve, reason: str) -> None:
    async with serving(answer) as endpoint:
        bench.dial(endpoint)
        failed = await bench.until(DialFailed, ConnectionOpened)
    assert isinstance(failed, DialFailed)
    assert (failed.status, reason in failed.reason) == (None, True), failed.reason


async def test_a_handshake_as_we_asked_opens_a_session(bench: Bench) -> None:
    async with serving(_welcoming(b"HTTP/1.1 101 Yes", NAMED)) as endpoint:
        bench.dial(endpoint)
        assert isinstance(await bench.until(DialFailed, ConnectionOpened), ConnectionOpened)


async def test_a_flood_of_frames_that_are_too_short_ends_before_it_is_read(bench: Bench) -> None:
    async with flooding(Frame(Opcode.TEXT, b"")) as endpoint:
        bench.dial(endpoint)
        closed = await bench.until(ConnectionClosed, DialFailed)
        assert isinstance(closed, ConnectionClosed)
        assert (closed.code, closed.reason) == (CloseCode.PROTOCOL_VIOLATION, "a frame that is too short to be one")
        assert not [event for event in bench.heard if isinstance(event, FrameReceived)]


async def test_who_goes_on_sending_too_much_is_disconnected() -> None:
    limits = IntakeSettings(bytes_per_second=1e6, burst_bytes=MAX_FRAME_BYTES, patience=0.01)
    async with benched(limits) as bench, flooding(Frame(Opcode.TEXT, bytes(60_000))) as endpoint:
        bench.dial(endpoint)
        closed = await bench.until(ConnectionClosed, DialFailed)
        assert isinstance(closed, ConnectionClosed)
        assert (closed.code, closed.reason) == (CloseCode.RATE_LIMITED, "more than 1 MB a second for 0 s")
        assert len([event for event in bench.heard if isinstance(event, FrameReceived)]) < 10


# --- compressed updates


FRAME = b'{"games":"' + b"game " * 2000 + b'"}\n0x' + b"0" * 128
PACKED = packing.pack(FRAME)
BOMB = zlib.compress(bytes(50_000_000), 9)


async def told(bench: Bench, *messages: bytes) -> tuple[list[Event], str]:
    """What the bus hears when a validator sends these binary messages and closes; and what the miner asked for."""
    asked = ""

    async def send(socket: ServerConnection) -> None:
        nonlocal asked
        asked = socket.request.path if socket.request else ""
        for message in messages:
            await socket.send(message)

    async with serve(send, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
        bench.dial(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await bench.until(ConnectionClosed)
    return [event for event in bench.heard if isinstance(event, FrameReceived | BinaryReceived)], asked


async def test_a_compressed_update_is_heard_as_the_frame_that_it_stands_for(bench: Bench) -> None:
    heard, asked = await told(bench, PACKED, PACKED)
    assert heard == [FrameReceived(ConnectionId(1), FRAME)] * 2
    assert asked.endswith("?netuid=30&encoding=deflate")


@pytest.mark.parametrize("data", [b"", b"x", PACKED[:-1], PACKED + b"x", PACKED * 2, BOMB])
async def test_any_other_binary_message_is_told_as_one(bench: Bench, data: bytes) -> None:
    heard, _ = await told(bench, data)
    assert heard == [BinaryReceived(ConnectionId(1), len(data))]


async def test_without_compression_nothing_is_asked_for_and_nothing_inflated() -> None:
    async with benched(compression=False) as bench:
        heard, asked = await told(bench, PACKED)
    assert heard == [BinaryReceived(ConnectionId(1), len(PACKED))]
    assert asked.endswith("?netuid=30")
