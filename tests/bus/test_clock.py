"""The two clocks: one may step and one never does."""

import time

import pytest

from bettensor.bus.clock import ManualClock, SystemClock
from bettensor.bus.identifiers import SECOND, Micros


def test_the_system_clock_counts_from_its_own_start_and_never_back() -> None:
    before = time.monotonic_ns()
    clock = SystemClock()
    readings = [clock.mono() for _ in range(100)]
    elapsed = Micros((time.monotonic_ns() - before) // 1000)
    assert 0 <= readings[0] <= readings[-1] <= elapsed
    assert readings == sorted(readings)


def test_the_system_clock_tells_the_wall_time_in_microseconds() -> None:
    before = time.time_ns() // 1000
    assert before <= SystemClock().wall() <= time.time_ns() // 1000


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(Micros(7))
    assert (clock.wall(), clock.mono()) == (clock.wall(), clock.mono()) == (7, 0)


def test_time_passes_on_both_manual_clocks_alike() -> None:
    clock = ManualClock(Micros(7))
    clock.advance(SECOND)
    clock.advance(Micros(0))
    assert (clock.wall(), clock.mono()) == (SECOND + 7, SECOND)


@pytest.mark.parametrize("step", [SECOND, Micros(-SECOND)])
def test_a_step_moves_the_wall_clock_alone(step: Micros) -> None:
    clock = ManualClock(Micros(2 * SECOND))
    clock.step_wall(step)
    assert (clock.wall(), clock.mono()) == (2 * SECOND + step, 0)


def test_monotonic_time_does_not_run_backwards() -> None:
    clock = ManualClock(Micros(7))
    with pytest.raises(ValueError, match="monotonic time cannot go back by 1 us; use step_wall"):
        clock.advance(Micros(-1))
    assert (clock.wall(), clock.mono()) == (7, 0)
