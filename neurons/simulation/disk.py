"""A disk in memory, which answers within the drain, later, or not at all. Subclasses say what it stores."""

from collections import deque
from typing import Generic, TypeVar

from bettensor.bus.bus import EventBus
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event
from bettensor.neurons.edges.edge import Edge

Request = TypeVar("Request", bound=Event)


class SimulatedDisk(Edge, Generic[Request]):
    """Takes requests to write, does them in their order, and answers each by one event.

    With ``held`` set, requests wait until ``release``: that is a disk that takes its time.
    """

    def __init__(self) -> None:
        self.held = False
        self.failing: str | None = None
        """Why each request fails, while it is set."""
        self._waiting: deque[tuple[Request, int]] = deque()
        """Each with the number of its envelope."""

    def attach(self, bus: EventBus) -> None:
        """Subscribe; the next run of a neuron attaches the same disk to its own bus."""
        super().attach(bus)
        self._waiting.clear()  # what an earlier run asked for was lost with it

    def release(self, requests: int | None = None) -> None:
        """Do the requests that wait, what follows from them included; or so many of them."""
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
