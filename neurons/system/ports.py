"""Ports to listen on, and the cures if the system refuses one."""

import contextlib
import errno
import socket


def listen_on(ip: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens; an empty ``ip`` is all addresses.

    Raises:
        OSError: the system refuses; ``cure_for_port`` says what to do.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        ip or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with contextlib.ExitStack() as unless_it_listens:
        listening = unless_it_listens.enter_context(socket.socket(family, kind, protocol))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(backlog)  # otherwise another process could listen first
        unless_it_listens.pop_all()
    return listening


def cure_for_port(ip: str, port: int, error: OSError) -> str:
    """What the operator must change after ``error`` of ``listen_on``; an empty text if that is unknown."""
    if isinstance(error, socket.gaierror):
        return "axon.ip must be an IP address of this machine, or 0.0.0.0 for all"
    every = "::" if ":" in ip else "0.0.0.0"  # noqa: S104 - advice for a public port
    cures = {
        errno.EADDRNOTAVAIL: f"{ip} is not an address of this machine: set axon.ip to {every} (all addresses), and "
        f"announce {ip} by axon.external_ip",
        errno.EADDRINUSE: f"stop the process that uses port {port} (ss -ltnp shows it), or set another axon.port",
        errno.EACCES: "ports below 1024 are for root alone: set axon.port to another one",
        errno.EAFNOSUPPORT: "this machine has no IPv6: set axon.ip to 0.0.0.0",
    }
    return cures.get(error.errno or 0, "")
