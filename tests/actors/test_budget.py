"""A token bucket: what is spent, what comes back, and what never does."""

import pytest

from bettensor.actors.budget import Budget
from bettensor.bus.identifiers import SECOND, Micros

START = Micros(100 * SECOND)
LOWEST = 0.001
"""The lowest rate that settings may have."""


def after(seconds: float) -> Micros:
    return Micros(START + round(seconds * SECOND))


def test_what_is_there_can_be_spent_and_not_more() -> None:
    budget = Budget(3, START)
    assert [budget.spend(START, rate=1, burst=3) for _ in range(5)] == [True, True, True, False, False]


def test_a_refusal_costs_nothing() -> None:
    budget = Budget(0.5, START)
    assert not budget.spend(START, rate=1, burst=3)
    assert budget.tokens == 0.5


def test_tokens_come_back_at_their_rate() -> None:
    budget = Budget(0, START)
    assert not budget.spend(after(0.49), rate=2, burst=10)
    assert budget.spend(after(0.5), rate=2, burst=10)
    assert not budget.spend(after(0.5), rate=2, burst=10)


def test_after_any_silence_there_are_no_more_than_the_burst() -> None:
    budget = Budget(0, START)
    assert budget.refill(after(86_400), rate=1000, burst=5) == 5
    assert sum(budget.spend(after(86_400), rate=1000, burst=5) for _ in range(10)) == 5


def test_a_debt_is_paid_back_before_anything_can_be_spent() -> None:
    budget = Budget(-2, START)
    assert not budget.spend(after(2), rate=1, burst=5)
    assert budget.spend(after(3), rate=1, burst=5)


def test_a_smaller_burst_counts_at_once_and_a_larger_one_is_filled_up() -> None:
    budget = Budget(10, START)
    assert budget.refill(START, rate=1, burst=4) == 4
    assert budget.refill(START, rate=1, burst=20) == 4


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_it_does_not_matter_how_often_it_is_asked(steps: int) -> None:
    budget = Budget(0, START)
    for step in range(1, steps + 1):
        budget.refill(after(4 * step / steps), rate=2, burst=100)
    assert budget.tokens == pytest.approx(8)


def test_what_is_charged_beyond_what_is_there_is_a_debt_that_is_paid_at_the_rate() -> None:
    budget = Budget(3, START)
    budget.charge(START, 3, rate=2, burst=3)
    assert budget.free_at(rate=2) == START
    budget.charge(START, 3, rate=2, burst=3)
    assert budget.free_at(rate=2) == after(1.5)
    assert budget.refill(budget.free_at(rate=2), rate=2, burst=3) == 0


def test_a_debt_at_the_lowest_rate_is_paid_at_an_instant_that_an_event_log_can_hold() -> None:
    budget = Budget(0, START)
    budget.charge(START, 64 * 1024 * 1024, rate=LOWEST, burst=1)
    assert START < budget.free_at(rate=LOWEST) < 2**62
