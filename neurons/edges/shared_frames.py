"""Frames that go to many peers, each form of which exists once, however many peers wait for it."""

from collections.abc import Callable, Sequence
from typing import Final

from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from bettensor.bus import packing
from bettensor.bus.messages import MAX_FRAME_BYTES, Broadcast

Message = Sequence[bytes | memoryview]
"""A WebSocket message, in pieces."""
ONE_PIECE: Final = 16 * 1024
"""Bytes up to which a text message is kept in one piece, beside the line of the same frame: a piece is a system call
or a TLS record of its own."""


class SharedFrame:
    """The frame of a broadcast message. It is signed, and packed, when that is first needed."""

    __slots__ = ("_line", "_message", "_packed", "_sign", "_text")

    def __init__(self, sign: Callable[[], tuple[Broadcast, bytes]]) -> None:
        """
        Args:
            sign: makes the message with its stamps, and its frame; called once.
        """
        self._sign: Callable[[], tuple[Broadcast, bytes]] | None = sign
        self._message: Broadcast | None = None
        self._line = b""
        self._text: Message = ()
        self._packed: Message | None = None

    @property
    def message(self) -> Broadcast:
        """The message with its stamps."""
        self.make()
        assert self._message is not None  # noqa: S101 - for the type checker
        return self._message

    @property
    def line(self) -> bytes:
        """The frame and a newline, as an HTTP answer has it."""
        self.make()
        return self._line

    @property
    def size(self) -> int:
        """Bytes of the frame; before it is made, the most that it can have."""
        return len(self._line) - 1 if self._line else MAX_FRAME_BYTES

    @property
    def text(self) -> Message:
        """The frame as a text message."""
        self.make()
        return self._text

    @property
    def packed(self) -> Message:
        """The frame as a binary message, or as a text message if it is too short for that."""
        if self._packed is None:
            self.make()
            self._packed = self.text if self.size <= packing.MIN_BYTES else (self._pack(),)
        return self._packed

    @property
    def is_made(self) -> bool:
        """Whether it is signed."""
        return self._sign is None

    def make(self) -> None:
        """Sign it, if it is not signed yet."""
        if self._sign is not None:
            self._message, frame = self._sign()
            self._sign = None
            self._line = frame + b"\n"
            framed = _framed(Opcode.TEXT, frame)
            header = framed[: len(framed) - len(frame)]
            self._text = (framed,) if len(framed) <= ONE_PIECE else (header, memoryview(self._line)[:-1])

    def _pack(self) -> bytes:
        return _framed(Opcode.BINARY, packing.pack(memoryview(self._line)[:-1]))


Frames = tuple[SharedFrame, ...]
Written = Callable[[int], None]
"""Called with the number of bytes once a transport has taken all frames that it was given together."""


def size_of(message: Message) -> int:
    """The bytes of a message in pieces."""
    return sum(map(len, message))


_MASK: Final = False
"""A server masks no frame (RFC 6455, section 5.1)."""


def _framed(opcode: Opcode, data: bytes) -> bytes:
    return WebSocketFrame(opcode, data).serialize(mask=_MASK)
