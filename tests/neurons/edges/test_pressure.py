"""What the bus hears if limits of a port act: the cause, once, and then how often."""

import asyncio
import errno

import pytest

from bettensor.bus.events import AcceptingFailed, AcceptingResumed, ConnectionsShed, Event
from bettensor.neurons.edges import pressure as pressure_module
from bettensor.neurons.edges.pressure import Pressure

EMFILE = OSError(errno.EMFILE, "Too many open files")


async def until(told: list[Event], count: int) -> None:
    async with asyncio.timeout(10):
        while len(told) < count:  # noqa: ASYNC110 - the record has no event
            await asyncio.sleep(0)


async def test_a_limit_is_told_at_once_with_all_of_one_turn_and_then_only_at_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pressure_module, "INTERVAL", 0.05)
    told: list[Event] = []
    pressure = Pressure(told.append)
    pressure.shed("strangers", 3, "203.0.113.1")
    pressure.shed("strangers", 3, "203.0.113.2")
    pressure.shed("handshakes", 2, "203.0.113.3")
    assert told == []
    await asyncio.sleep(0)
    first = ConnectionsShed("strangers", 3, 2, "203.0.113.2")
    assert told == [first, ConnectionsShed("handshakes", 2, 1, "203.0.113.3")]
    for _ in range(5):
        pressure.shed("strangers", 4, "203.0.113.4")
        await asyncio.sleep(0)
    assert len(told) == 2
    await until(told, 3)
    assert told[2] == ConnectionsShed("strangers", 4, 5, "203.0.113.4")
    await asyncio.sleep(0.15)  # two intervals without any
    pressure.shed("strangers", 4, "203.0.113.5")
    await until(told, 4)
    assert told[3] == ConnectionsShed("strangers", 4, 1, "203.0.113.5")
    pressure.close()


async def test_a_shortage_is_told_once_and_over_when_it_has_been_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure_module, "CALM", 0.05)
    told: list[Event] = []
    pressure = Pressure(told.append)
    for error in (EMFILE, None, EMFILE, None):
        pressure.shortage(error)
    assert told == [AcceptingFailed("Too many open files")]
    await until(told, 2)
    assert told[1] == AcceptingResumed()
    pressure.shortage(OSError(errno.ENFILE, None))
    assert told[2] == AcceptingFailed("Too many open files in system")
    pressure.close()


async def test_after_its_end_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure_module, "CALM", 0.01)
    told: list[Event] = []
    pressure = Pressure(told.append)
    pressure.shortage(EMFILE)
    pressure.shortage(None)
    pressure.shed("strangers", 3, "203.0.113.1")
    pressure.close()
    await asyncio.sleep(0.05)
    assert told == [AcceptingFailed("Too many open files")]
