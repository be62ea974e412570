"""Durations as settings give them, in microseconds."""

import pytest

from bettensor.bus.identifiers import SECOND, micros


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, 0), (1, SECOND), (0.000001, 1), (1.1, 1_100_000), (2.675, 2_675_000), (86_400 * 365.25, 31_557_600 * SECOND)],
)
def test_seconds_become_microseconds(seconds: float, expected: int) -> None:
    assert micros(seconds) == expected


def test_a_duration_is_an_exact_integer_and_never_cut_short() -> None:
    assert isinstance(micros(0.5), int)
    assert micros(0.29) == 290_000  # 0.29 * 10**6 is below 290,000 in binary64


@pytest.mark.parametrize(("seconds", "error"), [(float("inf"), OverflowError), (float("nan"), ValueError)])
def test_what_is_no_duration_is_refused(seconds: float, error: type[Exception]) -> None:
    with pytest.raises(error):
        micros(seconds)
