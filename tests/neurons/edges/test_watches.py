"""Files are watched; if the system refuses, the bus hears why, and changes are noticed all the same."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.events import WatchRefused
from bettensor.neurons.edges.watches import watched_changes
from bettensor.neurons.system import files
from tests.neurons.unwatched import REASONS, refuse_watches


async def test_a_watch_that_is_refused_is_an_event_and_changes_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_watches(monkeypatch)
    monkeypatch.setattr(files, "POLL", 10)
    bus = EventBus(SystemClock())
    refused: list[WatchRefused] = []
    bus.subscribe(WatchRefused, lambda event, _: refused.append(event), "test")
    async with aclosing(watched_changes(bus, lambda: [tmp_path / "bets.csv"])) as changes:
        noticed = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        (tmp_path / "bets.csv").touch()
        await asyncio.wait_for(noticed, 10)
    assert refused == [WatchRefused(REASONS["no instance is left"])]
