"""Proxies that the environment names, for the chain: the only connection of a neuron that goes through one.

bittensor connects by the websockets library, which reads ``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY`` and their kind.
"""

import os
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_KINDS: Final = {"wss": ("wss", "socks", "https"), "ws": ("ws", "socks", "https", "http")}
"""By the scheme of a URL, the kinds of proxies that websockets uses, the first one first."""


def spare_loopback(url: str) -> None:
    """If ``url`` leads to this machine, no connection of this process to its host goes through a proxy from now on."""
    host = urlsplit(url).hostname or ""
    spared = getproxies().get("no", "")
    if is_loopback(host) and not proxy_bypass(host):
        os.environ["no_proxy"] = f"{spared},{host}" if spared else host


def proxy_of(url: str) -> str | None:
    """Scheme, host and port of the proxy for a WebSocket to ``url``; None if it is connected directly."""
    parts, proxies = urlsplit(url), getproxies()
    if proxy_bypass(f"{parts.hostname}:{parts.port or 0}"):  # as websockets asks; an IPv6 address without brackets
        return None
    proxy = next((proxies[kind] for kind in _KINDS.get(parts.scheme, ()) if kind in proxies), None)
    return None if proxy is None else _without_password(proxy)


def is_loopback(host: str) -> bool:
    """Whether ``host``, an address or a name, is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _without_password(proxy: str) -> str:
    scheme, separator, rest = proxy.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]
