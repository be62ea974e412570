"""A feed of one's own: a validator's slate from a CSV file, as a spreadsheet exports it.

Copy this file beside a validator's YAML file, and name it there. It takes the place of the watched games file::

    edges:
      game_feed: {class: "csv_feed:CsvFeed", path: /etc/bettensor/games.csv}

The columns have the names of a game's fields (docs/games.md); a cell without text is an absent field.
"""

import asyncio
import csv
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import msgspec

from bettensor.bus import Clock
from bettensor.bus.events import FeedFailed, GamesFetched, WithheldGame
from bettensor.bus.games import TeamGame, start_of
from bettensor.bus.identifiers import Epoch
from bettensor.edges import Edge, FetchedSlate, Store


@dataclass(frozen=True, kw_only=True)
class CsvFeedSettings:
    path: str
    interval: float = 5.0
    """Seconds between two readings."""


class CsvFeed(Edge):
    name = "game_feed"
    Settings = CsvFeedSettings

    def __init__(self, settings: CsvFeedSettings, store: Store, clock: Clock) -> None:
        self._path = Path(settings.path)
        self._interval = settings.interval
        self._store = store
        self._clock = clock
        self._last: FetchedSlate | str | None = None

    async def open(self) -> None:
        self._publish(self._read())
        self._tasks.start(self._follow(), "game feed")
        await self._store.settle()  # the slate is in force when miners come

    async def close(self) -> None:
        await self._tasks.cancel()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self._publish(await asyncio.to_thread(self._read))

    def _read(self) -> FetchedSlate | str:
        """The slate, or the reason why it cannot be read."""
        games, withheld = [], []
        try:
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                for number, row in enumerate(csv.DictReader(file), start=1):
                    try:
                        game = read_game(row)
                    except ValueError as error:
                        withheld.append(WithheldGame(row.get("game_id") or "", f"row {number}: {error}"))
                    else:
                        games.append(game)
        except (OSError, ValueError, csv.Error) as error:
            return f"{self._path}: {error}"
        now = self._clock.wall()
        return FetchedSlate(tuple(game for game in games if (start_of(game) or 0) > now), tuple(withheld))

    def _publish(self, found: FetchedSlate | str) -> None:
        if found == self._last:
            return
        self._last = found
        if isinstance(found, str):
            self._bus.publish(FeedFailed(self._path.name, found))  # the last good slate stays in force
        else:
            self._bus.publish(GamesFetched(self._path.name, found.games, found.withheld, Epoch(token_hex(16))))


def read_game(row: dict[str, str]) -> TeamGame:
    """The game in one row.

    Raises:
        ValueError: a field is wrong; the message names it.
    """
    given = {name: text for name, text in row.items() if text}
    dates = {"create_date": row["event_start_date"], "last_update_date": row["event_start_date"]}
    game = msgspec.convert({"active": True, "can_tie": "tie_odds" in given} | dates | given, TeamGame, strict=False)
    if start_of(game) is None:
        raise ValueError(f"event_start_date: expected a time like 2026-01-31T18:00:00Z, not {game.event_start_date!r}")
    return game
