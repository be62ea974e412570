"""How logs of earlier formats are read: the changes that turn events of one format into those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.

A release may reword sentences for people, and no function can guess the new words. So a replay of an earlier format
does not compare the fields in ``WORDS``. Everything else is compared: that there is such an event, at this place, with
this level or code, and all words of messages and verdicts.
"""

from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
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
_POLL_INTERVAL: Final = 15.0
"""Seconds: the default of ``actors.http_fallback.poll_interval`` in format 1."""
_ANY_ODDS: Final = {"min_implied_probability": 0.0, "max_implied_probability": 3.0}
"""Settings with which the actor ``games`` finds all odds above 1 plausible."""
_TLS_OF_0_1: Final = {"is_of_0_1": True}
"""``state.tls`` of a miner's actors, which knew no TLS."""
_OF_0_1: Final[dict[str, dict[str, Any]]] = {
    "announce": {"is_of_0_1": True},
    "auth": {"pins_schemes": False, "knows_members": True, "knows_synapse": False, "is_of_0_1": True},
    "broadcast": {"is_of_0_1": True},
    "connection": {"pins_schemes": False, "charges_work": False, "tls": _TLS_OF_0_1},
    "http_fallback": {"is_of_0_1": True, "tls": _TLS_OF_0_1},
    "model": {"is_of_0_1": True},
    "outbox": {"is_of_0_1": True},
    "reconnect": {"is_of_0_1": True, "tls": _TLS_OF_0_1},
}
"""By actor, the part of its state with which it decides as in release 0.1.0."""
_HEALTH_OF_0_1: Final = {"is_of_0_1": True, "knows_metagraph": True}
"""The same part of each actor's ``state.health``."""


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


def runs_were_of_0_1(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The actors knew no later rules; those that decide otherwise today know by the first event of a run."""
    if topic == "neuron_started":
        return topic, event | {"is_of_0_1": True}
    if topic == "checkpoint":
        for name, actor in event["actors"].items():
            state = actor["state"]
            state |= _OF_0_1.get(name, {})
            if "health" in state:
                state["health"] |= _HEALTH_OF_0_1
    return topic, event


def requests_had_their_scheme_in_a_header(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A verification said nothing of the scheme, which was the one that the request named."""
    if topic != "request_verification_requested":
        return topic, event
    headers = dict(event["request"]["headers"])
    return topic, event | {"scheme": headers.get("x-bittensor-crypto", "sr25519")}


def requests_had_bodies(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A request had its whole body, and neither digest nor size."""
    if topic == "http_request_received":
        return topic, _with_digest(event)
    if topic == "request_verification_requested":  # bytes of an event within an event are base64
        request = event["request"]
        return topic, event | {"request": _with_digest(request, b64decode(request["body"]))}
    if topic == "checkpoint":
        for waiting in event["actors"].get("auth", {}).get("state", {}).get("requests", {}).values():
            waiting["request"] = _with_digest(waiting["request"])
    return topic, event


def _with_digest(request: dict[str, Any], body: bytes | None = None) -> dict[str, Any]:
    body = request["body"].encode("latin-1") if body is None else body
    return request | {"digest": sha256(body).hexdigest(), "size": len(body), "is_whole": True, "tls_key": ""}


def nonces_were_in_one_list(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The state of auth had the nonces of all hotkeys in one list."""
    state = event["actors"].get("auth", {}).get("state", {}) if topic == "checkpoint" else {}
    if "nonce_order" in state:
        nonces: dict[str, Any] = {}
        for past in state.pop("nonce_order"):
            accepted = nonces.setdefault(past["hotkey"], {"accepted": {}, "floor": 0})["accepted"]
            accepted[past["nonce"]] = past["accepted_at"]
        state["nonces"] = nonces
    return topic, event


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


def each_failed_try_had_its_line(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A validator that did not answer was polled at one interval for ever, and each failure was logged by itself."""
    if topic == "header":
        settings = event["settings"]
        names = ("logbook", "http_fallback") if event["role"] == "miner" else ("logbook",)
        actors = {name: _eager(name, settings.get("actors", {}).get(name, {})) for name in names}
        return topic, event | {"settings": settings | {"actors": settings.get("actors", {}) | actors}}
    if topic == "settings_reloaded":
        return topic, event | {"actors": {name: _eager(name, known) for name, known in event["actors"].items()}}
    if topic == "checkpoint":
        for name, actor in event["actors"].items():
            actor["settings"] = _eager(name, actor["settings"])
    return topic, event


def _eager(actor: str, settings: dict[str, Any]) -> dict[str, Any]:
    if "class" in settings:
        return settings  # of an actor of the operator's own, which takes its own keys
    if actor == "logbook":
        return settings | {"summary_interval": None}
    if actor == "http_fallback":
        return settings | {"max_poll_interval": settings.get("poll_interval", _POLL_INTERVAL)}
    return settings


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
        runs_were_of_0_1,
        requests_had_their_scheme_in_a_header,
        requests_had_bodies,
        nonces_were_in_one_list,
        metagraphs_said_nothing_of_schemes,
        statuses_had_slates,
        each_failed_try_had_its_line,
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


def as_much_as(recorded: dict[str, Any], topic: str, event: dict[str, Any]) -> dict[str, Any]:
    """``event`` without the fields of its own and of its rows, and the parts of a status, that were not recorded."""
    known = _fields_as_recorded(recorded, event)
    if topic == "status_reported":
        known["status"] = _fields_as_recorded(recorded["status"], event["status"])
    return known


def _fields_as_recorded(recorded: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _rows_as_recorded(recorded[name], value) for name, value in fields.items() if name in recorded}


def _rows_as_recorded(recorded: Any, value: Any) -> Any:
    """A list of rows, each without the fields that the recorded row lacks; any other value as it is."""
    if not isinstance(recorded, list) or not isinstance(value, list) or len(recorded) != len(value):
        return value
    pairs = zip(recorded, value, strict=True)
    return [
        {name: part for name, part in row.items() if name in known}
        if isinstance(known, dict) and isinstance(row, dict)
        else row
        for known, row in pairs
    ]


def without_words(topic: str, event: dict[str, Any]) -> dict[str, Any]:
    """The fields that a replay of an earlier format compares."""
    return {name: value for name, value in event.items() if name != WORDS.get(topic)}
