"""Changes of the operator's files, for edges; the bus hears if the system refuses to tell of them."""

from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import Final

from bettensor.bus.bus import EventBus
from bettensor.bus.events import WatchRefused
from bettensor.neurons.system.files import Sight, changes_of

SETTLE: Final = 2.0
"""Seconds that a program has to write the rest of a file, or of two files that belong together."""


def watched_changes(
    bus: EventBus, files: Callable[[], Iterable[Path]], seen: Sight | None = None, *, settle: float = 0.0
) -> AsyncGenerator[None, None]:
    """``changes_of``, which publishes ``WatchRefused`` whenever the files cannot be watched."""
    return changes_of(files, seen, settle=settle, unwatched=lambda reason: bus.publish(WatchRefused(reason)))
