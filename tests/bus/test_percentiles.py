"""Percentiles by the nearest rank: always a value that was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bettensor.bus.percentiles import percentile


@pytest.mark.parametrize(
    ("ordered", "share", "expected"),
    [
        ([7], 0.5, 7),
        ([1, 2, 3], 0.0, 1),
        ([1, 2, 3], 0.5, 2),
        ([1, 2, 3], 1.0, 3),
        (range(101), 0.99, 99),
        (range(1001), 0.999, 999),
    ],
)
def test_the_value_of_the_nearest_rank(ordered: list[int], share: float, expected: int) -> None:
    assert percentile(ordered, share) == expected


@given(st.lists(st.integers(), min_size=1).map(sorted), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_never_has_a_smaller_value(ordered: list[int], one: float, other: float) -> None:
    smaller, larger = percentile(ordered, min(one, other)), percentile(ordered, max(one, other))
    assert smaller <= larger
    assert {smaller, larger} <= set(ordered)


def test_of_nothing_there_is_no_percentile() -> None:
    with pytest.raises(IndexError):
        percentile([], 0.5)
