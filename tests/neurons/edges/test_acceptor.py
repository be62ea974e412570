"""How a port accepts: on both event loops, plain and over TLS, and when the system has no file left."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest

from bettensor.bus.addresses import Networks
from bettensor.neurons.edges.acceptor import Acceptor, GetContext, Timeouts
from bettensor.neurons.edges.crowd import Strangers
from bettensor.neurons.edges.forwarding import MAX_PROXY_BYTES, NOBODY_IN_FRONT, Client, Forwarding
from bettensor.neurons.system.ports import listen_on
from tests.neurons.edges.certificates import make_context, trusting_anyone
from tests.neurons.edges.conftest import Run

HELLO: Final = b"\x16\x03\x01\x02\x00"


def proxy_header(host: str | None, port: int, command: int = 0x21, size: int | None = None, more: bytes = b"") -> bytes:
    """A header of the PROXY protocol, version 2, for a TCP connection."""
    if host is None:
        family, addresses = 0x00, b""
    else:
        packed = ip_address(host).packed
        family, addresses = 0x11 if len(packed) == 4 else 0x21, packed * 2 + port.to_bytes(2, "big") * 2
    rest = (addresses + more)[:size]
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


class Echo(asyncio.Protocol):
    """Sends everything back."""

    def __init__(self, made: list["Echo"]) -> None:
        self.made = made

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.has_ended = False
        self.made.append(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.has_ended = True

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def ignore(*_: object) -> None:
    """Hear of nobody who has to leave."""


class Bench:
    """A port on loopback."""

    def __init__(
        self,
        tls: GetContext | None = None,
        timeout: float = 5.0,
        most_of_network: int = 100,
        forwarding: Forwarding = NOBODY_IN_FRONT,
    ) -> None:
        self.made: list[Echo] = []
        self.clients: list[Client] = []
        self.opening: list[Callable[[], object]] = []
        """Called while a connection gets its protocol."""
        self.shortages: list[OSError | None] = []
        self.handshakes = Strangers("handshakes", 100, most_of_network, ignore)
        listening = listen_on("127.0.0.1", 0, 100)
        listening.setblocking(False)
        self.port: int = listening.getsockname()[1]
        self.acceptor = Acceptor(
            listening,
            self._make,
            self.handshakes,
            tls=tls,
            timeouts=Timeouts(timeout, timeout, timeout),
            on_shortage=self.shortages.append,
            forwarding=forwarding,
        )
        self.acceptor.open()

    def _make(self, client: Client) -> Echo:
        self.clients.append(client)
        for act in self.opening:
            asyncio.get_running_loop().call_soon(act)
        return Echo(self.made)

    @asynccontextmanager
    async def line(
        self, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def echoes(self, context: ssl.SSLContext | None = None) -> bool:
        async with self.line(context) as (reader, writer):
            writer.write(b"hello")
            return await reader.readexactly(5) == b"hello"

    def transports(self) -> list[Any]:
        return [echo.transport for echo in self.made]


@asynccontextmanager
async def accepting(**options: Any) -> AsyncIterator[Bench]:
    bench = Bench(**options)
    try:
        yield bench
    finally:
        await bench.acceptor.close()
        for transport in bench.transports():
            transport.abort()
        await asyncio.sleep(0)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def is_cut(reader: asyncio.StreamReader) -> bool:
    return await rest(reader) == b""


def test_all_who_come_at_once_are_served(run: Run) -> None:
    async def scenario() -> None:
        async with accepting() as bench:
            assert all(await asyncio.gather(*(bench.echoes() for _ in range(200))))

    run(scenario())


def test_one_port_speaks_plain_and_tls(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with accepting(tls=lambda: context) as bench:
            assert await bench.echoes()
            assert await bench.echoes(trusting_anyone())
            plain, over_tls = bench.transports()
            assert plain.get_extra_info("sslcontext") is None
            assert over_tls.get_extra_info("sslcontext") is context
            assert over_tls.get_extra_info("ssl_object").version() == "TLSv1.3"

    run(scenario())


def test_a_new_certificate_serves_the_next_handshake_and_the_old_one_its_connections(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        contexts = [make_context(tmp_path, "old"), make_context(tmp_path, "new")]
        async with accepting(tls=lambda: contexts[0]) as bench, bench.line(trusting_anyone()) as (reader, writer):
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            old = contexts.pop(0)
            assert await bench.echoes(trusting_anyone())
            writer.write(b"b")
            assert await reader.readexactly(1) == b"b"
            assert [each.get_extra_info("sslcontext") for each in bench.transports()] == [old, contexts[0]]

    run(scenario())


def test_without_a_certificate_a_handshake_ends_at_once_and_plain_goes_on(run: Run) -> None:
    async def scenario() -> None:
        async with accepting(tls=lambda: None) as bench, bench.line() as (reader, writer):
            writer.write(HELLO)
            assert await is_cut(reader)
            assert await bench.echoes()

    run(scenario())


def test_a_port_that_speaks_no_tls_waits_for_no_first_byte(run: Run) -> None:
    async def scenario() -> None:
        async with accepting() as bench, bench.line():
            while not bench.made:  # noqa: ASYNC110 - the protocol is made without a byte
                await asyncio.sleep(0)

    run(scenario())


@pytest.mark.parametrize("bytes_sent", [b"", HELLO, HELLO + b"\x01\x00\x01\xfc" + b"\x00" * 300])
def test_silence_and_handshakes_that_do_not_end_are_cut_off(run: Run, tmp_path: Path, bytes_sent: bytes) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with accepting(tls=lambda: context, timeout=0.05) as bench, bench.line() as (reader, writer):
            writer.write(bytes_sent)
            assert (await rest(reader))[:1] in (b"", b"\x15")  # 0x15: an alert says what could not be read
            assert bench.made == []

    run(scenario())


def test_a_peer_that_leaves_before_its_first_byte_leaves_nothing(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with accepting(tls=lambda: context) as bench:
            for linger in (b"\0" * 8, b"\1\0\0\0\0\0\0\0"):  # in order, and by a reset
                leaving = socket.create_connection(("127.0.0.1", bench.port))
                while not len(bench.handshakes):  # noqa: ASYNC110 - it is accepted soon
                    await asyncio.sleep(0)
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                leaving.close()
                while len(bench.handshakes):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            assert await bench.echoes()
            assert bench.made != []

    run(scenario())


@pytest.mark.parametrize("turns", range(4))
def test_a_plain_connection_that_gets_its_protocol_is_no_handshake_that_ends(
    run: Run, tmp_path: Path, turns: int
) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with accepting(tls=lambda: context) as bench:
            bench.opening = [lambda: _after(turns, lambda: bench.handshakes.send_oldest_away("handshakes", 1))]
            assert await bench.echoes()

    run(scenario())


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_what_gets_its_protocol_while_the_port_is_closed_hears_of_its_end(
    run: Run, tmp_path: Path, turns: int, is_secure: bool
) -> None:
    async def scenario() -> None:
        context, closing = make_context(tmp_path), []
        async with accepting(tls=lambda: context) as bench:
            close = lambda: closing.append(asyncio.create_task(bench.acceptor.close()))  # noqa: E731
            bench.opening = [lambda: _after(turns, close)]
            with suppress(OSError):
                async with bench.line(trusting_anyone() if is_secure else None) as (_, writer):
                    writer.write(b"hello")
                    while not closing:  # noqa: ASYNC110 - it is called soon
                        await asyncio.sleep(0)
                    await closing[0]
            while not all(echo.has_ended for echo in bench.made):  # noqa: ASYNC110 - loopback is quick
                await asyncio.sleep(0)

    run(scenario())


def _after(turns: int, act: Callable[[], object]) -> None:
    """Call ``act`` in this or a later turn of the event loop."""
    if turns:
        asyncio.get_running_loop().call_soon(_after, turns - 1, act)
    else:
        act()


def test_of_too_many_handshakes_the_oldest_ends(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with (
            accepting(tls=lambda: context, most_of_network=3) as bench,
            AsyncExitStack() as lines,
        ):
            readers = []
            for number in range(5):
                reader, writer = await lines.enter_async_context(bench.line())
                writer.write(HELLO if number % 2 else b"")
                readers.append(reader)
            assert await is_cut(readers[0])
            assert await is_cut(readers[1])
            assert await bench.echoes(trusting_anyone())
            assert await is_cut(readers[2])
            assert await bench.echoes()  # nobody else has to leave: those who got their protocol do not count

    run(scenario())


def test_a_shortage_of_files_is_told_once_and_passes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failing = socket.socket.accept, [errno.EMFILE, errno.ENFILE]

    def accept(listening: socket.socket) -> Any:
        if failing:
            raise OSError(failing.pop(), os.strerror(errno.EMFILE))
        return real(listening)

    async def scenario() -> None:
        async with accepting() as bench:
            assert await bench.echoes()
            assert [error and error.errno for error in bench.shortages] == [errno.ENFILE, None]

    monkeypatch.setattr(socket.socket, "accept", accept)
    run(scenario())


def test_the_fault_of_one_connection_is_none_of_the_port(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failing = socket.socket.accept, [errno.ECONNABORTED, errno.EPERM]

    def accept(listening: socket.socket) -> Any:
        if failing:
            raise OSError(failing.pop(), "gone")
        return real(listening)

    async def scenario() -> None:
        async with accepting() as bench:
            assert await bench.echoes()
            assert bench.shortages == []

    monkeypatch.setattr(socket.socket, "accept", accept)
    run(scenario())


def test_closing_ends_who_has_no_protocol_yet_and_may_be_repeated(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with (
            accepting(tls=lambda: context) as bench,
            bench.line() as (silent, _),
            bench.line() as (greeting, writer),
        ):
            writer.write(HELLO)
            while len(bench.handshakes) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await bench.acceptor.close()
            await bench.acceptor.close()
            assert await is_cut(silent)
            assert await is_cut(greeting)
            with pytest.raises(ConnectionError):
                await bench.echoes()

    run(scenario())


def test_closing_during_a_shortage_accepts_nothing_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(_: socket.socket) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def scenario() -> None:
        async with accepting() as bench, bench.line():
            while not bench.shortages:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await bench.acceptor.close()
            await asyncio.sleep(0.15)  # longer than the pause
        assert len(bench.shortages) == 1

    monkeypatch.setattr(socket.socket, "accept", accept)
    run(scenario())


# --- proxies

ANNOUNCED: Final = Forwarding(Networks(["127.0.0.1"]), by_proxy_protocol=True)


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_connection_of_a_trusted_proxy_is_of_whom_its_header_names(run: Run, tmp_path: Path, is_secure: bool) -> None:
    async def scenario() -> None:
        context = make_context(tmp_path)
        async with accepting(tls=(lambda: context) if is_secure else None, forwarding=ANNOUNCED) as bench:
            for header, client in (
                (proxy_header("203.0.113.7", 4711), Client("203.0.113.7", 4711)),
                (proxy_header("2001:db8::7", 4712, more=b"\x20\x00\x00"), Client("2001:db8::7", 4712)),
            ):
                async with bench.line() as (reader, writer):
                    for byte in header[:-1]:  # however it comes
                        writer.write(bytes([byte]))
                        await writer.drain()
                    writer.write(header[-1:])
                    if is_secure:
                        await writer.start_tls(trusting_anyone())
                    writer.write(b"hello")
                    assert await reader.readexactly(5) == b"hello"
                    assert bench.clients.pop() == client

    run(scenario())


def test_a_proxy_that_comes_for_itself_or_for_an_unknown_peer_is_the_client(run: Run) -> None:
    async def scenario() -> None:
        async with accepting(forwarding=ANNOUNCED) as bench:
            for header in (proxy_header("203.0.113.7", 1, command=0x20), proxy_header(None, 0)):
                async with bench.line() as (reader, writer):
                    writer.write(header + b"hello")
                    assert await reader.readexactly(5) == b"hello"
                    assert bench.clients.pop() == Client(*writer.get_extra_info("sockname"))

    run(scenario())


@pytest.mark.parametrize(
    "begins",
    [
        b"GET /ws/health HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 203.0.113.1 4711 8091\r\n",  # version 1
        proxy_header("203.0.113.7", 1, command=0x22),
        proxy_header("203.0.113.7", 1, size=3),
        proxy_header("203.0.113.7", 1, more=bytes(MAX_PROXY_BYTES)),
    ],
)
def test_without_its_header_a_connection_of_a_trusted_proxy_ends(run: Run, begins: bytes) -> None:
    async def scenario() -> None:
        async with accepting(forwarding=ANNOUNCED) as bench:
            async with bench.line() as (reader, writer):
                writer.write(begins)
                assert await is_cut(reader)
            async with bench.line() as (reader, writer):
                writer.write(begins[:10])
                writer.write_eof()
                assert await is_cut(reader)
            assert bench.made == []

    run(scenario())


def test_a_proxy_that_says_nothing_is_cut_off(run: Run) -> None:
    async def scenario() -> None:
        async with accepting(forwarding=ANNOUNCED, timeout=0.05) as bench, bench.line() as (reader, _):
            assert await is_cut(reader)
            assert bench.made == []

    run(scenario())


def test_nobody_else_may_say_for_whom_he_comes(run: Run) -> None:
    async def scenario() -> None:
        elsewhere = Forwarding(Networks(["10.0.0.0/8"]), by_proxy_protocol=True)
        header = proxy_header("203.0.113.7", 4711)
        async with accepting(forwarding=elsewhere) as bench, bench.line() as (reader, writer):
            writer.write(header)
            assert await reader.readexactly(len(header)) == header
            assert bench.clients == [Client(*writer.get_extra_info("sockname"))]

    run(scenario())


def test_connections_of_a_proxy_count_for_those_behind_it(run: Run) -> None:
    async def scenario() -> None:
        async with accepting(forwarding=ANNOUNCED, most_of_network=2, timeout=30) as bench, AsyncExitStack() as lines:
            silent = [await lines.enter_async_context(bench.line()) for _ in range(4)]
            behind = [await lines.enter_async_context(bench.line()) for _ in range(3)]
            for _, writer in behind:
                writer.write(proxy_header("203.0.113.7", 1))
            assert await is_cut(behind[0][0])
            assert len(bench.handshakes) == 6
            for reader, _ in silent + behind[1:]:
                assert not reader.at_eof()

    run(scenario())
