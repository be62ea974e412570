"""What strangers can do at a public port: little, and not for long. On real sockets, and both event loops."""

import asyncio
import contextlib
import gc
import json
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from bettensor.actors.settings import PortLimits
from bettensor.bus.events import ConnectionsShed, Event
from bettensor.neurons.edges import request_protocol
from bettensor.neurons.edges.http_server import HttpServer
from bettensor.neurons.edges.request_protocol import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINGER_BYTES,
    MAX_UNSENT_BYTES,
    HttpAnswer,
    whole_answer,
)
from bettensor.neurons.edges.scope import target_of
from tests.neurons.edges.certificates import make_context, trusting_anyone
from tests.neurons.edges.conftest import Run

SHORT: Final = 0.1
"""Seconds of the deadline that a scenario is about. All others are long."""
LONG: Final = 60.0
MAX_BODY: Final = 1000
LARGE: Final = 16 * 1024 * 1024
"""Bytes of an answer that no system takes for a peer that does not read."""
GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HANDSHAKE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Line:
    """One connection to the port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> tuple[int, Any]:
        """Status and content of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        return int(head.split()[1]), json.loads(await self.reader.readexactly(length))

    async def refusal(self) -> tuple[int, str]:
        """Status and code of the next answer, behind which the connection ends."""
        status, content = await self.answer()
        assert await self.is_cut()
        return status, content["error"]

    async def is_cut(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await self.reader.read() == b""
        return True


class Bench:
    """A port whose application says how long the body was; /large answers much, /pieces does so piece by piece, /early
    before it has read the body, and /wait only when it is let.
    """

    def __init__(self, limits: dict[str, Any], **options: Any) -> None:
        self.events: list[Event] = []
        self.asked: list[str] = []
        self.left = asyncio.Event()
        self.let = asyncio.Event()
        self.protocol: Any = None
        """That of the last request."""
        generous = dict.fromkeys(("request_timeout", "answer_timeout", "idle_timeout"), LONG)
        self.server = HttpServer(
            self._serve,
            limits=PortLimits(**generous | limits),
            refusal=lambda code, message: json.dumps({"error": code, "message": message}).encode(),
            publish=self.events.append,
            max_body=MAX_BODY,
            **{"ws": "none"} | options,
        )

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.asked.append(path)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        self.protocol = scope["extensions"]["bettensor"]
        size, more = 0, path != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            size, more = size + len(message["body"]), message["more_body"]
        if path == "/wait":
            await self.let.wait()
        if path == "/pieces":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LARGE)]})
            for _ in range(LARGE // 2**14):
                await send({"type": "http.response.body", "body": bytes(2**14), "more_body": True})
        content = b" " * LARGE if path == "/large" else json.dumps({"size": size}).encode()
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    @asynccontextmanager
    async def line(self, *, small: bool = False, context: Any = None) -> AsyncIterator[Line]:
        """A connection; if it is ``small``, the system buffers little of what is not read."""
        dialled = socket.socket()
        if small:
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dialled.setblocking(False)
        await asyncio.get_running_loop().sock_connect(dialled, ("127.0.0.1", self.server.port))
        name = None if context is None else "localhost"
        reader, writer = await asyncio.open_connection(sock=dialled, ssl=context, server_hostname=name, limit=2**20)
        try:
            yield Line(reader, writer)
        finally:
            writer.transport.abort()

    async def answers(self, request: bytes) -> tuple[int, Any]:
        async with self.line() as line:
            await line.send(request)
            return await line.answer()

    async def is_empty(self) -> bool:
        """Wait until the port has no connection."""
        while len(self.server.crowd):  # noqa: ASYNC110 - a connection ends without an event
            await asyncio.sleep(0.01)
        return True


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - a request has no event outside the port
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(options: dict[str, Any] | None = None, **limits: Any) -> AsyncIterator[Bench]:
    bench = Bench(limits, **options or {})
    await bench.server.start("axon", "127.0.0.1", 0)
    try:
        yield bench
    finally:
        bench.let.set()
        await bench.server.abort()


# --- heads


ENDLESS: Final[dict[str, tuple[bytes, bytes, int]]] = {
    "a header": (b"GET / HTTP/1.1\r\na: ", b"x" * 1000, 431),
    "the name of a header": (b"GET / HTTP/1.1\r\n", b"x" * 1000, 431),
    "the target": (b"GET /", b"x" * 1000, 414),
    "short headers": (b"GET / HTTP/1.1\r\n", b"a:b\r\n" * 200, 431),
    "empty lines": (b"", b"\r\n" * 500, 431),
    "the target of a handshake": (b"GET /ws?", b"x" * 1000, 414),
    "a header of a handshake": (HANDSHAKE[:-2] + b"a: ", b"x" * 1000, 431),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_is_refused_at_16_kib(run: Run, name: str) -> None:
    begin, piece, status = ENDLESS[name]

    async def scenario() -> None:
        async with serving() as bench:
            for pieces in (1, 2000):  # in many turns of the event loop, and in few
                async with bench.line() as line:
                    await line.send(begin)
                    for _ in range(0, 2000, pieces):
                        await line.send(piece * pieces)
                    assert await line.refusal() == (status, "too_large")
            assert bench.asked == []
            assert await bench.answers(GET) == (200, {"size": 0})

    run(scenario())


def test_one_byte_at_a_time_counts_as_much(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_protocol, "MAX_HEAD_BYTES", 300)

    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            line.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"GET / HTTP/1.1\r\na: ".ljust(400, b"x"):
                await line.send(bytes([byte]))
                await asyncio.sleep(0)
            assert await line.refusal() == (431, "too_large")

    run(scenario())


def test_a_head_of_16_kib_and_64_headers_is_read_with_the_body_behind_it(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            for size in (MAX_HEAD_BYTES, MAX_HEAD_BYTES - 1, MAX_HEAD_BYTES // 2):
                head = b"POST / HTTP/1.1\r\nContent-Length: 900\r\n" + b"a: b\r\n" * (MAX_HEADERS - 2) + b"a: "
                await line.send(head.ljust(size - 4, b"x") + b"\r\n\r\n" + b"x" * 900)
                assert await line.answer() == (200, {"size": 900})
            await line.send(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n")
            assert await line.refusal() == (431, "too_large")

    run(scenario())


def test_what_goes_on_behind_a_refusal_is_thrown_away_and_then_cut_off(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_protocol, "CLOSE_TIMEOUT", LONG)

    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"GET /" + b"x" * MAX_HEAD_BYTES)
            for _ in range(64):  # the system takes some without us
                if not line.writer.transport.is_closing():
                    await line.send(b"x" * MAX_LINGER_BYTES)
            assert await bench.is_empty()

    run(scenario())


# --- forms


BODY: Final = b"\r\n5\r\nhello\r\n0\r\n\r\n"
FORMS: Final[dict[str, tuple[bytes, int, str]]] = {
    "noise": (b"\x00\x01\x02\r\n\r\n", 400, "malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", 400, "malformed"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed"),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\n\r\n", 400, "malformed"),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400, "malformed"),
    "a length and chunks": (
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n" + BODY,
        400,
        "malformed",
    ),
    "chunks and a length": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n" + BODY,
        400,
        "malformed",
    ),
    "another coding behind chunked": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n" + BODY,
        400,
        "malformed",
    ),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "malformed"),
    "a length that is no number": (b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", 400, "malformed"),
    "a length of many digits": (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n", 400, "malformed"),
    "a negative length": (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400, "malformed"),
    "a body above the limit": (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413, "too_large"),
    "a body above the limit, on request": (
        b"POST / HTTP/1.1\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
        413,
        "too_large",
    ),
    "no length": (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nhello", 411, "malformed"),
    "no length, and no body": (b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", 411, "malformed"),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    "a handshake of HTTP/1.0": (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 400, "no_upgrade"),
    "a handshake that is not ASCII": (HANDSHAKE.replace(b"dGhl", b"\xff\xff\xff\xff"), 400, "malformed"),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n\r\n", 400, "malformed"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n\r\n", 400, "malformed"),
    "a handshake by POST": (HANDSHAKE.replace(b"GET", b"POST"), 405, "method_not_allowed"),
    "a handshake with a body": (
        HANDSHAKE.replace(b"Host: x\r\n", b"Content-Length: 5\r\n") + b"hello",
        400,
        "malformed",
    ),
    "a handshake with chunks": (
        HANDSHAKE.replace(b"Host: x", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
        "malformed",
    ),
    "a handshake without a key": (HANDSHAKE.replace(b"-Key", b"-Kee"), 400, "malformed"),
    "a handshake with two keys": (
        HANDSHAKE.replace(b"Host: x", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        400,
        "malformed",
    ),
    "a handshake with a short key": (HANDSHAKE.replace(b"dGhl", b""), 400, "malformed"),
    "a handshake whose key is no base64": (HANDSHAKE.replace(b"dGhl", b"dG!l"), 400, "malformed"),
    "a handshake of another version": (HANDSHAKE.replace(b"13", b"8"), 426, "unsupported_protocol"),
    "a handshake of no version": (HANDSHAKE.replace(b"-Version", b"-Versions"), 426, "unsupported_protocol"),
    "a handshake with a long target": (HANDSHAKE.replace(b"/ws", b"/ws?a=" + b"a" * 8192), 414, "too_large"),
    "a handshake with a long header": (HANDSHAKE.replace(b"Host: x", b"Host: " + b"x" * 8185), 431, "too_large"),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_no_request_gets_a_typed_refusal_and_the_end(run: Run, name: str) -> None:
    request, status, code = FORMS[name]

    async def scenario() -> None:
        async with serving({"ws": "websockets-sansio"}) as bench, bench.line() as line:
            await line.send(request)
            assert await line.refusal() == (status, code)
            assert bench.asked == []

    run(scenario())


def test_a_handshake_of_another_version_is_told_which(run: Run) -> None:
    async def scenario() -> None:
        async with serving({"ws": "websockets-sansio"}) as bench, bench.line() as line:
            await line.send(HANDSHAKE.replace(b"13", b"8"))
            assert b"\r\nsec-websocket-version: 13\r\n" in await line.reader.readuntil(b"\r\n\r\n")

    run(scenario())


@pytest.mark.parametrize(
    "handshake",
    [
        HANDSHAKE.replace(b"Host: x", b"Host: " + b"x" * 8184),
        HANDSHAKE.replace(b"/ws", b"/ws?" + b"a" * (8192 - 19)),
        HANDSHAKE.replace(b"Host: x", b"Content-Length: 0"),
    ],
    ids=["a header", "a target", "no body"],
)
def test_a_handshake_that_the_websocket_library_can_read_reaches_the_application(run: Run, handshake: bytes) -> None:
    async def scenario() -> None:
        async with serving({"ws": "websockets-sansio"}) as bench, bench.line() as line:
            await line.send(handshake)
            assert (await line.reader.readuntil(b"\r\n")).split()[1] == b"403"  # the application closes it
            assert bench.asked == ["/ws"]

    run(scenario())


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + BODY, 5),
        (b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, 1000),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 0),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
        (b"GET / HTTP/1.0\r\n\r\n", 0),
        (b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 0),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 0),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    ],
    ids=[
        "chunks",
        "a length",
        "a whole URL",
        "empty lines",
        "HTTP/1.0",
        "another upgrade",
        "the whole server",
        "no body",
    ],
)
def test_unusual_requests_are_answered(run: Run, request_: bytes, size: int) -> None:
    async def scenario() -> None:
        async with serving() as bench:
            assert await bench.answers(request_) == (200, {"size": size})

    run(scenario())


def test_a_sender_that_asks_first_gets_its_100(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await line.send(b"hi")
            assert await line.answer() == (200, {"size": 2})

    run(scenario())


def test_behind_another_upgrade_the_connection_ends(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
            await line.answer()
            assert await line.is_cut()

    run(scenario())


def test_one_request_after_the_other_shares_a_connection(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            for size in (0, 5, 7):
                await line.send(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
                assert await line.answer() == (200, {"size": size})

    run(scenario())


@pytest.mark.parametrize("behind", [GET * 1000, b'{"a": "body of a GET"}'], ids=["requests", "a body"])
def test_what_comes_before_the_answer_is_refused_after_it(run: Run, behind: bytes) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + behind)
            while not bench.asked:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await line.send(behind)
            bench.let.set()
            assert await line.answer() == (200, {"size": 0})
            assert await line.refusal() == (400, "malformed")
            assert bench.asked == ["/wait"]

    run(scenario())


def test_a_body_that_cannot_be_read_is_refused_and_the_application_hears_that_its_sender_left(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            while not bench.asked:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await line.send(b"no number\r\n")
            assert await line.refusal() == (400, "malformed")
            await bench.left.wait()

    run(scenario())


def test_over_tls_too_a_refusal_comes_whole(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with serving({"tls": lambda: context}) as bench, bench.line(context=trusting_anyone()) as line:
            await line.send(GET)
            assert await line.answer() == (200, {"size": 0})
            await line.send(b"GET /" + b"x" * 2 * MAX_HEAD_BYTES)
            assert await line.refusal() == (414, "too_large")

    run(scenario())


# --- deadlines: each scenario has one that is short


class Stalled(NamedTuple):
    """Who does not go on, and bytes that change nothing about it."""

    limit: str
    data: bytes
    drop: bytes
    asks_first: bool = False
    """A request has been answered before."""


STALLED: Final = {
    "before the first byte": Stalled("request_timeout", b"", b"\r\n"),
    "in a head": Stalled("request_timeout", b"GET / HTTP/1.1\r\na: ", b"x"),
    "in a body": Stalled("request_timeout", b"POST / HTTP/1.1\r\nContent-Length: 500\r\n\r\nhel", b"x"),
    "in a chunk": Stalled("request_timeout", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhel", b"x"),
    "in a second head": Stalled("request_timeout", b"GET / HTTP/1.1\r\na: ", b"x", asks_first=True),
    "after an answer": Stalled("idle_timeout", b"", b"\r\n", asks_first=True),
}


@pytest.mark.parametrize("name", STALLED)
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "dripping"])
def test_who_does_not_go_on_is_cut_off(run: Run, name: str, *, drips: bool) -> None:
    stalled = STALLED[name]

    async def drip(line: Line) -> None:
        while not line.writer.transport.is_closing():
            await asyncio.sleep(SHORT / 10)
            await line.send(stalled.drop)

    async def scenario() -> None:
        async with serving(**dict[str, Any]({stalled.limit: SHORT})) as bench, bench.line() as line:
            if stalled.asks_first:
                await line.send(GET)
                await line.answer()
            await line.send(stalled.data)
            dripping = asyncio.create_task(drip(line)) if drips else None
            assert await line.is_cut()
            assert await bench.is_empty()
            if dripping is not None:
                dripping.cancel()

    run(scenario())


def test_after_one_empty_line_behind_an_answer_silence_has_an_end(run: Run) -> None:
    """uvicorn stops counting with any byte."""

    async def scenario() -> None:
        async with serving(idle_timeout=SHORT) as bench, bench.line() as line:
            await line.send(GET)
            await line.answer()
            await line.send(b"\r\n")
            assert await line.is_cut()

    run(scenario())


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
@pytest.mark.parametrize("behind", [b"", b"\r\n", GET, GET * 1000], ids=["nothing", "a line", "a request", "many"])
def test_an_answer_that_is_not_read_is_given_up(run: Run, head: bytes, behind: bytes) -> None:
    async def scenario() -> None:
        async with serving(answer_timeout=SHORT, idle_timeout=SHORT / 2) as bench, bench.line(small=True) as line:
            line.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await line.send(b"GET /large HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
            while not bench.asked:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await asyncio.sleep(SHORT / 4)  # the answer has been made
            line.writer.write(behind)
            assert await bench.is_empty()

    run(scenario())


def test_a_slow_reader_has_its_time_and_its_next_request(run: Run) -> None:
    async def scenario() -> None:
        async with serving(idle_timeout=SHORT) as bench, bench.line(small=True) as line:
            await line.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await line.reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(3 * SHORT)
            await line.reader.readexactly(LARGE)
            await line.send(GET)
            assert await line.answer() == (200, {"size": 0})

    run(scenario())


def test_an_answer_that_is_never_made_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_protocol, "EXCHANGE_TIMEOUT", SHORT)

    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await line.is_cut()
            assert bench.asked == ["/wait"]

    run(scenario())


def test_who_does_not_close_behind_a_refusal_is_cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_protocol, "CLOSE_TIMEOUT", SHORT)

    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"noise\r\n\r\n")
            assert (await line.answer())[0] == 400
            assert await bench.is_empty()

    run(scenario())


def test_who_says_that_nothing_more_comes_ends_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"GET / HTTP/1.1\r\n")
            line.writer.write_eof()
            assert await line.is_cut()

    run(scenario())


def test_who_reads_nothing_and_says_that_nothing_more_comes_is_cut_off(run: Run) -> None:
    async def scenario() -> None:
        async with serving(answer_timeout=SHORT) as bench, bench.line(small=True) as line:
            line.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await line.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            while not bench.asked:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await asyncio.sleep(SHORT / 2)  # the answer has been made
            line.writer.write_eof()
            assert await bench.is_empty()

    run(scenario())


def test_the_rest_of_a_refused_body_is_thrown_away_and_the_next_request_answered(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_protocol, "MAX_DISCARDED_BYTES", 100_000)

    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            for _ in range(2):
                await line.send(b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
                assert await line.answer() == (200, {"size": 0})
                await line.send((b"c350\r\n" + b"x" * 50_000 + b"\r\n") + b"0\r\n\r\n")
            await line.send(b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert await line.answer() == (200, {"size": 0})
            await line.send((b"c350\r\n" + b"x" * 50_000 + b"\r\n") * 10)
            assert await line.is_cut()

    run(scenario())


@pytest.mark.parametrize("secure", [False, True])
def test_as_much_waits_for_a_reader_by_tls_as_for_a_plain_one(run: Run, tmp_path: Path, secure: bool) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path) if secure else None
        options: dict[str, Any] = {"tls": lambda: context} if secure else {}
        async with (
            serving(options) as bench,
            bench.line(small=True, context=trusting_anyone() if secure else None) as line,
        ):
            line.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await line.send(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n")
            while bench.protocol is None or not bench.protocol.flow.write_paused:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert bench.protocol.transport.get_write_buffer_size() <= MAX_UNSENT_BYTES + 2**15

    run(scenario())


CHUNKED: Final = b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CRUMBLED: Final = {
    "chunks of one byte": b"1\r\nx\r\n" * 4000,
    "a chunk's extension": b"1;" + b"x" * 20_000,
    "a trailer": b"0\r\nx: " + b"x" * 20_000,
    "a trailer's name": b"0\r\n" + b"x" * 20_000,
}


@pytest.mark.parametrize("body", CRUMBLED.values(), ids=CRUMBLED)
def test_a_body_is_content_and_little_else(run: Run, body: bytes) -> None:
    async def scenario() -> None:
        async with serving() as bench:
            async with bench.line() as line:
                await line.send(b"POST / HTTP/1.1\r\n" + CHUNKED + body)
                assert await line.refusal() == (400, "malformed")
            async with bench.line() as line:
                await line.send(b"POST /early HTTP/1.1\r\n" + CHUNKED)
                assert await line.answer() == (200, {"size": 0})
                await line.send(body)
                assert await line.is_cut()
            assert await bench.is_empty()

    run(scenario())


def test_chunks_of_a_usual_size_are_read_however_many(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench:
            body = (b"80\r\n" + b"x" * 128 + b"\r\n") * 8000 + b"0\r\n\r\n"
            assert await bench.answers(b"POST / HTTP/1.1\r\n" + CHUNKED + body) == (200, {"size": 128 * 8000})

    run(scenario())


def test_nobody_is_told_to_go_on_behind_a_refusal(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving() as bench, bench.line() as line:
            await line.send(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n" + CHUNKED + b"zz\r\n")
            assert await line.refusal() == (400, "malformed")

    run(scenario())
    assert not caplog.records


# --- the crowd


def test_strangers_make_room_for_strangers_and_the_bus_hears_of_it_once(run: Run) -> None:
    async def scenario() -> None:
        async with serving(strangers_per_network=3) as bench, AsyncExitStack() as lines:
            dialled = [await lines.enter_async_context(bench.line()) for _ in range(9)]
            for line in dialled[:6]:
                assert await line.is_cut()
            await dialled[-1].send(GET)
            assert await dialled[-1].answer() == (200, {"size": 0})
            assert len(bench.server.crowd) == 3
            shed = [event for event in bench.events if isinstance(event, ConnectionsShed)]
            assert {(event.limit, event.most, event.network) for event in shed} == {
                ("strangers_per_network", 3, "127.0.0.1")
            }
            assert len(shed) == 1

    run(scenario())


def test_a_body_is_free_once_it_is_answered_or_its_sender_cut_off(run: Run) -> None:
    async def scenario() -> None:
        body = b"Content-Length: 900\r\n\r\n" + b"x" * 800
        async with serving() as bench, bench.line() as line:
            await line.send(b"POST /early HTTP/1.1\r\n" + body)
            await line.answer()
            assert not bench.protocol.cycle.body
        async with serving() as bench, bench.line() as line:
            await line.send(b"POST / HTTP/1.1\r\n" + body)
            await until(lambda: bench.asked)
            protocol = bench.protocol
            protocol.cycle.body += b"x"
            protocol.lease.abort()
            assert not protocol.cycle.body

    run(scenario())


def test_bodies_of_strangers_are_bounded_together(run: Run) -> None:
    async def scenario() -> None:
        async with serving(unadmitted_bytes=128 * 1024) as bench, AsyncExitStack() as lines:
            begun = b"POST / HTTP/1.1\r\na: " + b"x" * 15_000 + b"\r\nContent-Length: 900\r\n\r\n"
            dialled = [await lines.enter_async_context(bench.line()) for _ in range(12)]
            for line in dialled:
                await line.send(begun)
            for line in dialled[:4]:
                assert await line.is_cut()
            await dialled[-1].send(b"x" * 900)
            assert await dialled[-1].answer() == (200, {"size": 900})

    run(scenario())


def test_when_the_port_closes_every_connection_ends(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as bench, AsyncExitStack() as lines:
            silent, idle, waiting, refused = [await lines.enter_async_context(bench.line()) for _ in range(4)]
            await idle.send(GET)
            await idle.answer()
            await waiting.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await refused.send(b"noise\r\n\r\n")
            assert (await refused.answer())[0] == 400
            stopping = asyncio.create_task(bench.server.stop())
            assert await silent.is_cut()
            assert await idle.is_cut()
            assert await refused.is_cut()
            bench.let.set()
            assert await waiting.answer() == (200, {"size": 0})
            await stopping
            assert await bench.is_empty()

    run(scenario())


# --- at the door


def test_a_handshake_that_is_turned_away_at_the_door_never_becomes_a_websocket(run: Run) -> None:
    heard: list[str] = []

    def door(scope: Any) -> HttpAnswer | None:
        heard.append(target_of(scope))
        return None if len(heard) > 1 else whole_answer(429, (b"retry-after", b"7"), pieces=[b'{"error": ', b'"a"}'])

    async def scenario() -> None:
        async with serving({"door": door, "ws": "websockets-sansio"}) as bench:
            handshake = HANDSHAKE.replace(b"/ws", b"/ws?netuid=30")
            async with bench.line() as line:
                await line.send(handshake + b"and more")
                assert (await line.reader.read()).splitlines() == [
                    b"HTTP/1.1 429 Too Many Requests",
                    b"retry-after: 7",
                    b"content-length: 14",
                    b"connection: close",
                    b"",
                    b'{"error": "a"}',
                ]
            assert (heard, bench.asked) == (["/ws?netuid=30"], [])
            async with bench.line() as line:
                await line.send(handshake)
                await line.reader.read()
            assert bench.asked == ["/ws"]

    run(scenario())


def test_nothing_of_a_connection_that_has_ended_waits_for_the_collector(run: Run) -> None:
    protocols: list[weakref.ref[Any]] = []

    def door(scope: Any) -> HttpAnswer:
        protocols.append(weakref.ref(scope["extensions"]["bettensor"]))
        return whole_answer(429, pieces=[b"{}"])

    async def scenario() -> None:
        async with serving({"door": door, "ws": "websockets-sansio"}) as bench:
            for request in (GET, HANDSHAKE):
                async with bench.line() as line:
                    await line.send(request)
                    await line.answer()
            protocols.append(weakref.ref(bench.protocol))
            bench.protocol = None
            assert await bench.is_empty()
            for _ in range(10):
                await asyncio.sleep(0)
            assert [protocol() for protocol in protocols] == [None, None]

    gc.disable()
    try:
        run(scenario())
    finally:
        gc.enable()
