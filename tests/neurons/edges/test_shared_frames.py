"""One frame for many peers: signed once, packed once, and in the form that each of them asked for."""

import pytest
from websockets.frames import Opcode

from bettensor.bus import packing
from bettensor.bus.identifiers import Epoch, Offset
from bettensor.bus.messages import MAX_FRAME_BYTES, Broadcast, GameUpdateMessage
from bettensor.neurons.edges.shared_frames import Message, SharedFrame, size_of
from tests.support import NETUID

UPDATE = GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(2), updated_games={})
LONG = b"a game " * 500


class Signer:
    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.calls = 0

    def __call__(self) -> tuple[Broadcast, bytes]:
        self.calls += 1
        return UPDATE, self.frame


def opened(message: Message) -> tuple[int, bytes]:
    """Opcode and payload of an unmasked message in one frame (RFC 6455, section 5.2)."""
    data = b"".join(message)
    first, length, start = data[0], data[1], 2
    assert first & 0x80
    if length == 126:
        length, start = int.from_bytes(data[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(data[2:10], "big"), 10
    assert len(data) == start + length == size_of(message)
    return first & 0x0F, data[start:]


def test_a_frame_is_signed_when_it_is_needed_and_once() -> None:
    signer = Signer(LONG)
    frame = SharedFrame(signer)
    assert (signer.calls, frame.is_made, frame.size) == (0, False, MAX_FRAME_BYTES)
    assert frame.line == LONG + b"\n"
    assert frame.message is UPDATE
    assert opened(frame.text)[1] == LONG
    assert (signer.calls, frame.is_made, frame.size) == (1, True, len(LONG))


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_its_text_message_is_the_frame_whatever_its_length(length: int) -> None:
    frame = SharedFrame(Signer(b"x" * length))
    assert opened(frame.text) == (Opcode.TEXT, b"x" * length)


def test_its_packed_message_is_binary_and_made_once() -> None:
    frame = SharedFrame(Signer(LONG))
    opcode, payload = opened(frame.packed)
    assert opcode == Opcode.BINARY
    assert packing.unpack(payload) == LONG
    assert frame.packed is frame.packed


def test_a_short_frame_is_text_for_everybody() -> None:
    frame = SharedFrame(Signer(b"x" * packing.MIN_BYTES))
    assert opened(frame.packed) == (Opcode.TEXT, b"x" * packing.MIN_BYTES)
    longer = SharedFrame(Signer(b"x" * (packing.MIN_BYTES + 1)))
    assert opened(longer.packed)[0] == Opcode.BINARY
