"""One HTTP/1.1 exchange with a server that may be hostile, by h11: its answer has a bounded number of bytes and parts.

A usual client follows preliminary answers without end, and takes a body in as many parts as it has bytes: a few such
servers would keep the event loop busy. Here each exchange has its own socket; whoever asks sets the deadline.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import h11

from bettensor.bus.errors import BettensorError

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


class _Wire:
    """What the other side says, event by event."""

    def __init__(self, connection: h11.Connection, reader: asyncio.StreamReader) -> None:
        self._connection = connection
        self._reader = reader

    async def next(self) -> h11.Event:
        """The next part of the answer.

        Raises:
            NoAnswer: this is no HTTP, or it ends too early.
        """
        while True:
            try:
                event = self._connection.next_event()
            except h11.RemoteProtocolError as error:
                raise NoAnswer(f"no HTTP answer: {error}") from None
            if isinstance(event, h11.Event):
                return event
            self._connection.receive_data(await self._reader.read(CHUNK))


class Reply:
    """An answer whose head has come."""

    def __init__(self, wire: _Wire, head: h11.Response) -> None:
        self._wire = wire
        self._headers = head.headers
        self.status = head.status_code

    def header(self, name: str) -> str:
        """The values of a header; an empty text if there is none.

        Args:
            name: in lower case.
        """
        return ", ".join(value.decode("latin-1") for known, value in self._headers if known == name.encode())

    async def read(self, most: int, make_room: Callable[[], Awaitable[object]] = _have_room) -> bytes:
        """The body as it was sent, which may be compressed.

        Args:
            most: bytes.
            make_room: called once, if there are more than ``LARGE`` bytes; nothing is read until it returns.

        Raises:
            NoAnswer: it has more bytes, or does not come whole.
        """
        content, parts, is_large, declared = bytearray(), 0, False, self.header("content-length")
        if declared and int(declared) > most:
            raise _too_long(most)
        while isinstance(event := await self._wire.next(), h11.Data):
            content += event.data
            parts += 1
            if len(content) > most:
                raise _too_long(most)
            if is_crumbled(parts, len(content)):
                raise NoAnswer("an answer in far too many parts")
            if len(content) > LARGE and not is_large:
                is_large = True
                await make_room()
        return bytes(content)


def is_crumbled(parts: int, size: int) -> bool:
    """Whether a body of ``size`` bytes came in too many parts: each costs as much as thousands of bytes."""
    return parts > MAX_PARTS + size // PART


def _too_long(most: int) -> NoAnswer:
    return NoAnswer(f"an answer of more than {most} bytes")


@asynccontextmanager
async def posting(
    host: str, port: int, path: str, headers: Sequence[tuple[str, str]], body: bytes
) -> AsyncIterator[Reply]:
    """Send ``POST path``, and yield the answer when its head has come. The socket is closed at the end of the block.

    Args:
        host: an address or a name.
        port: TCP.
        path: of the URL.
        headers: all of them, in their order.
        body: of the request.

    Raises:
        NoAnswer: no head of an answer came.
        OSError: the server cannot be reached.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=2 * CHUNK)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        writer.write(_encoded(connection, path, headers, body))
        wire = _Wire(connection, reader)
        yield Reply(wire, await _head(wire))
    finally:
        writer.transport.abort()  # without waiting for what the other side has not read


def _encoded(connection: h11.Connection, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    try:
        request = h11.Request(method="POST", target=path, headers=list(headers))
        return b"".join(connection.send(event) or b"" for event in (request, h11.Data(body), h11.EndOfMessage()))
    except h11.LocalProtocolError as error:  # a host with characters that no header may have
        raise NoAnswer(f"the request cannot be made: {error}") from None


async def _head(wire: _Wire) -> h11.Response:
    for _ in range(MAX_HINTS + 1):
        event = await wire.next()
        if isinstance(event, h11.Response):
            return event
    raise NoAnswer("no answer, but preliminary ones without end")
