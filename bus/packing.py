"""The compressed form of a frame (protocol, "Compressed updates"): one zlib stream (RFC 1950) of the whole text.

Knows neither sockets nor signatures: a frame is signed before it is packed, and verified after it was unpacked.
"""

import zlib
from typing import Final

from bettensor.bus.codes import CloseCode
from bettensor.bus.errors import Unreadable
from bettensor.bus.messages import MAX_FRAME_BYTES

DEFLATE: Final = "deflate"
"""The name in a handshake's query."""
MIN_BYTES: Final = 1024
"""A frame of at most so many bytes is not packed: it fits into one packet, and so would its packed form."""
LEVEL: Final = 3
"""zlib's. Level 6 makes a slate another 10 % smaller and takes more than twice the time; level 1 saves nothing."""


def chosen(names: str) -> str:
    """The encoding for a session: the first known one of ``names``, a list with commas; empty if none is known."""
    return next((name for name in names.split(",") if name == DEFLATE), "")


def pack(frame: bytes | memoryview) -> bytes:
    """The binary message that stands for ``frame``."""
    return zlib.compress(frame, LEVEL)


def unpack(data: bytes) -> bytes:
    """The frame that ``data`` stands for. It takes no more memory than the largest frame.

    Raises:
        Unreadable: ``data`` is not one whole zlib stream and nothing else, or the frame is too long.
    """
    inflater = zlib.decompressobj()
    try:
        frame = inflater.decompress(data, MAX_FRAME_BYTES + 1)
    except zlib.error as error:
        raise Unreadable(f"not the compressed form of a frame: {error}") from None
    if len(frame) > MAX_FRAME_BYTES:
        raise Unreadable(f"the compressed frame has more than {MAX_FRAME_BYTES} bytes", CloseCode.TOO_BIG)
    if not inflater.eof:
        raise Unreadable("the compressed form of a frame is cut off")
    if inflater.unused_data:
        raise Unreadable("something follows the compressed form of a frame")
    return frame
