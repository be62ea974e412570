"""A disk in memory, which answers within the drain, later, or not at all. Subclasses say what it stores."""

from collections import deque
from typing import Generic, TypeVar

from bettensor.bus.bus import EventBus
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event
from bettensor.neurons.edges.edge import Edge

Request = TypeVar("Request", bound=Event)


class SimulatedDisk(Edge, Generic[Request]):
    """Answers requests to write, in their order, by one event each.

    With ``held`` set, requests wait until ``release``, as on a slow disk.
    """

    def __init__(self) -> None:
        self.held = False
        self.failing: str | None = None
        """While set, each request fails for this reason."""
        self._waiting: deque[tuple[Request, int]] = deque()
        """Each with the number of its envelope."""

    def attach(self, bus: EventBus) -> None:
        """Subscribe; a neuron's next run attaches the same disk to its own bus."""
        super().attach(bus)
        self._waiting.clear()  # requests of an earlier run were lost with it

    def release(self, requests: int | None = None) -> None:
        """Answer the waiting requests, including requests that follow from them; at most ``requests`` if given."""
        while self._waiting and requests != 0:
            requests = None if requests is None else requests - 1
            event, request = self._waiting.popleft()
            answer = self._write(event, request) if self.failing is None else self._refuse(request, self.failing)
            self._bus.publish(answer, causes=(request,))

    def _take(self, event: Request, envelope: Envelope) -> None:
        self._waiting.append((event, envelope.seq))
        if not self.held:
            self.release()

    def _write(self, event: Request, request: int) -> Event:
        """Store what ``event`` asks for, and say so; ``request`` is the number of its envelope."""
        raise NotImplementedError

    def _refuse(self, request: int, reason: str) -> Event:
        """Say that nothing was stored."""
        raise NotImplementedError
