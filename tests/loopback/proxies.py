"""A proxy in front of a validator that forwards as nginx does if nothing but proxy_pass is configured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HOP_BY_HOP = (b"connection", b"upgrade", b"keep-alive")
"""Headers that nginx removes (RFC 9110, 7.6.1)."""


@asynccontextmanager
async def plain_proxy(upstream: int) -> AsyncIterator[int]:
    """Its port, while it forwards single requests to the port ``upstream`` by HTTP/1.0."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        headers = {line.partition(b":")[0].lower(): line for line in lines}
        body = await reader.readexactly(int(headers.get(b"content-length", b":0").partition(b":")[2]))
        kept = [line for name, line in headers.items() if name not in HOP_BY_HOP]
        there, to = await asyncio.open_connection("127.0.0.1", upstream)
        first = request.replace(b"HTTP/1.1", b"HTTP/1.0")
        to.write(b"\r\n".join([first, *kept, b"connection: close", b"", body]))
        writer.write(await there.read())
        to.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
