"""What validators say reaches the bus in turns: a flood waits for itself, and ends in a close."""

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from bettensor.actors.settings import IntakeSettings
from bettensor.bus.clock import ManualClock, SystemClock
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.messages import MAX_FRAME_BYTES
from bettensor.neurons.edges.intake import LEAST, TURN, Flooded, Intake
from tests.support import NOW, make_hotkey

FLOODER, HONEST = make_hotkey("flooder"), make_hotkey("honest")


async def test_validators_take_turns_however_much_one_of_them_sends() -> None:
    intake, order = Intake(IntakeSettings(), SystemClock()), []

    async def send(validator: str, size: int, frames: int) -> None:
        for _ in range(frames):
            await intake.turn(make_hotkey(validator), size)
            order.append(validator)

    sessions = [send("flooder", MAX_FRAME_BYTES, 10) for _ in range(8)]
    await asyncio.gather(*sessions, send("honest", 300, 10), send("other", 300, 10))
    for honest in ("honest", "other"):
        places = [place for place, validator in enumerate(order) if validator == honest]
        between = [order[:place].count("flooder") for place in places]
        assert max(after - before for before, after in pairwise(between)) <= 2
    assert Counter(order)["flooder"] == 80


async def test_one_turn_of_the_loop_takes_one_large_frame_or_some_small_ones() -> None:
    intake, turns = Intake(IntakeSettings(), SystemClock()), Counter[int]()
    number = 0

    async def send(size: int, frames: int) -> None:
        for _ in range(frames):
            await intake.turn(HONEST, size)
            turns[number] += 1

    for size, most in ((MAX_FRAME_BYTES, 1), (1, TURN // LEAST)):
        turns.clear()
        sending = [asyncio.create_task(send(size, 4)) for _ in range(16)]
        while not all(task.done() for task in sending):
            number += 1
            await asyncio.sleep(0)
        assert (max(turns.values()), turns.total()) == (most, 64)


async def test_what_comes_too_fast_waits_until_it_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = ManualClock(NOW), []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(Micros(round(seconds * SECOND)))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    intake = Intake(IntakeSettings(bytes_per_second=100_000.0, burst_bytes=MAX_FRAME_BYTES, patience=5.0), clock)
    await intake.turn(FLOODER, MAX_FRAME_BYTES)
    assert waits == []
    await intake.turn(FLOODER, 50_000)
    assert waits == [pytest.approx(0.5)]
    await intake.turn(HONEST, MAX_FRAME_BYTES)
    assert len(waits) == 1
    clock.advance(Micros(2 * SECOND))
    await intake.turn(FLOODER, 1)  # it has been silent, and may send at once again
    assert len(waits) == 1


async def test_who_goes_on_is_flooding_and_who_stops_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(NOW)

    async def sleep(seconds: float) -> None:
        clock.advance(Micros(round(seconds * SECOND)))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    intake = Intake(IntakeSettings(bytes_per_second=100_000.0, burst_bytes=MAX_FRAME_BYTES, patience=5.0), clock)

    async def flood(frames: int) -> None:
        for _ in range(frames):
            await intake.turn(FLOODER, MAX_FRAME_BYTES)

    for _ in range(3):
        await flood(5)
        clock.advance(Micros(SECOND))
    with pytest.raises(Flooded, match=r"more than 0\.1 MB a second for 5 s"):
        await flood(20)


async def test_a_reader_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    intake = Intake(IntakeSettings(), SystemClock())
    waiting = [asyncio.create_task(intake.turn(HONEST, MAX_FRAME_BYTES)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.wait_for(waiting[2], 5)
    assert [task.cancelled() for task in waiting] == [True, True, False]
