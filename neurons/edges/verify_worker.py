"""``python -m bettensor.neurons.edges.verify_worker``: a process that only verifies signatures of frames.

It writes ``READY`` to its standard output when it has started. It reads messages from its standard input: four bytes
with the length, big-endian, and the questions as MessagePack. It writes one byte for each question, 1 or 0, in the same
order. It ends when its input ends, and so with the neuron, however that ends. It ignores signals, which a terminal or a
service sends to all processes.
"""

import contextlib
import signal
import sys
from collections.abc import Sequence
from io import FileIO, RawIOBase
from typing import BinaryIO, Final

import msgspec

from bettensor.bus.events import Scheme, VerificationRequested
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.edges.keys import verify

READY: Final = b"\n"
"""Not an answer."""
_LENGTH: Final = 4
_decode: Final = msgspec.msgpack.Decoder(list[tuple[Hotkey, Scheme, bytes, bytes]]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def message(questions: Sequence[VerificationRequested]) -> bytes:
    """``questions`` in the format that the process reads."""
    body = _encode([(asked.signer, asked.scheme, asked.payload, asked.signature) for asked in questions])
    return len(body).to_bytes(_LENGTH, "big") + body


def serve(questions: BinaryIO, answers: RawIOBase) -> None:
    """Answer until ``questions`` end, possibly within a message, or until the output is closed."""
    with contextlib.suppress(BrokenPipeError):
        while len(head := questions.read(_LENGTH)) == _LENGTH:
            size = int.from_bytes(head, "big")
            body = questions.read(size)
            if len(body) == size:
                answers.write(bytes(verify(*question) for question in _decode(body)))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    output = FileIO(sys.stdout.fileno(), "wb", closefd=False)
    output.write(READY)
    serve(sys.stdin.buffer, output)
