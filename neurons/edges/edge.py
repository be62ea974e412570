"""The base class of edges, and the protocols that they ask each other for.

An edge connects one part of the outside world to the bus. It has the shape of an actor: a name, and methods marked with
the events that they hear; but unlike an actor it may wait. Its constructor starts nothing. The constructor's arguments
are found by type: sections of the configuration, and the small protocols below. Real and simulated edges are therefore
interchangeable, and an operator's own edge is written like ours (docs/edges.md).
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NewType, Protocol

from bettensor.actors.actor import Actor, NoSettings
from bettensor.bus.bus import EventBus, Handler
from bettensor.bus.envelope import Envelope
from bettensor.bus.eventlog import Checkpoint, Header
from bettensor.bus.events import Role, Scheme
from bettensor.bus.identifiers import ConnectionId, Hotkey, Netuid
from bettensor.bus.subscriber import Subscriber, on
from bettensor.neurons.config.settings import Settings
from bettensor.neurons.edges.tasks import Tasks

__all__ = [
    "Edge",
    "Identity",
    "Isolates",
    "LogSource",
    "Plan",
    "QuerySigner",
    "Records",
    "RequestSigner",
    "SendQueues",
    "SentTargets",
    "Signer",
    "StateDir",
    "Stoppable",
    "Store",
    "Transports",
    "on",
]

StateDir = NewType("StateDir", Path)
"""The folder for state that must survive a restart."""


class Plan(NamedTuple):
    """What a configuration describes, before anything of it is started."""

    own: Any
    """The ``Settings`` of the edge that is checked."""
    settings: Settings
    """The whole configuration."""
    actors: Sequence[Actor]


class Edge(Subscriber):
    """Connects one part of the outside world: a socket, a disk, the chain, the passing of time.

    A neuron attaches all its edges to the bus, opens them in the order of ``EDGES`` (``neurons/composition.py``), and
    closes them in reverse. Each step may be called even if the one before it failed.
    """

    Settings: ClassVar[type[Any]] = NoSettings
    """The keys under ``edges.NAME`` in the YAML file, for an edge that has no section of its own."""

    _tasks: Tasks

    @classmethod
    def check(cls, _plan: Plan) -> Iterable[str]:
        """Look at what the neuron would need, such as files; for ``config check`` and ``doctor``. Starts nothing.

        Returns:
            The faults with which the neuron would run, such as rows of a file that it would skip, one each.

        Raises:
            ConfigurationError: the neuron would not start, or would be degraded; the message says what to do.
        """
        return ()

    def attach(self, bus: EventBus) -> None:
        """Subscribe every handler. Nothing is published yet."""
        super().attach(bus)
        self._tasks = Tasks(bus, self.name)

    async def open(self) -> None:
        """Begin, and publish the state that is known from the start.

        Raises:
            ConfigurationError: it cannot begin with this configuration; the message says what to do.
        """

    async def pause(self) -> None:
        """Take in nothing new, because the neuron is about to stop. Work that was taken in continues."""

    async def settle(self) -> None:
        """Wait until all work that was taken in is answered. Safe to cancel."""

    async def close(self) -> None:
        """End, and leave nothing open. Nothing is published afterwards."""


# --- the protocols that edges ask each other and their neuron for


class Identity(NamedTuple):
    """The neuron's identity: role, subnet and hotkey."""

    role: Role
    netuid: Netuid
    hotkey: Hotkey
    scheme: Scheme


class Signer(Protocol):
    """Signs the neuron's frames."""

    hotkey: Hotkey

    def sign(self, payload: bytes) -> bytes:
        """64 bytes over a frame's JSON bytes (protocol, "Frame")."""
        ...


class RequestSigner(Signer, Protocol):
    """Signs HTTP requests too."""

    def sign_request(self, method: str, target: str, body: bytes, receiver: Hotkey) -> dict[str, str]:
        """Fresh btauth/1 headers for one attempt at one request (protocol, "Signed requests")."""
        ...


class QuerySigner(Protocol):
    """Signs requests as existing neurons do."""

    hotkey: Hotkey

    def sign_query(self, text: bytes) -> bytes:
        """64 bytes over exactly ``text``."""
        ...


class SentTargets(Protocol):
    """The targets of requests exactly as they were sent, where the events do not have them: signatures cover them."""

    def expect(self, connection: ConnectionId, target: str) -> None:
        """Verify the request of ``connection`` by this target."""
        ...


class Store(Protocol):
    """A database, with work in progress."""

    async def settle(self) -> None:
        """Wait until no work is in progress, including work that follows from other work. Safe to cancel."""
        ...


class SendQueues(Protocol):
    """The frames that wait to be sent."""

    def queued(self) -> int:
        """Bytes over all connections; read from any thread."""
        ...


class Transports(Protocol):
    """The transports of all connections; ``FrameWriter`` writes frames to them."""

    def add(self, connection: ConnectionId, transport: Any) -> None:
        """Make ``connection`` writable, by a ``Transport``."""
        ...

    def remove(self, connection: ConnectionId) -> None:
        """Make ``connection`` unwritable."""
        ...


class Records(Protocol):
    """Records what happens on the bus."""

    def record(self, envelope: Envelope) -> None:
        """Take one envelope, in order, before it is delivered."""
        ...


class Isolates(Protocol):
    """Keeps users' handlers out of the drain."""

    def isolate(self, handler: Callable[..., Any]) -> Handler:
        """The function that the bus calls instead of ``handler``; it returns at once."""
        ...

    def report(self) -> dict[str, dict[str, float]]:
        """The figures of each handler, by its name."""
        ...


class LogSource(Protocol):
    """The neuron's part of a recorded log: headers and checkpoints."""

    def log_header(self, previous: str) -> Header:
        """The first line of a file; ``previous`` is the last hash of the file before."""
        ...

    def checkpoint(self) -> Checkpoint:
        """The state of all actors, between two drains."""
        ...


class Stoppable(Protocol):
    """A neuron that can be asked to stop."""

    def request_stop(self, reason: str) -> None:
        """Stop soon, gracefully."""
        ...
