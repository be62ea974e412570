"""A wire carries bytes both ways, until it is cut, and again when it is mended."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bettensor.neurons.cli.demo_wire import Wires

PATIENCE = 20.0


@contextmanager
def echoing() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    try:
                        while data := client.recv(1024):
                            client.sendall(data)
                    except OSError:
                        pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


@contextmanager
def started(target: int, count: int = 1) -> Iterator[Wires]:
    wires = Wires(target, count)
    wires.start()
    try:
        yield wires
    finally:
        wires.close()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def carries(line: socket.socket) -> bool:
    line.sendall(b"there and back")
    return line.recv(1024) == b"there and back"


def test_a_wire_is_cut_and_mended() -> None:
    with echoing() as target, started(target) as wires:
        (wire,) = wires.wires
        with connected(wire.port) as line:
            assert carries(line)
            wire.toggle()
            with pytest.raises(ConnectionResetError):
                line.recv(1024)
        with pytest.raises(ConnectionRefusedError):
            connected(wire.port)
        wire.toggle()
        with connected(wire.port) as line:
            assert carries(line)


def test_a_wire_to_nobody_ends_at_once() -> None:
    with echoing() as target:
        pass
    with started(target) as wires, connected(wires.wires[0].port) as line:
        assert line.recv(1024) == b""


def test_closed_wires_leave_nothing() -> None:
    before = threading.active_count()
    with echoing() as target, started(target, 2) as wires, connected(wires.wires[0].port) as line:
        assert carries(line)
        ports = [wire.port for wire in wires.wires]
        wires.wires[1].toggle()
        wires.close()
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                connected(port)
        wires.close()
    assert threading.active_count() == before
