"""How logs of earlier formats are read: what makes events of one format those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.
"""

from collections.abc import Callable
from typing import Any, Final

from bettensor.bus.moved import current_name

Upcast = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]

_SECTIONS: Final = {
    "heartbeat_interval": ("websocket", "heartbeat_interval"),
    "connection_timeout": ("websocket", "connection_timeout"),
    "websocket_enabled": ("websocket", "enabled"),
    "reconnect_base_interval": ("websocket", "reconnect_base_interval"),
    "max_reconnect_interval": ("websocket", "max_reconnect_interval"),
    "announced_ip": ("axon", "external_ip"),
    "announced_port": ("axon", "external_port"),
    "listening_port": ("axon", "port"),
    "announcing": ("axon", "serve"),
}
"""Section and key of each setting of an actor that format 1 had copied from a section."""
_TAKING_SECTIONS: Final = frozenset({"announce", "auth", "connection", "heartbeat", "http_fallback", "reconnect"})
"""The actors that it was copied for; settings of these names in other actors are their own."""


def actors_take_whole_sections(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What stood among the settings of an actor as ``websocket_enabled`` is ``enabled`` of its ``websocket``."""
    if topic == "settings_reloaded":
        return topic, event | {"actors": {name: _nested(name, known) for name, known in event["actors"].items()}}
    if topic == "checkpoint":
        actors = event["actors"].items()
        whole = {name: actor | {"settings": _nested(name, actor["settings"])} for name, actor in actors}
        return topic, event | {"actors": whole}
    return topic, event


def _nested(actor: str, settings: dict[str, Any]) -> dict[str, Any]:
    if actor not in _TAKING_SECTIONS:
        return settings
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        if name in _SECTIONS:
            section, key = _SECTIONS[name]
            nested.setdefault(section, {})[key] = value
        else:
            nested[name] = value
    return nested


def rename_classes_of_actors(topic: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """``actors.prediction:PredictionActor`` is ``bettensor.actors:PredictionActor`` now."""
    if topic != "header":
        return topic, fields
    actors = {name: _renamed(section) for name, section in fields["settings"].get("actors", {}).items()}
    return topic, fields | {"settings": fields["settings"] | {"actors": actors}}


def _renamed(section: dict[str, Any]) -> dict[str, Any]:
    return section | {"class": current_name(section["class"])} if "class" in section else section


UPCASTS: Final[dict[int, tuple[Upcast, ...]]] = {
    1: (rename_classes_of_actors, actors_take_whole_sections),
}
"""By the format that is read."""
