"""HTTP/1.1 with a server that may be hostile, by h11: an answer has a bounded number of bytes and parts.

A usual client follows preliminary answers without end, and takes a body in as many parts as it has bytes: a few such
servers would keep the event loop busy. This one follows no redirect and unpacks nothing. The caller sets the deadline.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, Final

import h11

from bettensor.bus.errors import BettensorError
from bettensor.bus.events import Tls
from bettensor.neurons.edges.tls import Shown, by_tls

CHUNK: Final = 16 * 1024
"""Bytes that are read at a time."""
MAX_HEAD: Final = 32 * 1024
"""Bytes of the head of an answer; an honest one has less than 1,000."""
MAX_HINTS: Final = 4
"""Preliminary answers (1xx) before the answer."""
MAX_PARTS: Final = 256
"""Parts of a body, besides one for each ``PART`` bytes."""
PART: Final = 512
"""Bytes of a part, on average; those of real servers have thousands."""
LARGE: Final = 256 * 1024
"""Bytes from which on an answer is a large one."""


async def _have_room() -> None:
    return


class NoAnswer(BettensorError):
    """The other side sent no answer that can be read; the message says why."""


class NoHttp(NoAnswer):
    """The other side spoke no HTTP, or left without a word."""


class Reply:
    """An answer whose head has come."""

    def __init__(self, next_event: Callable[[], Awaitable[h11.Event]], head: h11.Response) -> None:
        self._next_event = next_event
        self._headers = head.headers
        self.status = head.status_code

    def header(self, name: str) -> str:
        """The values of a header; an empty text if there is none.

        Args:
            name: in lower case.
        """
        return ", ".join(self.values(name))

    def values(self, name: str) -> list[str]:
        """The value of each header of this name.

        Args:
            name: in lower case.
        """
        return [value.decode("latin-1") for known, value in self._headers if known == name.encode()]

    async def read(self, most: int, make_room: Callable[[], Awaitable[object]] = _have_room) -> bytes:
        """The body.

        Args:
            most: bytes.
            make_room: called once, if there are more than ``LARGE`` bytes; nothing is read until it returns.

        Raises:
            NoAnswer: it has more bytes, is compressed, or does not come whole.
        """
        if self.header("content-encoding").lower() not in ("", "identity"):
            raise NoAnswer("the answer is compressed, which was not asked for")
        content, parts, is_large, declared = BytesIO(), 0, False, self.header("content-length")
        if declared and int(declared) > most:
            raise _too_long(most)
        while isinstance(event := await self._next_event(), h11.Data):
            content.write(event.data)
            parts += 1
            if (size := content.tell()) > most:
                raise _too_long(most)
            if is_crumbled(parts, size):
                raise NoAnswer("an answer in far too many parts")
            if size > LARGE and not is_large:
                is_large = True
                await make_room()
        return content.getvalue()  # the same memory, not another 16 MB


def is_crumbled(parts: int, size: int) -> bool:
    """Whether a body of ``size`` bytes came in too many parts: each costs as much as thousands of bytes."""
    return parts > MAX_PARTS + size // PART


def _too_long(most: int) -> NoAnswer:
    return NoAnswer(f"an answer of more than {most} bytes")


class HttpConnection:
    """A socket to a server. Takes requests one after the other: the answer to the one before must have been read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.shown = Shown()

    @property
    def transport(self) -> asyncio.WriteTransport:
        """Of the socket."""
        return self._writer.transport

    async def request(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Reply:
        """Send a request, and return the answer when its head has come.

        Args:
            method: in upper case.
            target: path and query.
            headers: all of them, in their order.
            body: may be empty.

        Raises:
            NoAnswer: no head of an answer came, or this connection ends after the answer before.
            OSError: the connection broke.
        """
        try:
            if self._protocol.our_state is not h11.IDLE:
                self._protocol.start_next_cycle()
            request = h11.Request(method=method, target=target, headers=list(headers))
            events = (request, h11.Data(body), h11.EndOfMessage())
            self._writer.write(b"".join(self._protocol.send(event) or b"" for event in events))
        except h11.LocalProtocolError as error:  # a host with characters that no header may have; a server that leaves
            raise NoAnswer(f"the request cannot be made: {error}") from None
        return Reply(self._next_event, await self._head())

    async def _head(self) -> h11.Response:
        for _ in range(MAX_HINTS + 1):
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event
        raise NoAnswer("no answer, but preliminary ones without end")

    async def _next_event(self) -> h11.Event:
        """The next part of the answer.

        Raises:
            NoAnswer: this is no HTTP, or it ends too early.
        """
        while True:
            try:
                event = self._protocol.next_event()
            except h11.RemoteProtocolError as error:
                raise NoHttp(f"no HTTP answer: {error}") from None
            if isinstance(event, h11.Event):
                return event
            self._protocol.receive_data(await self._reader.read(CHUNK))


@asynccontextmanager
async def connected(host: str, port: int, tls: Tls | None = None) -> AsyncIterator[HttpConnection]:
    """Open a socket, which is closed at the end of the block.

    Args:
        host: an address or a name.
        port: TCP.
        tls: the certificate that the server must show before anything is sent; None: the connection is plain.

    Raises:
        HandshakeFailed, OtherKey: its TLS is not as requested.
        OSError: the server cannot be reached.
    """

    async def connect(**options: Any) -> HttpConnection:
        return HttpConnection(*await asyncio.open_connection(host, port, limit=2 * CHUNK, **options))

    connection, shown = (await connect(), Shown()) if tls is None else await by_tls(tls, connect)
    connection.shown = shown
    try:
        yield connection
    finally:
        connection.transport.abort()  # without waiting for what the other side has not read
