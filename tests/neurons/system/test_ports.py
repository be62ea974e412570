"""A port is listened on at once, and a free one is found."""

import socket

import pytest

from bettensor.neurons.system.ports import free_port, listen_on


def test_a_port_is_listened_on_at_once() -> None:
    with listen_on("127.0.0.1", 0, 1) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with pytest.raises(OSError, match="already in use"):
            listen_on("127.0.0.1", port, 1)


@pytest.mark.parametrize("name", [":::", "a..b", "x" * 70, "ä" * 70])
def test_what_is_no_address_is_an_error_of_the_system(name: str) -> None:
    with pytest.raises(socket.gaierror):
        listen_on(name, 0, 1)


def test_a_free_port_can_be_bound() -> None:
    port = free_port()
    assert 1024 <= port <= 65535
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        assert free_port() != port
