"""All that waits for the readers of a public port: who is written to next, and how much memory all of it may keep."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from bettensor.neurons.edges.shared_frames import Frames
from bettensor.neurons.edges.turns import Turns

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
        self.turns = Turns(FRAMES_A_TURN)
        """To write one shared frame each."""

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
