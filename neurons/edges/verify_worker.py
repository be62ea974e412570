"""``python -m bettensor.neurons.edges.verify_worker``: a process that does nothing but verify signatures of frames.

On its standard input come messages: four bytes with the length, big-endian, and the questions as MessagePack. On its
standard output goes a byte for each question, 1 or 0, in the same order. It ends when its input does, and so with the
neuron however that ends: signals to all of a terminal's or a service's processes are the neuron's to obey.
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

_LENGTH: Final = 4
_decode: Final = msgspec.msgpack.Decoder(list[tuple[Hotkey, Scheme, bytes, bytes]]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def message(questions: Sequence[VerificationRequested]) -> bytes:
    """``questions`` as the process reads them."""
    body = _encode([(asked.signer, asked.scheme, asked.payload, asked.signature) for asked in questions])
    return len(body).to_bytes(_LENGTH, "big") + body


def serve(questions: BinaryIO, answers: RawIOBase) -> None:
    """Answer until ``questions`` end, in the middle of one perhaps, or nobody is there any more who asked."""
    with contextlib.suppress(BrokenPipeError):
        while len(head := questions.read(_LENGTH)) == _LENGTH:
            size = int.from_bytes(head, "big")
            body = questions.read(size)
            if len(body) == size:
                answers.write(bytes(verify(*question) for question in _decode(body)))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    serve(sys.stdin.buffer, FileIO(sys.stdout.fileno(), "wb", closefd=False))
