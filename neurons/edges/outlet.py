"""All that waits for the readers of a public port: who is written to next, and how much memory all of it may keep."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from bettensor.neurons.edges.shared_frames import Frames

FRAMES_A_TURN: Final = 4
"""Shared frames that are written in one turn of the event loop: about 2 ms if each is yet to be signed and packed."""


class Reader(Protocol):
    """A peer that frames wait for."""

    def give_up(self, reason: str) -> None:
        """End the connection: the peer is too slow."""
        ...


@dataclass(slots=True)
class _Held:
    """Frames that somebody waits for."""

    size: int
    """Bytes, counted once for all readers."""
    readers: dict[Reader, None] = field(default_factory=dict)


class Outlet:
    """Takes care of frames that a peer's connection cannot take at once.

    Args:
        limit: bytes of all frames that wait. Beyond, the readers of the oldest frames are given up: new readers are
            sent newer ones, so whoever still waits for old ones is slow, or means harm.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._held: dict[Frames, _Held] = {}
        self._steps: deque[Callable[[], bool]] = deque()
        self._is_due = False

    # --- memory

    def hold(self, frames: Frames, reader: Reader) -> None:
        """``reader`` waits for ``frames`` from now on. Frames that several readers wait for count once."""
        if not frames:
            return
        held = self._held.get(frames)
        if held is None:
            held = self._held[frames] = _Held(sum(frame.size for frame in frames))
            self._size += held.size
        held.readers[reader] = None
        while self._size > self._limit and len(self._held) > 1:
            self._drop(next(iter(self._held)))

    def release(self, frames: Frames, reader: Reader) -> None:
        """``reader`` has been sent ``frames``, or has gone."""
        held = self._held.get(frames)
        if held is not None:
            held.readers.pop(reader, None)
            if not held.readers:
                self._forget(frames)

    def _drop(self, frames: Frames) -> None:
        held = self._forget(frames)
        for reader in list(held.readers):
            reader.give_up(f"more than {self._limit} bytes wait to be read, and these the longest")

    def _forget(self, frames: Frames) -> _Held:
        held = self._held.pop(frames)
        self._size -= held.size
        return held

    # --- turns

    def join(self, step: Callable[[], bool]) -> None:
        """Have ``step`` called in turns with all others, soon, as long as it returns True. It writes one frame."""
        self._steps.append(step)
        self._schedule()

    async def turn(self) -> None:
        """Wait for the turn to write one frame."""
        its_turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def step() -> bool:
            if not its_turn.done():
                its_turn.set_result(None)
            return False

        self.join(step)
        await its_turn

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        try:
            for _ in range(min(FRAMES_A_TURN, len(self._steps))):
                step = self._steps.popleft()
                if step():
                    self._steps.append(step)
        finally:
            if self._steps:
                self._schedule()
