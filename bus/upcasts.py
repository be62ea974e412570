"""How logs of earlier formats are read: the changes that turn events of one format into those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.

A release may reword sentences for people, and no function can guess the new words. So a replay of an earlier format
does not compare the fields in ``WORDS``. Everything else is compared: that there is such an event, at this place, with
this level or code, and all words of messages and verdicts.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from bettensor.bus import codec
from bettensor.bus.events import TimerKey
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
_ANY_ODDS: Final = {"min_implied_probability": 0.0, "max_implied_probability": 3.0}
"""Settings with which the actor ``games`` finds all odds above 1 plausible."""
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


def timers_have_names(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """In format 1 one string was a timer's name and what it is about: ``greeting 12`` is ``greeting`` of 12.

    Of an actor that is not built in, the first word is the name and the rest, if there is any, the key.
    """
    if topic not in ("timer_requested", "timer_cancelled", "timer_fired"):
        return topic, event
    owner = event.pop("owner")
    timer, key = _timer_of_format_1(owner, event.pop("key"))
    return topic, {"owner": owner, "timer": timer, "key": key, **event}


def _timer_of_format_1(owner: str, text: str) -> tuple[str, TimerKey]:
    name, _, about = text.partition(" ")
    match owner, name:
        case ("logbook" | "model" | "reconnect") as alone, _:
            return {"logbook": "summary", "model": "ask", "reconnect": "dial"}[alone], text
        case "heartbeat", _:
            return "beat", _number(text)
        case "connection", _:
            return name, _number(about)
        case "announce", "again":
            return "announce", None
        case "metagraph", "reading":
            return "sync", None
        case "outbox", "again":
            return "repeat", about
        case "outbox", "start":
            validator, _, game_id = about.partition(" ")
            return name, (validator, game_id)
    return name, about or None


def _number(text: str) -> int | str:
    """A connection's number; text remains what it is: another actor may bear the name of a built-in one."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def health_is_one_value(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """In format 1 the states of connection, monitor and logbook had its parts, ``disk`` and ``degraded_until``."""
    if topic == "checkpoint":
        for name in ("connection", "monitor", "logbook"):
            state = event["actors"].get(name, {}).get("state", {})
            if "disk" in state:
                state["health"] = {"disk": state.pop("disk"), "degraded_until": state.pop("degraded_until", 0)}
    return topic, event


def pending_signatures_are_events(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """In format 1 the state of auth had a frame's signature in hexadecimal, and a whole request as JSON in a string."""
    if topic == "checkpoint":
        state = event["actors"].get("auth", {}).get("state", {})
        for waiting in state.get("unverified", {}).values():
            request = waiting["request"]
            request["signature"] = bytes.fromhex(request["signature"]).decode("latin-1")
            request["message"] = msgspec.to_builtins(codec.read(request["payload"].encode("latin-1")))
        for waiting in state.get("requests", {}).values():
            waiting["request"] = msgspec.json.decode(waiting["request"])
    return topic, event


def statuses_had_slates(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """In format 1 every status had the slates."""
    return topic, event | {"slates": True} if topic == "status_requested" else event


def slates_were_offered_whatever_their_odds(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """In format 1 the actor ``games`` had no settings, and doubted no odds."""
    if topic == "header" and event["settings"].get("role") == "validator":
        settings = event["settings"]
        actors = settings.get("actors", {})
        if "class" not in actors.get("games", {}):
            settings["actors"] = actors | {"games": _ANY_ODDS}
    if topic == "checkpoint" and event["actors"].get("games", {}).get("settings") == {}:
        event["actors"]["games"]["settings"] = _ANY_ODDS
    return topic, event


UPCASTS: Final[dict[int, tuple[Upcast, ...]]] = {
    1: (
        timers_have_names,
        health_is_one_value,
        pending_signatures_are_events,
        rename_classes_of_actors,
        actors_take_whole_sections,
        schemes_were_named_by_peers,
        requests_had_their_scheme_in_a_header,
        metagraphs_said_nothing_of_schemes,
        statuses_had_slates,
        slates_were_offered_whatever_their_odds,
    ),
}
"""By the format that is read."""

WORDS: Final = {
    "close_requested": "reason",
    "endpoint_doubted": "reason",
    "line_logged": "text",
    "metagraph_doubted": "reason",
    "peer_misbehaved": "fault",
    "peer_refused": "message",
    "prediction_discarded": "reason",
}
"""By topic, the field that explains a decision to people, and decides nothing itself."""


def without_words(topic: str, event: dict[str, Any]) -> dict[str, Any]:
    """The fields that a replay of an earlier format compares."""
    return {name: value for name, value in event.items() if name != WORDS.get(topic)}
