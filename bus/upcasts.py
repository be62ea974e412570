"""How logs of earlier formats are read: what makes events of one format those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.
"""

from collections.abc import Callable
from typing import Any, Final

from bettensor.bus.moved import current_name

Upcast = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]


def rename_classes_of_actors(topic: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """``actors.prediction:PredictionActor`` is ``bettensor.actors:PredictionActor`` now."""
    if topic != "header":
        return topic, fields
    actors = {name: _renamed(section) for name, section in fields["settings"].get("actors", {}).items()}
    return topic, fields | {"settings": fields["settings"] | {"actors": actors}}


def _renamed(section: dict[str, Any]) -> dict[str, Any]:
    return section | {"class": current_name(section["class"])} if "class" in section else section


UPCASTS: Final[dict[int, tuple[Upcast, ...]]] = {
    1: (rename_classes_of_actors,),
}
"""By the format that is read."""
