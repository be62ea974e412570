"""Addresses as text: ``ip:port`` of neurons, and which of them may be dialled if a stranger names them."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_NAT64: Final = ip_network("64:ff9b::/96")
"""Its addresses have an IPv4 address in their last 32 bits (RFC 6052)."""
_6TO4: Final = ip_network("2002::/16")
"""Its addresses lead to an IPv4 address through relays, which no longer exist (RFC 7526); Pythons differ on them."""

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


def is_within(host: str, network: str) -> bool:
    """Whether ``host`` is an address of ``network``, which is in CIDR form. A name is in no network."""
    address = _read(host)
    return address is not None and _plain(address) in ip_network(network)


def network_of(remote: str) -> str:
    """The network whose addresses belong to one party: an IPv4 address alone, of IPv6 the /64 (RFC 6177).

    An address like ``::ffff:10.0.0.1`` is the IPv4 address. Text that is no address stands for itself.
    """
    address = _read(remote)
    if address is None:
        return remote
    plain = _plain(address)
    return str(plain) if isinstance(plain, IPv4Address) else str(IPv6Network((int(plain) >> 64 << 64, 64)))


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
