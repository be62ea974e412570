"""How long to wait before the next try: doubled after each failure, up to a ceiling."""

from hashlib import sha256
from typing import Final, TypeVar

Delay = TypeVar("Delay", int, float)
MOST_DOUBLINGS: Final = 32
"""A larger exponent would not lengthen any configured delay, only make the numbers large."""


def backoff(delay: Delay, ceiling: Delay, doublings: int = 1) -> Delay:
    """``delay`` after so many ``doublings``, and never more than ``ceiling``; in any unit, the same for both."""
    return min(ceiling, delay * (1 << min(doublings, MOST_DOUBLINGS)))


def full_jitter(seed: int, draw: int, ceiling: float) -> float:
    """Anything from 0 to ``ceiling``, so that those who failed together do not try again together.

    Args:
        seed: of this run, so that a replay draws the same.
        draw: the number of the draw within the run.
        ceiling: in any unit.
    """
    digest = sha256(f"{seed} {draw}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48 * ceiling
