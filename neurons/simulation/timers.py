"""Timers on a clock that moves only on request."""

from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import TimerCancelled, TimerFired, TimerRequested
from bettensor.bus.identifiers import Micros
from bettensor.neurons.edges.edge import Edge, on
from bettensor.neurons.edges.timers import Timer, TimerQueue


class SimulatedTimers(Edge):
    """Advances a ``ManualClock``, and fires the timers that become due, in order."""

    name = "timers"

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._queue = TimerQueue()

    @on(TimerRequested)
    def request(self, event: TimerRequested, _: Envelope) -> None:
        """Answered by ``TimerFired`` once the clock reaches the deadline."""
        self._queue.add(Timer(event.owner, event.timer, event.key), event.deadline)

    @on(TimerCancelled)
    def cancel(self, event: TimerCancelled, _: Envelope) -> None:
        """Cancel the timer, if it is set."""
        self._queue.cancel(Timer(event.owner, event.timer, event.key))

    def advance(self, by: Micros) -> None:
        """Let ``by`` microseconds pass: each timer fires at its own time."""
        end = self._clock.mono() + by
        while (deadline := self.next_deadline()) is not None and deadline <= end:
            self._clock.advance(Micros(max(0, deadline - self._clock.mono())))
            self.fire()
        self._clock.advance(Micros(end - self._clock.mono()))

    def next_deadline(self) -> Micros | None:
        """The earliest deadline, for a network that advances the clock of several neurons."""
        return self._queue.next_deadline()

    def fire(self) -> None:
        """Fire the first timer that is due, if there is one."""
        due = self._queue.take_due(self._clock.mono())
        if due is not None:
            self._bus.publish(TimerFired(*due))
