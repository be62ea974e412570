"""What attackers know of their target, and the tools that they use: sockets, signed requests, and a steady pace."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from bittensor import http_auth
from bittensor_core import Keypair

from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.bench.load import LoadMiner
from bettensor.neurons.bench.rig import NETUID

LOOPBACK: Final = "127.0.0.1"
"""The address of the honest miners, and of strangers that share one with them."""
STRANGER: Final = "127.66.6.6"
"""The address of an attacker that has only one."""
PATIENCE: Final = 3.0
"""Seconds that an attacker waits for an answer to what is complete."""
_RESET: Final = struct.pack("ii", 1, 0)
_ERROR: Final = re.compile(rb'"error": ?"(\w+)"')


@cache
def key(uri: str) -> Keypair:
    """The key of a URI; deriving one takes a millisecond."""
    return Keypair.create_from_uri(uri)


@dataclass(frozen=True)
class Target:
    """A port, and the hotkeys that attackers hold the keys of."""

    port: int
    """Where the attacked neuron listens; if a miner is attacked, where it looks for the lying validator."""
    hotkey: Hotkey
    """Of the attacked neuron."""
    members: tuple[str, ...] = ()
    """The keys of registered hotkeys, as URIs."""
    folder: str = ""
    """Folder of the attacked neuron's state."""

    def keypairs(self, count: int) -> list[Keypair]:
        """The first registered keys."""
        return [key(uri) for uri in self.members[:count]]

    def sign(self, keypair: Keypair, path: str, method: str = "GET", body: bytes = b"", **changes: Any) -> bytes:
        """Lines of headers that sign a request."""
        request = {"method": method, "path": path, "body": body, "receiver_ss58": self.hotkey} | changes
        signed = http_auth.sign(keypair, **request)
        return b"".join(f"{name}: {value}\r\n".encode() for name, value in signed.items())


def addressed(path: str) -> str:
    """A path with the query that names the subnet."""
    return f"{path}?netuid={NETUID}"


def request(method: str, path: str, headers: bytes = b"", body: bytes = b"") -> bytes:
    """A whole request."""
    length = f"Content-Length: {len(body)}\r\n".encode() if body else b""
    return f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n".encode() + length + headers + b"\r\n" + body


HEALTH: Final = request("GET", "/ws/health")


def handshake(target: Target, keypair: Keypair, headers: bytes = b"", version: str = "1.1") -> bytes:
    """A signed request for a session."""
    path = addressed("/ws")
    lines = (
        f"GET {path} HTTP/{version}\r\nHost: {LOOPBACK}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: bettensor.v1\r\n"
    )
    return lines.encode() + headers + target.sign(keypair, path) + b"\r\n"


class Wire:
    """One TCP connection of an attacker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> bool:
        """Whether the other side still takes bytes."""
        with contextlib.suppress(OSError):
            self.writer.write(data)
            await self.writer.drain()
            return not self.writer.transport.is_closing()
        return False

    async def answer(self, patience: float = PATIENCE) -> str:
        """The status and the name of the error, or how the connection ended without an answer."""
        head = b""
        try:
            async with asyncio.timeout(patience):
                head = await self.reader.readuntil(b"\r\n\r\n")
                body = await self.reader.readexactly(_length(head))
        except TimeoutError:
            return "silence"
        except asyncio.IncompleteReadError as ended:
            if head:
                return f"{_first_line(head)} in part"
            return _first_line(ended.partial) if ended.partial else "closed"
        except (OSError, asyncio.LimitOverrunError):
            return "reset"
        named = _ERROR.search(body)
        return f"{_first_line(head)} {named[1].decode()}" if named else _first_line(head)

    def has_ended(self) -> bool:
        """Whether the other side has closed or reset it."""
        return self.reader.at_eof() or self.reader.exception() is not None or self.writer.transport.is_closing()

    def pause(self) -> None:
        """Read nothing from now on."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def reset(self) -> None:
        """End it as a crash would."""
        with contextlib.suppress(OSError):
            if (plain := self.writer.get_extra_info("socket")) is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


def _first_line(data: bytes) -> str:
    line = re.match(rb"HTTP/1\.\d (\d{3})", data)
    return line[1].decode() if line else "bytes that are no answer"


async def dial(
    target: Target, source: str = STRANGER, *, receive_buffer: int = 0, segment: int = 0, secure: bool = False
) -> Wire:
    """Connect from the address ``source``.

    Args:
        target: the port.
        source: an address of this machine.
        receive_buffer: bytes that the kernel may keep unread; 0: as many as it likes.
        segment: bytes of a TCP segment; 0: what loopback carries.
        secure: speak TLS.

    Raises:
        OSError: the port takes no connection.
    """
    plain = socket.socket()
    plain.setblocking(False)
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if segment:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
    try:
        plain.setsockopt(socket.SOL_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        plain.bind((source, 0))
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(plain, (LOOPBACK, target.port))
    except BaseException:
        plain.close()
        raise
    if secure:
        opening = asyncio.open_connection(sock=plain, limit=2**20, ssl=believing(), server_hostname="")
        return Wire(*await asyncio.wait_for(opening, PATIENCE))
    return Wire(*await asyncio.open_connection(sock=plain, limit=2**20))


@cache
def believing() -> ssl.SSLContext:
    """TLS as an attacker speaks it, who checks nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ends_in_good_order() -> contextlib.suppress:
    """For an attacker whose target may end the connection at any instant."""
    return contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError)


async def ask(target: Target, data: bytes, source: str = STRANGER) -> str:
    """The answer to one request on a connection of its own."""
    try:
        wire = await dial(target, source)
    except OSError:
        return "not connected"
    await wire.send(data)
    answer = await wire.answer()
    wire.reset()
    return answer


async def paced(rate: float, seconds: float) -> AsyncIterator[int]:
    """Numbers 0, 1, 2 ..., ``rate`` a second, for so many seconds."""
    begun = time.perf_counter()
    number = 0
    while (due := number / rate) < seconds:
        await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
        if time.perf_counter() - begun >= seconds:
            return
        yield number
        number += 1


class Speaker(LoadMiner):
    """A session of an attacker: counts what it is told, and goes on."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        super().__init__(keypair, validator)
        self.heard: list[str] = []
        """Codes of errors and verdicts."""
        self.ended = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.ended.set()

    def receive(self, frame: bytes) -> None:
        if frame.startswith(b"{"):  # it may be a pong
            super().receive(frame)

    def hear(self, payload: bytes) -> None:
        said = json.loads(payload)
        if said["message_type"] == "error":
            self.heard.append(said["code"])
        self.heard += [result["code"] for result in said.get("results", ())]

    @property
    def ends(self) -> list[str]:
        """All that it was told, and how it ended; a session that is still open has not."""
        if self.close_code is not None:
            return [*self.heard, str(self.close_code)]
        return [*self.heard, "reset"] if self.transport.is_closing() else self.heard


@asynccontextmanager
async def speakers(target: Target, keypairs: Sequence[Keypair], source: str = STRANGER) -> AsyncIterator[list[Speaker]]:
    """A session of each key, with its slate."""
    loop = asyncio.get_running_loop()
    opened: list[Speaker] = []
    try:
        for keypair in keypairs:
            _, speaker = await loop.create_connection(
                lambda keypair=keypair: Speaker(keypair, target.hotkey),  # type: ignore[misc]
                LOOPBACK,
                target.port,
                local_addr=(source, 0),
            )
            opened.append(speaker)
            async with asyncio.timeout(10):
                await speaker.opened
        yield opened
    finally:
        for speaker in opened:
            speaker.leave()
