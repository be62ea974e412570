"""The composition root: the only place that names the actors and the edges of a neuron."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Final, Generic, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from bettensor.actors.actor import Actor
from bettensor.actors.auth import AuthActor
from bettensor.actors.heartbeat import HeartbeatActor
from bettensor.actors.logbook import LogbookActor
from bettensor.actors.metagraph import MetagraphActor
from bettensor.actors.miner.announce import MinerAnnounceActor
from bettensor.actors.miner.connection import MinerConnectionActor
from bettensor.actors.miner.http_fallback import HttpFallbackActor
from bettensor.actors.miner.model import ModelActor
from bettensor.actors.miner.outbox import OutboxActor
from bettensor.actors.miner.reconnect import ReconnectActor
from bettensor.actors.miner.slate import SlateActor
from bettensor.actors.miner.synapse import MinerSynapseActor
from bettensor.actors.monitor import MonitorActor
from bettensor.actors.supervisor import SupervisorActor
from bettensor.actors.validator.announce import AnnounceActor
from bettensor.actors.validator.auth import ValidatorAuthActor
from bettensor.actors.validator.broadcast import BroadcastActor
from bettensor.actors.validator.connection import ValidatorConnectionActor
from bettensor.actors.validator.games import GamesActor
from bettensor.actors.validator.prediction import PredictionActor
from bettensor.actors.validator.synapse import ValidatorSynapseActor
from bettensor.bus.bus import EVERYTHING, arity
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    TOPICS,
    Role,
)
from bettensor.bus.text import hint
from bettensor.neurons.config.faults import Faults
from bettensor.neurons.config.plugins import load
from bettensor.neurons.config.settings import Settings, ValidatorSettings, parse_part, sections_of
from bettensor.neurons.config.sources import Where, blame
from bettensor.neurons.edges.edge import Edge
from bettensor.neurons.models.kelly import KellyPredictor
from bettensor.neurons.models.model import Predictor

ACTORS: Final[dict[Role, tuple[type[Actor], ...]]] = {
    "validator": (
        MetagraphActor,
        ValidatorConnectionActor,
        ValidatorAuthActor,
        PredictionActor,
        GamesActor,
        BroadcastActor,
        HeartbeatActor,
        AnnounceActor,
        ValidatorSynapseActor,
        MonitorActor,
        LogbookActor,
    ),
    "miner": (
        MetagraphActor,
        MinerConnectionActor,
        AuthActor,
        ReconnectActor,
        HeartbeatActor,
        SlateActor,
        MinerSynapseActor,
        ModelActor,
        OutboxActor,
        HttpFallbackActor,
        MinerAnnounceActor,
        MonitorActor,
        LogbookActor,
    ),
}
"""In order of subscription, which is the order in which actors hear an event."""


@dataclass(frozen=True, slots=True)
class Place:
    """One edge of a neuron: its real class and its simulated one, as ``module:Class`` below ``bettensor.neurons``.

    The classes are loaded when they are used, so a role does not import classes that only the other one needs.
    """

    name: str
    real: str
    simulated: str | None = None
    """None: a simulated neuron lacks this edge, or ``SimulatedNetwork`` takes its place."""
    needed: Callable[[Any], bool] = lambda _settings: True
    """Whether a real neuron with these settings has it. A simulated neuron has every edge that can be simulated."""


def _verifies_itself(settings: Settings) -> bool:
    return not isinstance(settings, ValidatorSettings) or not settings.auth.verify_workers


def _has_certificates(settings: Any) -> bool:
    tls = settings.axon.tls
    return tls.certificate is not None or tls.proxy_key is not None


_FOR_BOTH: Final = (
    Place("keys", "edges.keys:Keys", "simulation.keys:SimulatedKeys"),
    Place("recorder", "edges.recorder:Recorder", needed=lambda settings: settings.recorder.record != "off"),
    Place("handlers", "edges.handlers:UserHandlers"),
    Place("log", "edges.log:LogLines"),
    Place("traffic", "edges.traffic:TrafficLines"),
    Place("frame_verifier", "edges.keys:FrameVerifier", "simulation.keys:SimulatedVerifier", _verifies_itself),
    Place("timers", "edges.timers:Timers", "simulation.timers:SimulatedTimers"),
    Place("writer", "edges.writer:FrameWriter", "edges.writer:FrameWriter"),
    Place("control", "edges.control:Control"),
    Place("metrics", "edges.metrics:Metrics", needed=lambda settings: settings.metrics.enabled),
)
_WHO_IS_IN_THE_SUBNET: Final = (
    Place("static_files", "edges.static_files:StaticFiles"),
    Place("chain", "edges.chain:Chain", needed=lambda settings: settings.metagraph.static is None),
)
EDGES: Final[dict[Role, tuple[Place, ...]]] = {
    "validator": (
        *_FOR_BOTH,
        Place("database", "edges.ledger:LedgerDatabase"),
        Place("ledger", "edges.ledger:Ledger", "simulation.ledger:SimulatedLedger"),
        Place("game_stream", "edges.game_stream:GameStream", "simulation.game_stream:SimulatedGameStream"),
        *_WHO_IS_IN_THE_SUBNET,
        Place("game_feed", "edges.game_feed:GameFeed"),
        Place("verifiers", "edges.verifiers:Verifiers", needed=lambda settings: not _verifies_itself(settings)),
        Place("dendrite", "edges.dendrite:Dendrite", needed=lambda settings: settings.synapse.enabled),
        Place("turnstile", "edges.turnstile:Turnstile"),
        Place("certificates", "edges.certificates:Certificates", needed=_has_certificates),
        Place("listener", "edges.listener:Listener"),
    ),
    "miner": (
        *_FOR_BOTH,
        Place("database", "edges.outbox:OutboxDatabase"),
        Place("outbox_store", "edges.outbox:Outbox", "simulation.outbox:SimulatedOutbox"),
        *_WHO_IS_IN_THE_SUBNET,
        Place("intake", "edges.intake:Intake"),
        Place("http_client", "edges.http_client:HttpClient"),
        Place("dialer", "edges.dialer:Dialer"),
        Place("farewell", "edges.farewell:Farewell"),
        Place("predictor", "edges.predictor:PredictorEdge"),
        Place("axon", "edges.axon:Axon", needed=lambda settings: settings.synapse.enabled),
    ),
}
"""In the order in which edges are made and opened: an edge may ask for earlier ones. An operator's own edges come
before the last one, which lets work in."""
PREDICTOR: Final = "predictor"
"""The key under ``actors`` that is no actor, but the miner's model."""
_ANY_NUMBER: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)

Part = TypeVar("Part")


def build_actors(settings: Settings, where: Where = "settings") -> list[Actor]:
    """The actors that ``settings`` describe, the supervisor last.

    Args:
        settings: of either role.
        where: where they come from, for messages.

    Raises:
        ConfigurationError: classes cannot be loaded or are no actors, or keys among their settings are wrong.
    """
    actors = [cls(own) for cls, own in actor_parts(settings, where)]
    return [*actors, SupervisorActor(actors)]


def actor_parts(settings: Settings, where: Where = "settings") -> list[tuple[type[Actor], Any]]:
    """The class and the settings of each actor that ``settings`` describe, except the supervisor.

    Raises:
        ConfigurationError: as ``build_actors`` does.
    """
    faults = Faults()
    classes: dict[str, type[Actor] | None] = {cls.name: cls for cls in ACTORS[role_of(settings)]}
    sections = {name: dict(section) for name, section in settings.actors.items() if name != PREDICTOR}
    for name, section in sections.items():
        custom = section.pop("class", None)
        if custom is not None:
            classes[name] = None  # in its place, if it replaces one of ours
            with faults.collect():
                classes[name] = _actor_class(_named(custom), name, blame(where, f"actors.{name}.class"))
        elif name not in classes:
            faults.add(
                f"{blame(where, f'actors.{name}')}: there is no such actor{hint(name, [*classes, PREDICTOR])}; "
                "an actor of your own needs the key `class`"
            )
    parts = []
    for name, cls in classes.items():
        if cls is not None:
            with faults.collect():
                own = parse_part(cls.Settings, sections.get(name, {}), settings, where, f"actors.{name}")
                parts.append((cls, own))
    faults.tell()
    return parts


def role_of(settings: Settings) -> Role:
    """The role of ``settings``."""
    return "validator" if isinstance(settings, ValidatorSettings) else "miner"


def _named(custom: Any) -> str:
    """The name of a class as the configuration has it; of a value that is no name, what kind of value it is."""
    return custom if isinstance(custom, str) else f"a {type(custom).__name__}"


def _actor_class(custom: str, name: str, where: str) -> type[Actor]:
    """The class ``custom``, whose name must be its key: reloads, timers and recordings find an actor by its name."""
    cls = load(custom, where, "actors")
    if not isinstance(cls, type) or not issubclass(cls, Actor):
        raise ConfigurationError(f"{where}: {custom} is not a subclass of bettensor.actors.Actor")
    own = getattr(cls, "name", None)
    if own != name:
        raise ConfigurationError(f"{where}: {custom} must have name = {name!r} like its key, not {own!r}")
    return cls


class Edges:
    """The edges of one neuron in the order in which they are opened, and the objects that edges may ask for."""

    def __init__(self, edges: Mapping[str, Edge], given: Mapping[Any, object]) -> None:
        self._edges = edges
        self._given = given

    def __iter__(self) -> Iterator[Edge]:
        return iter(self._edges.values())

    def __reversed__(self) -> Iterator[Edge]:
        return reversed(list(self._edges.values()))

    def get(self, kind: type[Part]) -> Part | None:
        """The object of this class, or with this protocol; None if this neuron has none."""
        found: Part | None = self._given.get(kind)  # type: ignore[assignment]  # by _know
        return found

    def __getitem__(self, kind: type[Part]) -> Part:
        """The same, for an object that every such neuron has.

        Raises:
            KeyError: this neuron has none.
        """
        found = self.get(kind)
        if found is None:
            raise KeyError(f"this neuron has no {kind.__name__}")
        return found


def build_edges(
    settings: Settings,
    given: Mapping[Any, object],
    where: Where = "settings",
    *,
    simulated: bool = False,
    instead: Mapping[str, Edge] | None = None,
) -> Edges:
    """The edges that ``settings`` describe. Nothing is started.

    Args:
        settings: of either role.
        given: further objects that edges may ask for, by type, such as the neuron's clock. Sections of ``settings`` are
            included automatically.
        where: where they come from, for messages.
        simulated: use the simulated edges.
        instead: existing edges, by name.

    Raises:
        ConfigurationError: a class cannot be loaded or is not an edge, a key among its settings is wrong, or an edge
            needs an object that does not exist.
    """
    known = sections_of(settings) | dict(given) | dict.fromkeys((type(settings), Settings), settings)
    edges: dict[str, Edge] = {}
    for name, cls, own in edge_parts(settings, where, simulated=simulated):
        edge = (instead or {}).get(name)
        if edge is None:
            known[cls.Settings] = own
            edge = cls(**_arguments(cls, known, blame(where, f"edges.{name}")))
        edges[name] = edge
        _know(edge, known)
    return Edges(edges, known)


def edge_parts(
    settings: Settings, where: Where = "settings", *, simulated: bool = False
) -> list[tuple[str, type[Edge], Any]]:
    """Name, class and settings of each edge that ``settings`` describe, in the order in which edges are opened.

    Raises:
        ConfigurationError: classes cannot be loaded or are no edges, or keys among their settings are wrong.
    """
    faults = Faults()
    sections = {name: dict(section) for name, section in settings.edges.items()}
    own = {name: _named(section.pop("class")) for name, section in sections.items() if "class" in section}
    names = [place.name for place in EDGES[role_of(settings)]]
    for name in sections:
        if name not in names and name not in own:
            faults.add(
                f"{blame(where, f'edges.{name}')}: there is no such edge{hint(name, names)}; "
                "an edge of your own needs the key `class`"
            )
    parts = []
    for name, ours in _in_order(settings, own, simulated=simulated):
        with faults.collect():
            if name in own:
                cls = _edge_class(own[name], name, settings, blame(where, f"edges.{name}.class"))
            else:
                cls = _our_edge(ours)
            parsed = parse_part(cls.Settings, sections.get(name, {}), settings, where, f"edges.{name}")
            parts.append((name, cls, parsed))
    faults.tell()
    return parts


def _in_order(settings: Settings, own: Iterable[str], *, simulated: bool) -> Iterator[tuple[str, str]]:
    """Each edge by its name and our class for it; the operator's own edges, which ours do not replace, have none."""
    *places, last = [
        place
        for place in EDGES[role_of(settings)]
        if place.needed(settings) or (simulated and place.simulated is not None)
    ]
    names = [place.name for place in EDGES[role_of(settings)]]
    added = [Place(name, "") for name in own if name not in names]
    for place in (*places, *added, last):
        ours = place.simulated if simulated else place.real
        if ours is not None or place.name in own:
            yield place.name, ours or ""


def _our_edge(path: str) -> type[Edge]:
    module, _, name = path.partition(":")
    cls: type[Edge] = getattr(import_module(f"bettensor.neurons.{module}"), name)
    return cls


def _edge_class(custom: str, name: str, settings: Settings, where: str) -> type[Edge]:
    """The class ``custom``, whose name must be its key, and not an actor's: failures are reported by that name."""
    cls = load(custom, where, "edges")
    if not isinstance(cls, type) or not issubclass(cls, Edge):
        raise ConfigurationError(f"{where}: {custom} is not a subclass of bettensor.edges.Edge")
    own = getattr(cls, "name", None)
    if own != name:
        raise ConfigurationError(f"{where}: {custom} must have name = {name!r} like its key, not {own!r}")
    if name in {actor.name for actor in ACTORS[role_of(settings)]} | set(settings.actors):
        raise ConfigurationError(f"{where}: {name!r} is the name of an actor; give the edge another one")
    return cls


def _arguments(cls: type[Edge], known: Mapping[Any, object], where: str) -> dict[str, object]:
    """The arguments of the constructor of ``cls``, by their types; an argument with a default may be missing."""
    types = {name: _asked(kind) for name, kind in get_type_hints(cls.__init__).items()}
    found: dict[str, object] = {}
    for name, parameter in list(signature(cls.__init__).parameters.items())[1:]:
        if types.get(name) in known:
            found[name] = known[types[name]]
        elif parameter.default is Parameter.empty and parameter.kind not in _ANY_NUMBER:
            there = ", ".join(sorted({getattr(kind, "__name__", str(kind)) for kind in known}))
            wanted = getattr(types.get(name), "__name__", types.get(name))
            raise ConfigurationError(
                f"{where}: {cls.__name__} asks for {name}: {wanted}, which this neuron does not have; there are {there}"
            )
    return found


def _asked(kind: Any) -> Any:
    """The type that a parameter of type ``kind`` asks for: ``Records | None`` asks for ``Records``."""
    kinds = [each for each in get_args(kind) if each is not NoneType]
    return kinds[0] if get_origin(kind) in (Union, UnionType) and len(kinds) == 1 else kind


def _know(edge: Edge, known: dict[Any, object]) -> None:
    """Offer ``edge`` to edges that ask for its class, or for a protocol that it inherits."""
    for kind in type(edge).__mro__:
        if kind not in Edge.__mro__ and kind is not Protocol and kind is not Generic:
            known[kind] = edge


def build_predictor(settings: Settings, where: Where = "settings") -> Predictor:
    """The miner's model.

    Raises:
        ConfigurationError: the class cannot be loaded or is not a model, or a key among its settings is wrong.
    """
    cls, own = predictor_part(settings, where)
    predictor: Predictor = cls(own)
    return predictor


def predictor_part(settings: Settings, where: Where = "settings") -> tuple[Any, Any]:
    """The class and the settings of the miner's model.

    Raises:
        ConfigurationError: as ``build_predictor`` does.
    """
    key = f"actors.{PREDICTOR}"
    section = dict(settings.actors.get(PREDICTOR, {}))
    name = section.pop("class", None)
    cls: Any = KellyPredictor if name is None else load(_named(name), blame(where, f"{key}.class"), "models")
    if not callable(getattr(cls, "predict", None)) or not hasattr(cls, "Settings"):
        raise ConfigurationError(f"{blame(where, f'{key}.class')}: {name} has no method predict, or no class Settings")
    return cls, parse_part(cls.Settings, section, settings, where, key)


def load_handlers(settings: Settings, where: Where = "settings") -> list[tuple[str, Callable[..., Any]]]:
    """Topic and function of each of the operator's handlers.

    Raises:
        ConfigurationError: there are no such topics or functions, or their parameters are not those of a handler.
    """
    handlers = []
    faults = Faults()
    for topic, names in settings.handlers.items():
        place = blame(where, f"handlers.{topic}")
        if topic not in TOPICS and topic != EVERYTHING:
            faults.add(f"{place}: there is no such event{hint(topic, TOPICS)}")
            continue
        for name in names:
            with faults.collect():
                handlers.append((topic, _handler(name, place)))
    faults.tell()
    return handlers


def _handler(name: str, place: str) -> Callable[..., Any]:
    function: Callable[..., Any] = load(name, place, "handlers")
    if not callable(function):
        raise ConfigurationError(f"{place}: {name} cannot be called")
    try:
        arity(function)
    except (TypeError, ValueError) as error:  # ValueError: a builtin without a signature
        raise ConfigurationError(f"{place}: {error}") from None
    return function


def check_parts(settings: Settings, where: Where = "settings") -> None:
    """Check that all parts of a neuron can be loaded, and that their keys are right. Makes none of them.

    Raises:
        ConfigurationError: a line for each fault.
    """
    faults = Faults()
    checks: list[Callable[[Settings, Where], object]] = [actor_parts, edge_parts, load_handlers]
    if not isinstance(settings, ValidatorSettings):
        checks.append(predictor_part)
    for check in checks:
        with faults.collect():
            check(settings, where)
    faults.tell()
