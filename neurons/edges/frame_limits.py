"""Limits, on both sides of a session, on frames that cost a peer next to nothing (protocol, "Limits")."""

import asyncio
from typing import Any, Final

MAX_FRAGMENTS: Final = 64
"""Fragments of one message: the library limits the bytes, but empty fragments cost too."""
MAX_EXTRA_FRAMES: Final = 1000
"""Pings, pongs and continuations of one peer in a second. Each costs the peer 2 to 6 bytes, and us 20 us or more."""
MAX_LATE_BYTES: Final = 10_485_760
"""Bytes that are read between our close and the peer's answer: as many as an honest one may have under way."""
SLICE: Final = 16_384
"""Bytes parsed at a time: one read from a socket may bring 100,000 frames, and the limits must hold within it."""


class FrameLimits(asyncio.Protocol):
    """A mixin that precedes a library's class for parsing WebSocket frames."""

    loop: Any
    transport: Any
    _second = 0.0
    _extra_frames = 0

    def data_received(self, data: bytes) -> None:
        """Parse ``data`` in slices; stop once the transport is closing."""
        for start in range(0, len(data), SLICE):
            super().data_received(data[start : start + SLICE])
            if self.transport.is_closing():
                return

    def _count_extra(self) -> int:
        """Count a control or continuation frame; returns their number in the current second."""
        now = self.loop.time()
        if now - self._second >= 1:
            self._second, self._extra_frames = now, 0
        self._extra_frames += 1
        return self._extra_frames
