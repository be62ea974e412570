"""What an edge is: where one part of the outside world meets the bus.

An edge has the shape of an actor: a name, and methods that are marked with the events that they hear. The difference is
that it may wait. Its constructor starts nothing and takes what the edge needs, each by its type: sections of the
configuration, and the small protocols below. Real and simulated edges are therefore interchangeable, and an operator's
own edge is written like ours (docs/edges.md).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NewType, Protocol

from bettensor.actors.actor import NoSettings
from bettensor.bus.bus import EventBus, Handler
from bettensor.bus.envelope import Envelope
from bettensor.bus.eventlog import Checkpoint, Header
from bettensor.bus.events import Role, Scheme
from bettensor.bus.identifiers import ConnectionId, Hotkey, Netuid
from bettensor.bus.subscriber import Subscriber, on
from bettensor.neurons.edges.tasks import Tasks

__all__ = [
    "Edge",
    "Identity",
    "Isolates",
    "LogSource",
    "Records",
    "RequestSigner",
    "SendQueues",
    "Signer",
    "StateDir",
    "Stoppable",
    "Store",
    "Transports",
    "on",
]

StateDir = NewType("StateDir", Path)
"""The folder for what must outlive a restart."""


class Edge(Subscriber):
    """One part of the outside world: a socket, a disk, the chain, the passing of time.

    A neuron attaches all its edges to the bus, opens them in the order of ``EDGES`` (``neurons/composition.py``), and
    closes them in reverse. Each step may be called though the one before it failed.
    """

    Settings: ClassVar[type[Any]] = NoSettings
    """The keys under ``edges.NAME`` in the YAML file, for an edge that has no section of its own."""

    _tasks: Tasks

    def attach(self, bus: EventBus) -> None:
        """Subscribe every handler. Nothing is published yet."""
        super().attach(bus)
        self._tasks = Tasks(bus, self.name)

    async def open(self) -> None:
        """Begin, and publish what is known from the start.

        Raises:
            ConfigurationError: it cannot begin as it is configured; the message says what to do.
        """

    async def pause(self) -> None:
        """Take in nothing new: the neuron is about to stop. What was taken in goes on."""

    async def settle(self) -> None:
        """Wait until what was taken in is answered. Safe to cancel."""

    async def close(self) -> None:
        """End, and leave nothing open. Nothing is published afterwards."""


# --- what edges need of each other, and of their neuron


class Identity(NamedTuple):
    """Whom a neuron speaks for."""

    role: Role
    netuid: Netuid
    hotkey: Hotkey
    scheme: Scheme


class Signer(Protocol):
    """Signs what the neuron says."""

    hotkey: Hotkey

    def sign(self, payload: bytes) -> bytes:
        """64 bytes over a frame's JSON bytes (protocol, "Frame")."""
        ...


class RequestSigner(Signer, Protocol):
    """Signs HTTP requests too."""

    def sign_request(self, method: str, target: str, body: bytes, receiver: Hotkey) -> dict[str, str]:
        """Fresh btauth/1 headers for one attempt at one request (protocol, "Signed requests")."""
        ...


class Store(Protocol):
    """Work on a database that is under way."""

    async def settle(self) -> None:
        """Wait until nothing is under way, what follows from it included. Safe to cancel."""
        ...


class SendQueues(Protocol):
    """What waits to be sent."""

    def queued(self) -> int:
        """Bytes over all connections; read from any thread."""
        ...


class Transports(Protocol):
    """Where the frames of each connection go; ``FrameWriter`` writes them."""

    def add(self, connection: ConnectionId, transport: Any) -> None:
        """From now on ``connection`` can be written to, by a ``Transport``."""
        ...

    def remove(self, connection: ConnectionId) -> None:
        """Nothing more can be written to ``connection``."""
        ...


class Records(Protocol):
    """Records what happens on the bus."""

    def record(self, envelope: Envelope) -> None:
        """Take one envelope, in order, before it is delivered."""
        ...


class Isolates(Protocol):
    """Keeps users' handlers out of the drain."""

    def isolate(self, handler: Callable[..., Any]) -> Handler:
        """What the bus calls in ``handler``'s place, which returns at once."""
        ...

    def report(self) -> dict[str, dict[str, float]]:
        """The score of each handler, by its name."""
        ...


class LogSource(Protocol):
    """What a recorded log says of its neuron."""

    def log_header(self, previous: str) -> Header:
        """The first line of a file; ``previous`` is the last hash of the file before."""
        ...

    def checkpoint(self) -> Checkpoint:
        """All actors as they are, between two drains."""
        ...


class Stoppable(Protocol):
    """A neuron that can be asked to stop."""

    def request_stop(self, reason: str) -> None:
        """Stop soon, in good order."""
        ...
