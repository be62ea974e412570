"""How logs of earlier formats are read: what makes events of one format those of the next.

Each change is a function whose name says what it does. It gets a topic and the event's fields as plain JSON data, and
returns them as the next format has them. ``header`` and ``checkpoint`` are topics too.
"""

from collections.abc import Callable
from typing import Any, Final

Upcast = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]

UPCASTS: Final[dict[int, tuple[Upcast, ...]]] = {
    1: (),
}
"""By the format that is read."""
