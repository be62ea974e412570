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
_TAKE_SCHEMES: Final = ("auth", "connection")
"""Actors whose state says whether schemes are pinned: on a validator the first, on a miner the second."""


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


def schemes_were_named_by_peers(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The scheme of a peer was the one that it named itself; the actors that take it know since when it is pinned."""
    if topic == "neuron_started":
        return topic, event | {"pins_schemes": False}
    if topic == "checkpoint":
        actors: dict[str, dict[str, Any]] = event["actors"]
        for known in (actors[name] for name in _TAKE_SCHEMES if name in actors):
            known["state"]["pins_schemes"] = False
    return topic, event


def requests_had_their_scheme_in_a_header(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A verification said nothing of the scheme, which was the one that the request named."""
    if topic != "request_verification_requested":
        return topic, event
    headers = dict(event["request"]["headers"])
    return topic, event | {"scheme": headers.get("x-bittensor-crypto", "sr25519")}


def metagraphs_said_nothing_of_schemes(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A row of the metagraph had no field for the scheme."""
    if topic not in ("metagraph_fetched", "metagraph_synced"):
        return topic, event
    return topic, event | {"neurons": [neuron | {"crypto": None} for neuron in event["neurons"]]}


UPCASTS: Final[dict[int, tuple[Upcast, ...]]] = {
    1: (
        rename_classes_of_actors,
        actors_take_whole_sections,
        schemes_were_named_by_peers,
        requests_had_their_scheme_in_a_header,
        metagraphs_said_nothing_of_schemes,
    ),
}
"""By the format that is read."""
