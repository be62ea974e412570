"""What whoever starts neurons on this machine alone (the demo, the benchmarks) needs of its network."""

import socket


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
