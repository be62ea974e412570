"""Proxies in front of a neuron: one that forwards as nginx does if nothing but proxy_pass is configured, and nginx."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.loopback.processes import PATIENCE, free_port

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


NGINX: Final = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
needs_nginx: Final = pytest.mark.skipif(NGINX is None, reason="needs the program nginx: apt-get install nginx-light")
_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_CONFIGURATION: Final = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {temporary}
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, server: str) -> AsyncIterator[int]:
    """The port of the real program, whose only server has the directives ``server``; its files are in ``folder``."""
    assert NGINX is not None
    port = free_port()
    options = _configure(folder, port, server)
    process = await asyncio.create_subprocess_exec(NGINX, *options)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _listens(port):
                assert process.returncode is None, f"nginx has ended; see {folder}/error.log"
                await asyncio.sleep(0.02)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _configure(folder: Path, port: int, server: str) -> tuple[str, ...]:
    """The command line of an nginx that keeps all its files in ``folder``."""
    folder.mkdir()
    config = folder / "nginx.conf"
    temporary = "\n    ".join(f"{name}_temp_path {name};" for name in _TEMPORARY)
    config.write_text(_CONFIGURATION.format(temporary=temporary, port=port, server=server))
    return "-p", str(folder), "-c", str(config), "-e", "error.log"


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
