"""Percentiles, by the one rule that all displays use."""

from collections.abc import Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def percentile(ordered: Sequence[Number], share: float) -> Number:
    """The value of the nearest rank: 0 is the smallest, 1 the largest.

    Args:
        ordered: ascending, at least one.
        share: 0 to 1.
    """
    return ordered[round(share * (len(ordered) - 1))]
