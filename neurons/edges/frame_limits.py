"""What costs a peer next to nothing to send, and is limited on either side of a session (protocol, "Limits")."""

import asyncio
from typing import Any, Final

MAX_FRAGMENTS: Final = 64
"""Of one message: the bytes are counted by the library, but empty fragments cost too."""
MAX_EXTRA_FRAMES: Final = 1000
"""Pings, pongs and continuations of one peer in a second. Each costs it 2 to 6 bytes and us 20 us or more."""
SLICE: Final = 16_384
"""Bytes that are parsed at a time: one read from a socket may bring 100,000 frames, and limits are to hold within."""


class FrameLimits(asyncio.Protocol):
    """Stands before the class of a library that parses WebSocket frames."""

    loop: Any
    transport: Any
    _second = 0.0
    _extra_frames = 0

    def data_received(self, data: bytes) -> None:
        """Parse ``data`` in slices, and nothing more once the transport is closing."""
        for start in range(0, len(data), SLICE):
            super().data_received(data[start : start + SLICE])
            if self.transport.is_closing():
                return

    def _count_extra(self) -> int:
        """Count a frame that is no message; returns how many there were in the second that runs."""
        now = self.loop.time()
        if now - self._second >= 1:
            self._second, self._extra_frames = now, 0
        self._extra_frames += 1
        return self._extra_frames
