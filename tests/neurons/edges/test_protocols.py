"""Sessions at their sockets: what is read from them and when, and that each of them ends."""

import asyncio
import contextlib
import gc
import socket
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from bettensor.actors.settings import PortLimits
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.codec import Frame as Signed
from bettensor.bus.codec import join
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    BinaryReceived,
    ConnectionClosed,
    FrameReceived,
    SendQueueDrained,
    SendQueueFilled,
    UnsignedReceived,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import MAX_FRAME_BYTES
from bettensor.neurons.edges.http_server import HttpServer
from bettensor.neurons.edges.inbox import MAX_WAITING, Inbox
from bettensor.neurons.edges.outlet import Outlet
from bettensor.neurons.edges.protocols import Sending, SendLimits, SessionProtocol
from bettensor.neurons.edges.writer import TransportGone
from bettensor.neurons.simulation import EventLog

PATIENCE = 10.0
MIB = 1024 * 1024
SMALL = join(Signed(b'{"a":1}', bytes(64)))
"""A frame of a session."""


class Port(EventLog):
    """A port whose sessions are admitted without question."""

    def __init__(self, queue_bytes: int = MIB) -> None:
        super().__init__()
        self.bus = EventBus(SystemClock(), record=self.append)
        self.inbox = Inbox(self.bus)
        self.sending = Sending(SendLimits(queue_bytes, timeout=60.0), Outlet(MIB), packs=False)
        self.sessions: dict[ConnectionId, SessionProtocol] = {}
        self.server = HttpServer(
            self.serve,
            limits=PortLimits(),
            refusal=lambda _, message: message.encode(),
            publish=self.bus.publish,
            ws=SessionProtocol,
            ws_max_size=MAX_FRAME_BYTES,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
        )

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        protocol: SessionProtocol = scope["extensions"]["bettensor"]
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection = ConnectionId(len(self.sessions) + 1)
        protocol.attach(self.bus, self.inbox, self.sending, connection)
        await send({"type": "websocket.accept"})
        protocol.forget_handshake()
        self.sessions[connection] = protocol
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def dial(self) -> "Peer":
        """The other side of the next session."""
        count = len(self.sessions)
        peer = Peer()
        await peer.connect(self.server.port)
        await self.until(lambda: len(self.sessions) > count)
        return peer

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not is_so():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.005)

    async def until_closed(self, count: int = 1) -> list[ConnectionClosed]:
        await self.until(lambda: len(self.all(ConnectionClosed)) >= count)
        return self.all(ConnectionClosed)


class Peer:
    """A client that reads nothing unless it is told to."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)

    async def connect(self, port: int, behind: bytes = b"") -> bytes:
        """The head of the answer to the handshake, and what is sent right ``behind`` it."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", port))
        protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/"))
        protocol.send_request(protocol.connect())
        await loop.sock_sendall(self.socket, b"".join(protocol.data_to_send()) + behind)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(self.socket, 1)
        return head

    async def say(self, *frames: bytes, opcode: Opcode = Opcode.TEXT) -> None:
        data = b"".join(Frame(opcode, frame).serialize(mask=True) for frame in frames)
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def close(self) -> None:
        await self.say(b"\x03\xe8", opcode=Opcode.CLOSE)

    async def send_nonsense(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, b"\xff" * 8)

    async def shut(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    async def read_to_the_end(self) -> bytes:
        said = b""
        async with asyncio.timeout(PATIENCE):
            while data := await asyncio.get_running_loop().sock_recv(self.socket, 1 << 20):
                said += data
        return said


class Slow(Port):
    """A port that takes its time to admit a session."""

    asked = False

    async def serve(self, _: Any, receive: Any, __: Any) -> None:
        self.asked = True
        while (await receive())["type"] != "websocket.disconnect":
            pass


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Port]:
    port = Port(**options)
    await port.server.start("axon", "127.0.0.1", 0)
    try:
        yield port
    finally:
        await port.server.abort()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with listening() as port:
        yield port


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions have half a second for their end."""
    monkeypatch.setattr("bettensor.neurons.edges.protocols.CLOSE_TIMEOUT", 0.5)


def fill(session: SessionProtocol) -> None:
    """Write to a peer that does not read, until 1 MiB waits for it."""
    with contextlib.suppress(TransportGone):
        while True:
            session.write(b"x" * 60_000)


def fill_almost(session: SessionProtocol) -> None:
    while session.queued() < MIB * 9 // 10:
        session.write(b"x" * 60_000)


async def end_by_us(_: Peer, session: SessionProtocol) -> None:
    session.end(CloseCode.REPLACED, "a newer one")


async def end_by_us_answered(peer: Peer, session: SessionProtocol) -> None:
    session.end(CloseCode.REPLACED, "a newer one")
    await peer.close()


async def end_by_peer(peer: Peer, _: SessionProtocol) -> None:
    await peer.close()


async def end_by_nonsense(peer: Peer, _: SessionProtocol) -> None:
    await peer.send_nonsense()


async def end_by_half_close(peer: Peer, _: SessionProtocol) -> None:
    await peer.shut()


async def end_by_half_close_while_paused(peer: Peer, session: SessionProtocol) -> None:
    session.pause("work")
    await peer.shut()
    session.resume("work")


async def end_by_overflow(_: Peer, session: SessionProtocol) -> None:
    fill(session)


async def end_by_fragments(peer: Peer, _: SessionProtocol) -> None:
    start = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
    more = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
    await asyncio.get_running_loop().sock_sendall(peer.socket, start + more * 100)


async def end_by_stop(_: Peer, session: SessionProtocol) -> None:
    session.shutdown()


async def end_by_a_bug(peer: Peer, session: SessionProtocol) -> None:
    session.handle_text = None  # type: ignore[method-assign, assignment]
    await peer.say(SMALL)


WAYS = [
    end_by_us,
    end_by_us_answered,
    end_by_peer,
    end_by_nonsense,
    end_by_half_close,
    end_by_half_close_while_paused,
    end_by_overflow,
    end_by_fragments,
    end_by_stop,
    end_by_a_bug,
]


@pytest.mark.usefixtures("_hasty")
async def test_sessions_that_end_unread_by_whatever_way_keep_nothing() -> None:
    """300 of them, each with almost 1 MiB that its peer does not read."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # for the bugs
    async with listening() as port:
        tracemalloc.start()
        peers = []
        try:
            for number in range(300):
                peer = await port.dial()
                peers.append(peer)
                session = port.sessions[ConnectionId(number + 1)]
                fill_almost(session)
                await WAYS[number % len(WAYS)](peer, session)
            await port.until_closed(300)
            gone = [weakref.ref(ended) for ended in port.sessions.values()]
            port.sessions.clear()
            del session
            await asyncio.sleep(0)
            gc.collect()
            assert not [left for ref in gone if (left := ref()) is not None]
            late, most = tracemalloc.get_traced_memory()
            assert late < MIB < most / 5  # on a busy machine the first have ended before the last are there
        finally:
            tracemalloc.stop()
            for peer in peers:
                peer.socket.close()


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("way", WAYS[:6])
async def test_a_peer_that_still_reads_gets_what_waits_for_it_before_the_end(port: Port, way: Any) -> None:
    peer = await port.dial()
    session = port.sessions[ConnectionId(1)]
    for number in range(20):
        session.write(b"%d" % number * 1000)
    reading = asyncio.create_task(peer.read_to_the_end())
    await way(peer, session)
    said = await reading
    assert all(b"%d" % number * 1000 in said for number in range(20))
    await port.until_closed()
    peer.socket.close()


async def test_frames_are_told_from_what_is_none_of_which_only_the_beginning_is_kept(port: Port) -> None:
    peer = await port.dial()
    junk = b"\xff" * 60_000
    await peer.say(SMALL, junk, SMALL)
    await peer.say(b"abc", opcode=Opcode.BINARY)
    await port.until(lambda: port.all(BinaryReceived))
    one = ConnectionId(1)
    assert [envelope.event for envelope in port.envelopes] == [
        FrameReceived(one, SMALL),
        UnsignedReceived(one, 60_000, junk[:64]),
        FrameReceived(one, SMALL),
        BinaryReceived(one, 3),
    ]
    peer.socket.close()


async def test_nothing_is_read_from_a_session_while_there_is_a_cause_not_to(port: Port) -> None:
    peer = await port.dial()
    session = port.sessions[ConnectionId(1)]
    session.pause("work")
    session.pause("answers")
    session.resume("stop")
    await peer.say(SMALL)
    other = await port.dial()
    await other.say(SMALL)
    await port.until(lambda: port.all(FrameReceived))
    session.resume("work")
    await other.say(SMALL)
    await port.until(lambda: len(port.all(FrameReceived)) == 2)
    session.resume("answers")
    await port.until(lambda: len(port.all(FrameReceived)) == 3)
    assert [event.connection for event in port.all(FrameReceived)] == [2, 2, 1]
    for dialled in (peer, other):
        dialled.socket.close()


async def test_what_one_read_brings_beyond_what_may_wait_is_parsed_later_and_in_order(port: Port) -> None:
    peer = await port.dial()
    session = port.sessions[ConnectionId(1)]
    said = [join(Signed(b'{"a":%d}' % number, bytes(64))) for number in range(20 * MAX_WAITING)]
    most = 0

    def count(*_: Any) -> None:
        nonlocal most
        lane = port.inbox._lanes.get(ConnectionId(1))  # noqa: SLF001 - what waits
        most = max(most, 0 if lane is None else len(lane.events))

    port.bus.subscribe(FrameReceived, count, "test")
    session.data_received(b"".join(Frame(Opcode.TEXT, data).serialize(mask=True) for data in said))
    await port.until(lambda: len(port.all(FrameReceived)) == len(said))
    assert [event.data for event in port.all(FrameReceived)] == said
    assert most < 3 * MAX_WAITING
    await peer.say(SMALL)
    await port.until(lambda: port.all(FrameReceived)[-1].data == SMALL)
    peer.socket.close()


async def test_a_close_of_ours_is_not_held_up_by_frames_that_wait(port: Port) -> None:
    peer = await port.dial()
    session = port.sessions[ConnectionId(1)]
    session.pause("work")
    session.data_received(Frame(Opcode.TEXT, SMALL).serialize(mask=True) * 10 * MAX_WAITING)
    session.end(CloseCode.NOT_REGISTERED, "gone")
    session.pause("answers")  # too late
    await peer.close()
    (closed,) = await port.until_closed()
    assert (closed.code, closed.reason) == (CloseCode.NOT_REGISTERED, "gone")
    assert not port.all(FrameReceived)
    peer.socket.close()


async def test_so_many_bytes_at_most_are_read_after_our_close(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.protocols.MAX_LATE_BYTES", 100_000)
    peer = await port.dial()
    port.sessions[ConnectionId(1)].end(CloseCode.REPLACED, "")
    port.sessions[ConnectionId(1)].data_received(Frame(Opcode.TEXT, b"x" * 60_000).serialize(mask=True) * 3)
    await port.until_closed()
    peer.socket.close()


async def test_a_slow_reader_is_told_of_and_so_is_that_it_reads_again(port: Port) -> None:
    peer = await port.dial()
    fill_almost(port.sessions[ConnectionId(1)])
    await port.until(lambda: port.all(SendQueueFilled))
    reading = asyncio.create_task(peer.read_to_the_end())
    await port.until(lambda: port.all(SendQueueDrained))
    await peer.shut()
    await reading
    peer.socket.close()


async def test_who_speaks_before_the_answer_to_the_handshake_is_cut_off() -> None:
    """Else the library would read on when nothing may be read, because it had stopped reading for this message."""
    port = Slow()
    await port.server.start("axon", "127.0.0.1", 0)
    peer = Peer()
    connecting = asyncio.create_task(peer.connect(port.server.port))
    await port.until(lambda: port.asked)
    connecting.cancel()
    await peer.say(SMALL)
    await port.until(lambda: not len(port.server.crowd))
    with contextlib.suppress(ConnectionError):
        assert await peer.read_to_the_end() == b""
    peer.socket.close()
    await port.server.abort()


async def test_what_comes_right_behind_a_handshake_belongs_to_no_request(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as port:
        peer = Peer()
        assert (await peer.connect(port.server.port, behind=b"x" * 20_000)).startswith(b"HTTP/1.1 101 ")
        await port.until(lambda: port.sessions)
        await peer.say(SMALL)
        await port.until(lambda: port.all(FrameReceived))
        peer.socket.close()
    assert not caplog.records
