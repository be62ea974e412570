"""How logs of earlier formats are read: what makes events of one format those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.
"""

from collections.abc import Callable
from typing import Any, Final

Upcast = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]

_TAKE_SCHEMES: Final = ("auth", "connection")
"""Actors whose state says whether schemes are pinned: on a validator the first, on a miner the second."""


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
        schemes_were_named_by_peers,
        requests_had_their_scheme_in_a_header,
        metagraphs_said_nothing_of_schemes,
    ),
}
"""By the format that is read."""
