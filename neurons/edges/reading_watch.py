"""Notices that a peer has stopped reading. A peer that reads slowly, and goes on, is left alone."""

import asyncio
from typing import Any


class ReadingWatch(asyncio.Protocol):
    """A mixin that precedes a library's class for a connection. It watches while the transport's buffer is full."""

    loop: Any
    transport: Any
    _watch: asyncio.TimerHandle | None = None
    _mark = 0
    """Bytes that would be in the buffer if the peer had read nothing since the last look."""

    def _reading_timeout(self) -> float:
        """Seconds in which the peer must read something."""
        raise NotImplementedError

    def _stalled(self) -> None:
        """The peer has read nothing for that long."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        """The buffer is full."""
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        """The buffer has drained."""
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _look_again(self) -> None:
        self._stop_watching()
        self._mark = self.transport.get_write_buffer_size()
        self._watch = self.loop.call_later(self._reading_timeout(), self._look)

    def _look(self) -> None:
        if self.transport.get_write_buffer_size() < self._mark:
            self._look_again()
        else:
            self._watch = None
            self._stalled()
