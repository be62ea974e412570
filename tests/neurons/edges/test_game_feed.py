"""The feed: a file that is watched, and odds that move at random."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import FeedFailed, GamesFetched
from bettensor.neurons.config.settings import GamesSettings
from bettensor.neurons.edges.game_feed import GameFeed, moving_odds
from bettensor.neurons.edges.game_file import read_games
from bettensor.neurons.system import files
from tests.loopback.rig import starting_soon
from tests.neurons.edges.test_game_file import SHIPPED
from tests.support import NOW


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that the system tells before the watch has begun is seen at the next look."""
    monkeypatch.setattr(files, "LOOK", 50)
    monkeypatch.setattr(files, "POLL", 50)


class Bench:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.file = folder / "games.json"
        self.events: list[Any] = []
        clock = ManualClock(NOW)
        bus = EventBus(clock, record=lambda envelope: self.events.append(envelope.event))
        self.feed = GameFeed(GamesSettings(path=self.file, **settings), self, clock)
        self.feed.attach(bus)

    async def settle(self) -> None:
        """As a store that has nothing to do."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.feed.open()
        try:
            yield
        finally:
            await self.feed.close()

    def write(self, *games: dict[str, Any]) -> None:
        """As editors and deployments do: a new file in the place of the old one."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"games": games}))
        fresh.replace(self.file)

    async def until(self, condition: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(10):
            while not any(map(condition, self.events)):  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.01)
        return next(event for event in self.events if condition(event))


async def test_a_change_of_the_file_is_a_new_slate(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(starting_soon())
    async with bench.running():
        assert [len(event.games) for event in bench.events] == [1]
        bench.write(starting_soon(), starting_soon(game_id="another"))
        await bench.until(lambda event: isinstance(event, GamesFetched) and len(event.games) == 2)


async def test_a_change_that_cannot_be_read_is_told_and_the_next_good_one_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(starting_soon())
    async with bench.running():
        bench.file.write_text("[")
        failed = await bench.until(lambda event: isinstance(event, FeedFailed))
        assert "games.json: not JSON" in failed.reason
        bench.write(starting_soon(game_id="repaired"))
        await bench.until(
            lambda event: isinstance(event, GamesFetched) and [g.game_id for g in event.games] == ["repaired"]
        )


async def test_a_wrong_game_among_others_is_withheld_until_it_is_right(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    wrong = starting_soon(game_id="wrong") | {"team_a_odds": None}
    bench.write(starting_soon(), wrong)
    async with bench.running():
        (first,) = bench.events
        assert [game.game_id for game in first.games] == [starting_soon()["game_id"]]
        assert [game.game_id for game in first.withheld] == ["wrong"]
        bench.write(starting_soon(team_a_odds=1.7), wrong)
        again = await bench.until(lambda event: event != first)
        assert again.withheld == first.withheld
        bench.write(starting_soon(), starting_soon(game_id="wrong"))
        await bench.until(lambda event: not event.withheld)


async def test_other_files_of_the_folder_are_none_of_its_business(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(starting_soon())
    async with bench.running():
        (tmp_path / "notes.txt").write_text("x")
        bench.write(starting_soon(), starting_soon(game_id="another"))
        await bench.until(lambda event: len(event.games) == 2)
    assert len(bench.events) == 2


@pytest.mark.parametrize("text", [None, "", "{}", "[]]"])
async def test_a_first_slate_that_cannot_be_read_is_told_and_waited_for(tmp_path: Path, text: str | None) -> None:
    bench = Bench(tmp_path)
    if text is not None:
        bench.file.write_text(text)
    async with bench.running():
        assert [type(event) for event in bench.events] == [FeedFailed]
        bench.write(starting_soon())
        await bench.until(lambda event: isinstance(event, GamesFetched))


async def test_random_odds_begin_to_move_once_their_file_can_be_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path, source="random", interval=0.01, seed=3)
    async with bench.running():
        bench.write(*(starting_soon(game_id=f"g{i}") for i in range(20)))
        first = await bench.until(lambda event: isinstance(event, GamesFetched))
        await bench.until(lambda event: isinstance(event, GamesFetched) and event.games != first.games)


async def test_random_odds_move_until_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, source="random", interval=0.01, seed=3)
    bench.write(*(starting_soon(game_id=f"g{i}") for i in range(20)))
    async with bench.running():
        await bench.until(lambda event: event.games != bench.events[0].games)
    assert all(len(event.games) == 20 for event in bench.events)


def test_moving_odds_stay_odds_and_follow_their_seed() -> None:
    games = read_games(SHIPPED, NOW, NOW).games
    slates, again = (list(islice(moving_odds(games, Random(1)), 500)) for _ in range(2))
    assert slates == again
    for before, after in zip(games, slates[-1], strict=True):
        assert after.team_a_odds > 1
        assert after.team_b_odds > 1
        assert (after.tie_odds is None) is (before.tie_odds is None)
    changed = [sum(a != b for a, b in zip(games, slates[0], strict=True))]
    assert 0 < changed[0] < len(games)
