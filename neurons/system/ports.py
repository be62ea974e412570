"""Ports of this machine to listen on."""

import contextlib
import socket
from typing import Final

UNSENT: Final = 128 * 1024
"""Bytes that the system takes of a connection before it can send them. Otherwise it takes megabytes: they would be kept
for a peer that does not read, and a slow reader would seem to stand still while they are sent.
"""


def listen_on(ip: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens; an empty ``ip`` is all addresses.

    Raises:
        OSError: the system refuses.
    """
    name = ip.encode() or None  # a text would be encoded as a domain, which raises other errors
    family, kind, protocol, _, address = socket.getaddrinfo(
        name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with contextlib.ExitStack() as unless_it_listens:
        listening = unless_it_listens.enter_context(socket.socket(family, kind, protocol))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)  # accepted sockets inherit it
        listening.bind(address)
        listening.listen(backlog)  # otherwise another process could listen first
        unless_it_listens.pop_all()
    return listening


def free_port() -> int:
    """A port of loopback that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
