"""Delays between tries."""

from statistics import mean

import pytest

from bettensor.bus.backoff import backoff, full_jitter


def test_a_delay_doubles_up_to_its_ceiling() -> None:
    assert [backoff(5.0, 300.0, failures) for failures in range(8)] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert backoff(3, 60) == 6
    assert backoff(40, 60) == 60


def test_failures_without_end_make_no_endless_numbers() -> None:
    assert backoff(1.0, 1e300, 10_000) == 2.0**32


def test_a_first_delay_above_the_ceiling_is_the_ceiling() -> None:
    assert backoff(120, 60, 0) == 60


def test_jitter_is_the_same_for_the_same_draw_and_spread_over_all_up_to_its_ceiling() -> None:
    draws = [full_jitter(7, draw, 10.0) for draw in range(1000)]
    assert draws == [full_jitter(7, draw, 10.0) for draw in range(1000)]
    assert 0 <= min(draws) < 0.1
    assert 9.9 < max(draws) <= 10


# --- jitter


def test_the_same_draw_of_the_same_seed_is_the_same() -> None:
    assert full_jitter(7, 3, 10.0) == full_jitter(7, 3, 10.0)
    assert (
        len({full_jitter(7, draw, 10.0) for draw in range(100)} | {full_jitter(seed, 3, 10.0) for seed in range(100)})
        == 199
    )


@pytest.mark.parametrize("ceiling", [0.5, 300.0])
def test_draws_are_spread_evenly_below_their_ceiling(ceiling: float) -> None:
    draws = [full_jitter(2**64 - 1, draw, ceiling) for draw in range(2000)]
    assert 0 <= min(draws) < 0.01 * ceiling
    assert 0.99 * ceiling < max(draws) < ceiling
    assert mean(draws) == pytest.approx(ceiling / 2, rel=0.05)
    assert full_jitter(1, 1, 0.0) == 0.0
