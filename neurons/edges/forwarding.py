"""Whose connection or request it is that a proxy passes on: trusted proxies are believed, and nobody else.

A proxy in front of a port says it in one of two ways. One that reads HTTP adds the address of its peer to the header
X-Forwarded-For. One that only passes bytes on, TLS included, begins each connection with a header of the PROXY protocol
(HAProxy's specification of it, version 2, sections 2.2 and 5), which has to be configured: a receiver must not guess.
"""

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from bettensor.actors.settings import AxonSettings, MinerSynapseSettings
from bettensor.bus.addresses import Networks, split_endpoint

MAX_PROXY_BYTES: Final = 4096
"""Bytes that may follow the first 16 of a PROXY header: two addresses have 12 or 36, and a proxy may add what it knows
of TLS."""
MAX_HOPS: Final = 16
"""Addresses of X-Forwarded-For that are looked at: each but the last is of one more trusted proxy."""
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED: Final = 16
"""Bytes of a PROXY header before its addresses."""
_LOCAL, _PROXY = 0x20, 0x21
"""Version 2, and the command: a connection of the proxy itself, such as a health check, or of its peer."""
_OVER_IPV4, _OVER_IPV6 = 0x1, 0x2
_ADDRESS_BYTES: Final = {_OVER_IPV4: 4, _OVER_IPV6: 16}


class Client(NamedTuple):
    """A peer, as ASGI has it."""

    host: str
    port: int


class NoProxyHeader(ValueError):
    """A connection of a trusted proxy does not begin with a header of the PROXY protocol, version 2."""


class Forwarding(NamedTuple):
    """How the proxies in front of a port say for whom they come."""

    trusted: Networks = Networks(())
    """The addresses of the proxies."""
    by_proxy_protocol: bool = False
    """Whether their connections begin with a PROXY header; otherwise their requests have X-Forwarded-For."""

    def begins_connection(self, remote: str) -> bool:
        """Whether a connection from the address ``remote`` begins with a PROXY header."""
        return self.by_proxy_protocol and remote in self.trusted

    def names_in_requests(self, remote: str) -> bool:
        """Whether the requests of a connection from the address ``remote`` say for whom they are."""
        return not self.by_proxy_protocol and remote in self.trusted

    def party_of(self, client: Client) -> str:
        """Whose the connection is in limits: a proxy comes for anybody, so each of its connections is of another."""
        return f"{client.host} {client.port}" if client.host in self.trusted else client.host

    def origin_of(self, remote: str, forwarded: Iterable[str]) -> str:
        """The address for which a proxy passes a request on: the last of X-Forwarded-For that is of no trusted proxy.

        What stands before it may be the invention of a stranger. If an address cannot be read, it is the one behind.

        Args:
            remote: of the proxy's socket.
            forwarded: the values of the header, in their order.
        """
        hops = [hop for value in forwarded for hop in value.split(",")]
        for hop in hops[: -MAX_HOPS - 1 : -1]:
            if remote not in self.trusted or (before := _address_in(hop.strip())) is None:
                break
            remote = before
        return remote


NOBODY_IN_FRONT: Final = Forwarding()


def forwarding_of(port: AxonSettings | MinerSynapseSettings) -> Forwarding:
    """How the proxies in front of a configured port do it."""
    return Forwarding(Networks(port.trusted_proxies), port.proxy_protocol)


async def read_proxy_header(accepted: socket.socket) -> Client | None:
    """Read the PROXY header with which a connection begins, and nothing more; cancellation loses what was read.

    Args:
        accepted: does not block.

    Returns:
        The peer for whom the proxy has connected; None if it has connected for itself, or does not know its peer.

    Raises:
        NoProxyHeader: there is none, or none of version 2.
        OSError: the connection broke.
    """
    fixed = await _receive(accepted, _FIXED)
    command, family = fixed[12], fixed[13] >> 4
    length = int.from_bytes(fixed[14:], "big")
    if not fixed.startswith(_SIGNATURE) or command not in (_LOCAL, _PROXY) or length > MAX_PROXY_BYTES:
        raise NoProxyHeader
    rest = await _receive(accepted, length)
    size = _ADDRESS_BYTES.get(family)
    if command == _LOCAL or size is None:
        return None
    if length < 2 * size + 4:
        raise NoProxyHeader
    host = IPv4Address(rest[:size]) if family == _OVER_IPV4 else IPv6Address(rest[:size])
    return Client(str(host), int.from_bytes(rest[2 * size : 2 * size + 2], "big"))


async def _receive(accepted: socket.socket, count: int) -> bytes:
    loop, received = asyncio.get_running_loop(), b""
    while len(received) < count:
        more = await loop.sock_recv(accepted, count - len(received))
        if not more:
            raise NoProxyHeader
        received += more
    return received


def _address_in(hop: str) -> str | None:
    """The address of one entry of X-Forwarded-For; some proxies add the port."""
    for text in (hop, hop.removeprefix("[").removesuffix("]")):
        try:
            return str(ip_address(text))
        except ValueError:
            pass
    try:
        return str(ip_address(split_endpoint(hop)[0]))
    except ValueError:
        return None
