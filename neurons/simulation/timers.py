"""Timers by a clock that moves only when it is told to."""

from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import TimerCancelled, TimerFired, TimerRequested
from bettensor.bus.identifiers import Micros
from bettensor.neurons.edges.edge import Edge, on
from bettensor.neurons.edges.timers import TimerQueue


class SimulatedTimers(Edge):
    """Advances a ``ManualClock`` and wakes whom it passes, in order."""

    name = "timers"

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._queue = TimerQueue()

    @on(TimerRequested)
    def request(self, event: TimerRequested, _: Envelope) -> None:
        """Answered by ``TimerFired`` once the clock has been advanced so far."""
        self._queue.add(event.owner, event.key, event.deadline)

    @on(TimerCancelled)
    def cancel(self, event: TimerCancelled, _: Envelope) -> None:
        """Forget it, if it is there."""
        self._queue.cancel(event.owner, event.key)

    def advance(self, by: Micros) -> None:
        """Let ``by`` microseconds pass: each timer fires at its own time."""
        end = self._clock.mono() + by
        while (deadline := self.next_deadline()) is not None and deadline <= end:
            self._clock.advance(Micros(max(0, deadline - self._clock.mono())))
            self.fire()
        self._clock.advance(Micros(end - self._clock.mono()))

    def next_deadline(self) -> Micros | None:
        """When the next timer is due, for whoever advances the clock of several neurons."""
        return self._queue.next_deadline()

    def fire(self) -> None:
        """Wake whoever is due first, if anybody is."""
        due = self._queue.take_due(self._clock.mono())
        if due is not None:
            self._bus.publish(TimerFired(*due))
