"""How logs of earlier formats are read: what makes events of one format those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from bettensor.bus import codec
from bettensor.bus.events import TimerKey

Upcast = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]


# --- from format 1, of release 0.1.0


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


UPCASTS: Final[dict[int, tuple[Upcast, ...]]] = {
    1: (timers_have_names, health_is_one_value, pending_signatures_are_events),
}
"""By the format that is read."""
