"""The source of a validator's slate: a watched file, or odds that move at random.

If the file cannot be read, the last good slate stays in force: at the start the one of the last run, which the game
stream has. Both are reported, and end by themselves once the file is good.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Final

from bettensor.actors.validator.games import GamesActor, doubted
from bettensor.bus.clock import Clock, SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import FeedFailed, GamesFetched
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.config.settings import GamesSettings, ValidatorSettings
from bettensor.neurons.edges.edge import Edge, Plan, Store
from bettensor.neurons.edges.game_file import FetchedSlate, read_games
from bettensor.neurons.edges.watches import watched_changes
from bettensor.neurons.system.files import Sight, look_at

SHIPPED: Final = Path(__file__).parent.parent / "data" / "games.json"
"""The fixtures that come with this package."""
MOVE: Final = 0.02
"""Size of one move of the odds: a standard deviation, as a share of the odds' distance from 1."""


class GameFeed(Edge):
    """Publishes the slate, and again whenever it changes."""

    name = "game_feed"

    def __init__(self, settings: GamesSettings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._path = settings.path or SHIPPED
        self._started_at = clock.wall()

    @classmethod
    def check(cls, plan: Plan) -> Iterator[str]:
        """The games that would be withheld: by the rules of the file, and by the odds that the actor finds plausible.

        Raises:
            ConfigurationError: the file cannot be read, is not JSON, or has no list of games.
        """
        assert isinstance(plan.settings, ValidatorSettings)  # noqa: S101 - for the type checker: a miner has no feed
        file, now = plan.settings.games.path or SHIPPED, SystemClock().wall()
        slate = read_games(file, now, now)
        withheld = [*slate.withheld]
        for limits in (actor.settings for actor in plan.actors if isinstance(actor, GamesActor)):
            withheld += doubted(slate.games, limits)
        for game in withheld:
            if not game.started:
                yield f"{file}: " + (f"game {game.game_id!r}: {game.reason}" if game.game_id else game.reason)

    async def open(self) -> None:
        """Publish the slate, wait until it is stored and so in force, and follow its changes from then on."""
        seen = look_at([self._path])
        slate = self._report(await asyncio.to_thread(self._read))
        self._tasks.start(self._follow(seen, slate), "game feed")
        await self._store.settle()

    async def pause(self) -> None:
        """Stop following the slate."""
        await self._tasks.cancel()

    async def close(self) -> None:
        """Stop following the slate, if the neuron was closed before it was paused."""
        await self._tasks.cancel()

    async def _follow(self, seen: Sight, slate: FetchedSlate | None) -> None:
        changes = watched_changes(self._bus, lambda: [self._path], seen)
        while self._settings.source == "file" or slate is None:
            await anext(changes)
            slate = self._report(await asyncio.to_thread(self._read))
        await changes.aclose()
        await self._move(slate)

    async def _move(self, slate: FetchedSlate) -> None:
        for moved in moving_odds(slate.games, Random(self._settings.seed)):  # noqa: S311 - a demo's odds are no secret
            await asyncio.sleep(self._settings.interval)
            now = self._clock.wall()
            self._publish(FetchedSlate(tuple(game for game in moved if parse_rfc3339(game.event_start_date) > now), ()))

    def _read(self) -> FetchedSlate | str:
        """The slate in the file, or the reason why it cannot be read."""
        try:
            return read_games(self._path, self._started_at, self._clock.wall())
        except ConfigurationError as error:
            return str(error)

    def _report(self, read: FetchedSlate | str) -> FetchedSlate | None:
        """Publish what was read; returns the slate, if it is one."""
        if isinstance(read, str):
            self._bus.publish(FeedFailed(self._path.name, read))
            return None
        self._publish(read)
        return read

    def _publish(self, slate: FetchedSlate) -> None:
        self._bus.publish(GamesFetched(self._path.name, *slate, Epoch(token_hex(16))))


def moving_odds(games: tuple[TeamGame, ...], random: Random) -> Iterator[tuple[TeamGame, ...]]:
    """The same games with some of their odds moved, again and again."""
    while True:
        games = tuple(_moved(game, random) if random.random() < 0.2 else game for game in games)
        yield games


def _moved(game: TeamGame, random: Random) -> TeamGame:
    def move(odds: float) -> float:
        return round(max(1.01, 1 + (odds - 1) * (1 + random.gauss(0, MOVE))), 2)

    tie = None if game.tie_odds is None else move(game.tie_odds)
    return replace(game, team_a_odds=move(game.team_a_odds), team_b_odds=move(game.team_b_odds), tie_odds=tie)
