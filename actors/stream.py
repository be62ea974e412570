"""How much of the game stream is kept, and so from where on a miner can be brought up to date by updates alone."""

from typing import Final

from bus.identifiers import Offset

HISTORY: Final = 256
"""Updates that are kept for miners that missed them."""


def recoverable(known: Offset, current: Offset) -> bool:
    """Whether all updates after ``known`` are kept; an offset ahead of ours is of a history that we do not know."""
    return max(1, current - HISTORY) <= known <= current
