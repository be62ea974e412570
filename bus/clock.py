"""The two clocks of a neuron. The only module of ``bus`` and ``actors`` that may read the time."""

import time
from typing import Protocol

from bettensor.bus.identifiers import Micros


class Clock(Protocol):
    """Wall time decides whether a game has started, monotonic time whether a peer is late. They are never mixed."""

    def wall(self) -> Micros:
        """Microseconds since the Unix epoch, UTC. May step either way."""
        ...

    def mono(self) -> Micros:
        """Microseconds since the neuron's start. Never steps."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def __init__(self) -> None:
        self._start = time.monotonic_ns()

    def wall(self) -> Micros:
        return Micros(time.time_ns() // 1000)

    def mono(self) -> Micros:
        return Micros((time.monotonic_ns() - self._start) // 1000)


class ManualClock:
    """A clock that moves only when a test advances it."""

    def __init__(self, wall: Micros = Micros(1_750_000_000_000_000)) -> None:
        self._wall = wall
        self._mono = Micros(0)

    def wall(self) -> Micros:
        return self._wall

    def mono(self) -> Micros:
        return self._mono

    def advance(self, by: Micros) -> None:
        """Let ``by`` microseconds pass on both clocks.

        Raises:
            ValueError: ``by`` is negative; monotonic time does not run backwards.
        """
        if by < 0:
            raise ValueError(f"monotonic time cannot go back by {-by} us; use step_wall")
        self._wall = Micros(self._wall + by)
        self._mono = Micros(self._mono + by)

    def step_wall(self, by: Micros) -> None:
        """Step the wall clock alone, either way, as NTP or an operator does."""
        self._wall = Micros(self._wall + by)
