"""The composition root: which actors and which edges a neuron is made of. Nobody else says so."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from bettensor.actors.actor import Actor
from bettensor.actors.auth import AuthActor
from bettensor.actors.heartbeat import HeartbeatActor
from bettensor.actors.logbook import LogbookActor
from bettensor.actors.metagraph import MetagraphActor
from bettensor.actors.miner.connection import MinerConnectionActor
from bettensor.actors.miner.http_fallback import HttpFallbackActor
from bettensor.actors.miner.model import ModelActor
from bettensor.actors.miner.outbox import OutboxActor
from bettensor.actors.miner.reconnect import ReconnectActor
from bettensor.actors.miner.slate import SlateActor
from bettensor.actors.monitor import MonitorActor
from bettensor.actors.supervisor import SupervisorActor
from bettensor.actors.validator.announce import AnnounceActor
from bettensor.actors.validator.auth import ValidatorAuthActor
from bettensor.actors.validator.broadcast import BroadcastActor
from bettensor.actors.validator.connection import ValidatorConnectionActor
from bettensor.actors.validator.games import GamesActor
from bettensor.actors.validator.prediction import PredictionActor
from bettensor.bus.bus import EVERYTHING, arity
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    TOPICS,
    Role,
)
from bettensor.bus.text import hint
from bettensor.neurons.config.plugins import load
from bettensor.neurons.config.settings import Settings, ValidatorSettings, parse
from bettensor.neurons.edges.static_files import read_blacklist, read_metagraph
from bettensor.neurons.models.kelly import KellyPredictor
from bettensor.neurons.models.model import Predictor

if TYPE_CHECKING:
    pass

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
        ModelActor,
        OutboxActor,
        HttpFallbackActor,
        MonitorActor,
        LogbookActor,
    ),
}
"""In order of subscription, which is the order in which they hear an event."""

ELSEWHERE: Final = {
    "heartbeat_interval": "websocket.heartbeat_interval",
    "connection_timeout": "websocket.connection_timeout",
    "websocket_enabled": "websocket.enabled",
    "reconnect_base_interval": "websocket.reconnect_base_interval",
    "max_reconnect_interval": "websocket.max_reconnect_interval",
    "validators": "validators",
    "announced_ip": "axon.external_ip",
    "announced_port": "axon.external_port",
    "listening_port": "axon.port",
    "announcing": "axon.serve",
}
"""Settings of actors that have their key in another section."""


def build_actors(settings: Settings, where: str = "settings") -> list[Actor]:
    """The actors that ``settings`` describe, the supervisor last.

    Args:
        settings: of either role.
        where: the file, for messages.

    Raises:
        ConfigurationError: a class that cannot be loaded or is no actor, or a wrong key among its settings.
    """
    classes = {cls.name: cls for cls in ACTORS[role_of(settings)]}
    sections = {name: dict(section) for name, section in settings.actors.items() if name != "predictor"}
    for name, section in sections.items():
        custom = section.pop("class", None)
        if custom is not None:
            classes[name] = _actor_class(str(custom), name, f"{where}: actors.{name}.class")
        elif name not in classes:
            known = hint(name, [*classes, "predictor"])
            raise ConfigurationError(
                f"{where}: actors.{name}: there is no such actor{known}; an actor of your own needs the key `class`"
            )
    actors = [_build(cls, name, sections.get(name, {}), settings, where) for name, cls in classes.items()]
    return [*actors, SupervisorActor(actors)]


def role_of(settings: Settings) -> Role:
    """Which of the two ``settings`` are for."""
    return "validator" if isinstance(settings, ValidatorSettings) else "miner"


def _actor_class(custom: str, name: str, where: str) -> type[Actor]:
    """``custom``, whose name must be its key: reloads, timers and recordings find an actor by its name."""
    cls = load(custom, where)
    if not isinstance(cls, type) or not issubclass(cls, Actor):
        raise ConfigurationError(f"{where}: {custom} is not a subclass of bettensor.actors.Actor")
    own = getattr(cls, "name", None)
    if own != name:
        raise ConfigurationError(f"{where}: {custom} must have name = {name!r} like its key, not {own!r}")
    return cls


def _build(cls: type[Actor], name: str, section: dict[str, Any], settings: Settings, where: str) -> Actor:
    for f in fields(cls.Settings):
        key = ELSEWHERE.get(f.name)
        if key is None:
            continue
        if f.name in section:
            raise ConfigurationError(f"{where}: actors.{name}.{f.name}: set {key} instead")
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        section[f.name] = value
    return cls(parse(cls.Settings, section, f"{where}: actors.{name}"))


def build_predictor(settings: Settings, where: str = "settings") -> Predictor:
    """The miner's model.

    Raises:
        ConfigurationError: a class that cannot be loaded or is no model, or a wrong key among its settings.
    """
    section = dict(settings.actors.get("predictor", {}))
    name = section.pop("class", None)
    cls: Any = KellyPredictor if name is None else load(str(name), f"{where}: actors.predictor.class")
    if not callable(getattr(cls, "predict", None)) or not hasattr(cls, "Settings"):
        raise ConfigurationError(f"{where}: actors.predictor.class: {name} has no method predict, or no class Settings")
    predictor: Predictor = cls(parse(cls.Settings, section, f"{where}: actors.predictor"))
    return predictor


def load_handlers(settings: Settings, where: str = "settings") -> list[tuple[str, Callable[..., Any]]]:
    """Topic and function of each of the operator's handlers.

    Raises:
        ConfigurationError: there is no such topic or function, or it cannot be called as a handler is.
    """
    handlers = []
    for topic, names in settings.handlers.items():
        if topic not in TOPICS and topic != EVERYTHING:
            raise ConfigurationError(f"{where}: handlers.{topic}: there is no such event{hint(topic, TOPICS)}")
        for name in names:
            function = load(name, f"{where}: handlers.{topic}")
            if not callable(function):
                raise ConfigurationError(f"{where}: handlers.{topic}: {name} cannot be called")
            try:
                arity(function)
            except (TypeError, ValueError) as error:  # ValueError: something built in that does not say what it takes
                raise ConfigurationError(f"{where}: handlers.{topic}: {error}") from None
            handlers.append((topic, function))
    return handlers


def check(settings: Settings, where: str) -> None:
    """Everything about ``settings`` that can be checked without starting: actors, model, handlers and files.

    Raises:
        ConfigurationError: what is wrong.
    """
    from bettensor.neurons.edges.game_feed import SHIPPED
    from bettensor.neurons.edges.game_file import read_games

    build_actors(settings, where)
    load_handlers(settings, where)
    if settings.metagraph.static is not None:
        read_metagraph(settings.metagraph.static)
    now = SystemClock().wall()
    if isinstance(settings, ValidatorSettings):
        read_games(settings.games.path or SHIPPED, now, now)
        if settings.blacklist is not None:
            read_blacklist(settings.blacklist)
    else:
        build_predictor(settings, where)
