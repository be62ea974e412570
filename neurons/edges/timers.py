"""Wakes actors: the only place where a neuron waits for time to pass. Notices when the wall clock is set."""

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import Final, NamedTuple

from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import TimerCancelled, TimerFired, TimerKey, TimerRequested
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.edges.edge import Edge, on

CLOCK_LOOK: Final = 1.0
"""Seconds between two looks at the clocks, so that a step is noticed by a neuron that hears nothing, too."""


class Timer(NamedTuple):
    """The identity of a timer."""

    owner: str
    name: str
    key: TimerKey


class TimerQueue:
    """Timers and their deadlines, in the order (deadline, request). Knows no clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[Micros, int, Timer]] = []
        self._live: dict[Timer, int] = {}
        self._requests = count()

    def add(self, timer: Timer, deadline: Micros) -> None:
        """Set ``timer``; a timer that is set already gets the new deadline."""
        request = next(self._requests)
        self._live[timer] = request
        heappush(self._heap, (deadline, request, timer))

    def cancel(self, timer: Timer) -> None:
        """Cancel ``timer``; without effect if it is not set."""
        self._live.pop(timer, None)

    def next_deadline(self) -> Micros | None:
        """The earliest deadline."""
        while self._heap:
            deadline, request, timer = self._heap[0]
            if self._live.get(timer) == request:
                return deadline
            heappop(self._heap)
        return None

    def take_due(self, now: Micros) -> Timer | None:
        """Remove and return the first timer that is due at ``now``."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        _, _, timer = heappop(self._heap)
        del self._live[timer]
        return timer


class Timers(Edge):
    """Timers on the event loop."""

    name = "timers"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue = TimerQueue()
        self._handle: asyncio.TimerHandle | None = None
        self._due: Micros | None = None
        self._look: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Look at the clocks from now on."""
        self._look_again()

    def _look_again(self) -> None:
        self._look = asyncio.get_running_loop().call_later(CLOCK_LOOK, self._look_again)
        self._bus.look_at_clocks()

    @on(TimerRequested)
    def request(self, event: TimerRequested, _: Envelope) -> None:
        """Answered by ``TimerFired``, unless the timer is cancelled or replaced."""
        self._queue.add(Timer(event.owner, event.timer, event.key), event.deadline)
        if self._due is None or event.deadline < self._due:
            self._arm(event.deadline)

    @on(TimerCancelled)
    def cancel(self, event: TimerCancelled, _: Envelope) -> None:
        """Cancel the timer only: an early wake-up is harmless, so the loop's own timer stays."""
        self._queue.cancel(Timer(event.owner, event.timer, event.key))

    async def close(self) -> None:
        """Let no timer fire any more."""
        for handle in (self._handle, self._look):
            if handle is not None:
                handle.cancel()

    def _arm(self, deadline: Micros) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = deadline
        delay = max(0, deadline - self._clock.mono()) / SECOND
        self._handle = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle = self._due = None
        while (due := self._queue.take_due(self._clock.mono())) is not None:
            self._bus.publish(TimerFired(*due))
        following = self._queue.next_deadline()
        if following is not None:
            self._arm(following)
