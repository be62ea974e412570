"""How logs of earlier formats are read: the changes that turn events of one format into those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.

A release may reword its log lines, and no function can guess the new words. So a replay of an earlier format compares
everything of a ``line_logged`` but its text: that there is such a line, at this place, with this level. All other words
are compared, because a peer, the ledger or the outbox gets them: reasons of closes and refusals, and verdicts.
"""

from collections.abc import Callable
from typing import Any, Final

Upcast = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]

UPCASTS: Final[dict[int, tuple[Upcast, ...]]] = {
    1: (),
}
"""By the format that is read."""

WORDS: Final = {"line_logged": "text"}
"""By topic, the field whose words are for operators alone."""


def without_words(topic: str, event: dict[str, Any]) -> dict[str, Any]:
    """The fields that a replay of an earlier format compares."""
    return {name: value for name, value in event.items() if name != WORDS.get(topic)}
