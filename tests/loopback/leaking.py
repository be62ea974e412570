"""An operator's own actor, edge, model and handlers: they have secrets among their settings, and fail with them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any

from bettensor.actors import Actor, on
from bettensor.actors.settings import settings_class
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event, MetagraphSynced, NeuronStarted
from bettensor.bus.games import TeamGame
from bettensor.neurons.edges.edge import Edge
from bettensor.neurons.models.model import Forecast


@settings_class
class LeakySettings:
    """Secrets as operators have them."""

    api_key: str = ""
    url: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    services: list[dict[str, Any]] = field(default_factory=list)
    line: str = ""
    fails: bool = False
    """Whether actor and edge fail; with the edge its neuron stops."""


class LeakyActor(Actor):
    """Raises with its secrets, in the error and in local variables."""

    name = "leaky"
    Settings = LeakySettings

    @on(MetagraphSynced)
    def fail(self, _event: MetagraphSynced, _: Envelope) -> None:
        """Fail as a client of HTTP does, if the settings say so."""
        if self.settings.fails:
            raise_with(self.settings)


class LeakyEdge(Edge):
    """Fails in a task."""

    name = "leaking"
    Settings = LeakySettings

    def __init__(self, settings: LeakySettings) -> None:
        self._settings = settings

    async def open(self) -> None:
        """Begin, unless the settings say otherwise."""
        if self._settings.fails:
            self._tasks.start(self._work(), "leak")

    async def _work(self) -> None:
        raise_with(self._settings)


class LeakyModel:
    """Fails at the first question."""

    Settings = LeakySettings

    def __init__(self, settings: LeakySettings) -> None:
        self._settings = settings

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
        """Fail when the neuron iterates."""
        return self._forecasts(games)

    def _forecasts(self, _games: Sequence[TeamGame]) -> Iterator[Forecast]:
        raise_with(self._settings)
        yield  # type: ignore[misc]


def leak(event: NeuronStarted) -> None:
    """A handler that raises with a secret in a local variable, and in a URL."""
    secret = "PLANTED-handler-local"  # noqa: S105 - it is to be found nowhere
    raise RuntimeError(f"404 for https://api.example/v4?apiKey=PLANTED-handler-{event.topic}") from ValueError(
        f"password={secret}"
    )


def leak_async(event: Event) -> None:
    """The same for every topic."""
    raise ConnectionError(f"{event.topic}: wss://me:PLANTED-handler-any@node.example/PLANTED")


def raise_with(settings: LeakySettings) -> None:
    """Raise as libraries do: with the address and the headers of a request."""
    kept_locally = settings.api_key
    raise RuntimeError(f"401 for {settings.url}: headers {settings.headers}, api_key={kept_locally}")
