"""A stand-in for the control socket of a neuron, which answers what a test says."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from bettensor.neurons.edges.control import socket_address

Answer = Callable[[dict[str, Any]], dict[str, Any] | bytes]


@contextmanager
def listening_at(state_dir: Path) -> Iterator[socket.socket]:
    """A socket where a neuron has its control socket, however long the path is; what it leaves there stays."""
    with socket.socket(socket.AF_UNIX) as listening:
        with socket_address(state_dir) as address:
            listening.bind(address)
        listening.listen()
        yield listening


@contextmanager
def answering(state_dir: Path, answer: Answer) -> Iterator[list[dict[str, Any]]]:
    """Answer each question on the socket in ``state_dir``; bytes are sent as they are. Gives the list of questions."""
    questions: list[dict[str, Any]] = []
    state_dir.mkdir(parents=True, exist_ok=True)
    with listening_at(state_dir) as listening:
        server = Thread(target=_serve, args=(listening, answer, questions))
        server.start()
        try:
            yield questions
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            server.join()


def _serve(listening: socket.socket, answer: Answer, questions: list[dict[str, Any]]) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:  # the test is over
            return
        with client, client.makefile("rb") as lines:
            questions.append(json.loads(lines.readline()))
            answered = answer(questions[-1])
            with suppress(OSError):  # who asked has lost patience
                client.sendall(answered if isinstance(answered, bytes) else json.dumps(answered).encode() + b"\n")
