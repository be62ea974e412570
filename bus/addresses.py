"""Addresses as text: ``ip:port`` of neurons, and which of them may be dialled if a stranger names them."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

_NAT64: Final = ip_network("64:ff9b::/96")
"""Its addresses have an IPv4 address in their last 32 bits (RFC 6052)."""
_6TO4: Final = ip_network("2002::/16")
"""Its addresses lead to an IPv4 address through relays, which no longer exist (RFC 7526); Pythons differ on them."""
_HOST_BITS: Final = 64
"""The bits of an IPv6 address that its holder chooses (RFC 4291, section 2.5.1)."""

Address = IPv4Address | IPv6Address


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of ``203.0.113.7:8091`` or ``[2001:db8::7]:8091``; the host has no brackets.

    Raises:
        ValueError: ``endpoint`` is not of this form.
    """
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal() and int(port[:6]) < 65536):
        raise ValueError(f"expected ip:port, and not {endpoint!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def host_of(endpoint: str) -> str:
    """The host of an endpoint; all of it if it has no port, as on a simulated network."""
    try:
        return split_endpoint(endpoint)[0]
    except ValueError:
        return endpoint


class Networks:
    """A set of networks, which can be asked about addresses."""

    def __init__(self, networks: Iterable[str]) -> None:
        """
        Args:
            networks: IP addresses, and networks in CIDR form.

        Raises:
            ValueError: one of them is neither.
        """
        self._networks = [ip_network(network) for network in networks]

    def __contains__(self, host: str) -> bool:
        """Whether ``host`` is an address in one of them. A name is in none."""
        if not self._networks or (address := _read(host)) is None:
            return False
        return any(_plain(address) in network for network in self._networks)


_LOOPBACK: Final = Networks(("127.0.0.0/8", "::1/128"))


@lru_cache(maxsize=4096)
def network_of(remote: str) -> str:
    """The network that counts as one party, if parties are told apart by their addresses.

    Of IPv4 it is the address itself; of IPv6 the 64 bits that one line has, because its holder chooses the other 64.

    Args:
        remote: an IP address; any other text is its own network.
    """
    address = _read(remote)
    if address is None:
        return remote
    plain = _plain(address)
    if isinstance(plain, IPv4Address):
        return str(plain)
    return f"{IPv6Address(int(plain) >> _HOST_BITS << _HOST_BITS)}/{128 - _HOST_BITS}"


def is_local(host: str) -> bool:
    """Whether ``host`` is an address of this machine's loopback, by which only its own programs come."""
    return host in _LOOPBACK


def is_public(host: str) -> bool:
    """Whether ``host`` is an address of the public internet: what a stranger names may lead nowhere else.

    A name is none, because it may stand for any address.
    """
    address = _read(host)
    if address is None or address in _6TO4:
        return False
    return all(found.is_global and not found.is_multicast for found in _meant(_plain(address)))


def _read(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """The IPv4 address that an address like ``::ffff:10.0.0.1`` is."""
    return getattr(address, "ipv4_mapped", None) or address


def _meant(address: Address) -> list[Address]:
    """``address``, and the IPv4 address to which a gateway would pass on what is sent there."""
    if isinstance(address, IPv4Address):
        return [address]
    return [address, IPv4Address(int(address) & 0xFFFFFFFF)] if address in _NAT64 else [address]
