"""Wakes actors: the one place where a neuron waits for time to pass."""

import asyncio
from heapq import heappop, heappush
from itertools import count

from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import TimerCancelled, TimerFired, TimerRequested
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.edges.edge import Edge, on


class TimerQueue:
    """Keyed deadlines, in the order (deadline, request). Knows no clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[Micros, int, str, str]] = []
        self._live: dict[tuple[str, str], int] = {}
        self._requests = count()

    def add(self, owner: str, key: str, deadline: Micros) -> None:
        """Set the timer; one of the same name is replaced."""
        request = next(self._requests)
        self._live[owner, key] = request
        heappush(self._heap, (deadline, request, owner, key))

    def cancel(self, owner: str, key: str) -> None:
        """Forget the timer, if there is one."""
        self._live.pop((owner, key), None)

    def next_deadline(self) -> Micros | None:
        """When to look again."""
        while self._heap:
            deadline, request, owner, key = self._heap[0]
            if self._live.get((owner, key)) == request:
                return deadline
            heappop(self._heap)
        return None

    def take_due(self, now: Micros) -> tuple[str, str] | None:
        """Owner and key of the first timer that is due at ``now``, which is then forgotten."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        _, _, owner, key = heappop(self._heap)
        del self._live[owner, key]
        return owner, key


class Timers(Edge):
    """Timers on the event loop."""

    name = "timers"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue = TimerQueue()
        self._handle: asyncio.TimerHandle | None = None
        self._due: Micros | None = None

    @on(TimerRequested)
    def request(self, event: TimerRequested, _: Envelope) -> None:
        """Answered by ``TimerFired``, unless it is cancelled or replaced."""
        self._queue.add(event.owner, event.key, event.deadline)
        if self._due is None or event.deadline < self._due:
            self._arm(event.deadline)

    @on(TimerCancelled)
    def cancel(self, event: TimerCancelled, _: Envelope) -> None:
        """A wake-up for nothing is harmless, so the loop's own timer is left alone."""
        self._queue.cancel(event.owner, event.key)

    async def close(self) -> None:
        """No timer fires any more."""
        if self._handle is not None:
            self._handle.cancel()

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
