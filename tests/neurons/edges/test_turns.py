"""Whose turn it is, and how many have one in a turn of the event loop."""

import asyncio
from typing import Final

import pytest

from bettensor.neurons.edges.turns import Turns

MOST: Final = 4


async def test_few_go_on_in_one_turn_of_the_loop_and_everybody_has_his_turn() -> None:
    turns, written = Turns(MOST), ""
    left = {"a": 10, "b": 2, "c": 5}

    def step(name: str) -> bool:
        nonlocal written
        written += name
        left[name] -= 1
        return left[name] > 0

    for name in left:
        turns.join(lambda name=name: step(name))  # type: ignore[misc]
    written_by = []
    while any(left.values()):
        await asyncio.sleep(0)
        written_by.append(len(written))
    assert all(after - before <= MOST for before, after in zip([0, *written_by], written_by, strict=False))
    assert written == "abcabcacacacaaaaa"


async def test_a_step_that_fails_stops_nobody_else() -> None:
    turns, faults, written = Turns(MOST), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def fail() -> bool:
        raise ValueError("a bug")

    def step() -> bool:
        written.append("x")
        return False

    turns.join(fail)
    turns.join(step)
    for _ in range(3):
        await asyncio.sleep(0)
    assert written == ["x"]
    assert [str(fault) for fault in faults] == ["a bug"]


@pytest.mark.parametrize("count", [1, MOST, 3 * MOST])
async def test_a_task_can_wait_for_its_turn(count: int) -> None:
    turns, order = Turns(MOST), []

    async def write(number: int) -> None:
        await turns.next()
        order.append(number)

    await asyncio.gather(*map(write, range(count)))
    assert order == list(range(count))


async def test_a_task_that_was_cancelled_misses_its_turn() -> None:
    turns = Turns(MOST)
    task = asyncio.create_task(turns.next())
    await asyncio.sleep(0)
    task.cancel()
    await turns.next()
    assert task.cancelled()
