"""A validator's slate from The Odds API, version 4, in the place of the watched file (docs/games.md).

The last good odds are kept in a games file in ``state_dir``: they stay in force while the service fails, and are the
slate again after a restart. Games that have started are dropped, also between two requests.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Annotated, Final

from pydantic import Field

from bettensor.actors.settings import Seconds, Whole, settings_class
from bettensor.bus.backoff import backoff
from bettensor.bus.clock import Clock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import FeedFailed, GamesFetched, RowsSkipped, WithheldGame
from bettensor.bus.identifiers import SECOND, Epoch, Micros, micros
from bettensor.neurons.config.documents import MOST_BYTES
from bettensor.neurons.edges.edge import Edge, Plan, StateDir, Store
from bettensor.neurons.edges.game_file import FetchedSlate, read_games
from bettensor.neurons.edges.odds_api_client import (
    URL,
    Answered,
    Failed,
    OddsApiClient,
    Region,
    Service,
    Sport,
    read_key,
)
from bettensor.neurons.odds.book import AnswerVersion, OddsBook
from bettensor.neurons.odds.forms import EVENTS, read_answer
from bettensor.neurons.odds.listing import Omission
from bettensor.neurons.system.files import PRIVATE, read_file, replace

FILE: Final = "odds_api.json"
"""The games file in ``state_dir``."""
FIRST_RETRY: Final = 10.0
"""Seconds before a failed request is repeated; doubled with each further failure."""
LAST_RETRY: Final = 900.0
"""Seconds up to which they are doubled."""
LASTING_RETRY: Final = 3600.0
"""Seconds before a request is repeated that fails until an operator changes something."""
NAP: Final = 60.0
"""Seconds between two looks at the wall clock, which may step."""


@settings_class
class OddsApiSettings:
    """The Odds API, version 4."""

    sports: Annotated[list[Sport], Field(min_length=1)]
    """The sport_key of each sport, such as baseball_mlb; each is a request of its own."""
    regions: Annotated[list[Region], Field(min_length=1)] = field(default_factory=lambda: ["us"])
    """Whose bookmakers are averaged: us, us2, uk, eu or au. A request takes one of the quota for each region."""
    interval: Seconds = 5400.0
    """Seconds between two requests for a sport. The default makes 496 requests a month for each sport."""
    reserve: Annotated[Whole, Field(ge=0)] = 10
    """A request that would leave less than this of the quota is not made, until the next month begins (UTC) or the
    validator restarts."""
    url: Service = URL
    """The service, or a proxy with the same paths."""


@dataclass(slots=True)
class _Progress:
    """The requests for one sport."""

    due: Micros = Micros(0)
    """When to ask next; monotonic."""
    failures: int = 0
    """Since the last answer."""
    failed: Failed | None = None
    """How the last request failed; None if it did not."""
    skipped: list[Omission] = field(default_factory=list)
    """Events of the last answer that are wrong."""


class OddsApiFeed(Edge):
    """Publishes the slate whenever it changes. While the service fails, the last good slate stays in force."""

    name = "game_feed"
    Settings = OddsApiSettings

    def __init__(self, settings: OddsApiSettings, store: Store, clock: Clock, state_dir: StateDir) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._path = state_dir / FILE
        self._client: OddsApiClient | None = None
        self._book = OddsBook(EVENTS.service, [settings.url, *settings.regions])
        self._sports = {sport: _Progress() for sport in settings.sports}
        self._remaining: int | None = None
        self._written = ""
        """The content of the file."""
        self._slate: FetchedSlate | None = None
        """As it was last published."""
        self._fault = ""
        """The failure that was last published, and lasts."""
        self._wrong_sports: tuple[str, ...] = ()
        """As they were last published."""

    @classmethod
    def check(cls, _: Plan) -> Iterable[str]:
        """Nothing but the key can be looked at without a request.

        Raises:
            ConfigurationError: the environment has no key.
        """
        read_key()
        return ()

    async def open(self) -> None:
        """Publish the kept slate, or else ask for one; wait until it is stored and so in force, and follow it.

        If the service fails, the slate that is stored with the ledger stays in force.

        Raises:
            ConfigurationError: the environment has no key.
        """
        client = OddsApiClient(read_key(), self._settings.regions, self._clock, self._settings.url)
        self._client = client
        await asyncio.to_thread(self._restore)
        await self._step(client)
        await self._store.settle()
        self._tasks.start(self._follow(client), "game feed")

    async def pause(self) -> None:
        """Stop following the slate."""
        await self._tasks.cancel()

    async def close(self) -> None:
        """Stop following the slate, and end the connection."""
        await self._tasks.cancel()
        if self._client is not None:
            await self._client.close()

    def _restore(self) -> None:
        """Take the odds of the last run; what is fresh enough needs no request."""
        try:
            self._book.restore(read_file(self._path, MOST_BYTES))
        except (OSError, ValueError):  # the first run, or a file that is not ours: the service has the odds
            return
        now, interval = self._clock.wall(), micros(self._settings.interval)
        for sport, progress in self._sports.items():
            kept = self._book[sport]
            if kept is not None and kept.at <= now:
                progress.due = Micros(self._clock.mono() + max(0, kept.at + interval - now))

    async def _follow(self, client: OddsApiClient) -> None:
        while True:
            await asyncio.sleep(self._idle())
            await self._step(client)

    def _idle(self) -> float:
        """Seconds until the next request, the next start of a game, or the next look at the wall clock."""
        waits = [progress.due - self._clock.mono() for progress in self._sports.values()]
        start = self._book.next_start()
        if start is not None:
            waits.append(start - self._clock.wall())
        return min(NAP, max(0.0, min(waits) / SECOND))

    async def _step(self, client: OddsApiClient) -> None:
        """Make the requests that are due, and publish what has changed."""
        for sport, progress in self._sports.items():
            if progress.due <= self._clock.mono():
                await self._ask(client, sport, progress)
        self._book.drop_started(self._clock.wall())
        wrong = {sport: failed.reason for sport, failed in self._failed() if self._is_spared(sport, failed)}
        faults = [failed.reason for sport, failed in self._failed() if sport not in wrong]
        slate = None
        if any(self._book[sport] is not None for sport in self._sports):
            try:
                slate = await asyncio.to_thread(self._read)
            except ConfigurationError as error:
                faults.append(str(error))
        self._publish_wrong_sports(tuple(wrong.values()))
        self._publish(slate, f"{EVENTS.service}: {'; '.join(dict.fromkeys(faults))}" if faults else "")

    # --- one request

    async def _ask(self, client: OddsApiClient, sport: str, progress: _Progress) -> None:
        kept = self._book[sport]
        answer = self._refused() or await client.ask(sport, AnswerVersion() if kept is None else kept.version)
        if answer.remaining is not None:
            self._remaining = answer.remaining
        failed = answer if isinstance(answer, Failed) else await self._take(sport, progress, answer)
        if failed is None:
            progress.failures, progress.failed = 0, None
            progress.due = self._in(self._settings.interval)
            return
        progress.failures += 1
        progress.failed = failed
        progress.due = self._in(_pause(failed, progress.failures))
        if not failed.of_this_sport:  # the others would fail alike
            for other in self._sports.values():
                other.due = max(other.due, progress.due)

    async def _take(self, sport: str, progress: _Progress, answer: Answered) -> Failed | None:
        """Keep the odds of an answer; returns the fault if it has none that can be used."""
        now = self._clock.wall()
        if answer.body is None:
            self._book.confirm(sport, now)
            return None
        try:
            reading = await asyncio.to_thread(read_answer, answer.body, datetime.fromtimestamp(now / SECOND, UTC))
        except ConfigurationError as error:
            # it took one of the quota, so the next request is not made sooner than after a good answer
            return Failed(f"{sport}: {error}", of_this_sport=True, retry_after=self._settings.interval)
        progress.skipped = [omission for omission in reading.skipped if not omission.unpriced]
        self._book.take(sport, reading.listings, answer.version, now)
        return None

    def _refused(self) -> Failed | None:
        """The answer to a request that the quota does not allow."""
        left, reserve = self._remaining, self._settings.reserve
        if left is None or left - len(self._settings.regions) >= reserve:
            return None
        self._remaining = None  # unknown once the quota is renewed
        renewed = _next_month(datetime.fromtimestamp(self._clock.wall() / SECOND, UTC))
        reason = (
            f"{left} requests are left of the quota, and edges.{self.name}.reserve is {reserve}, so no more are made "
            f"until {renewed:%Y-%m-%d}; raise the quota and restart the validator, or ask less often (interval)"
        )
        return Failed(reason, retry_after=renewed.timestamp() - self._clock.wall() / SECOND)

    def _in(self, seconds: float) -> Micros:
        return Micros(self._clock.mono() + micros(seconds))

    # --- the slate

    def _read(self) -> FetchedSlate:
        """Keep the odds, and judge them as those of any games file.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        document = self._book.document(list(self._sports))
        if document != self._written:
            try:
                replace(self._path, document.encode(), durable=True, mode=PRIVATE)
            except OSError as error:
                raise ConfigurationError(f"{self._path}: cannot be written: {error.strerror}") from None
            self._written = document
        now = self._clock.wall()
        slate = read_games(self._path, now, now)
        withheld = {_withheld(omission) for progress in self._sports.values() for omission in progress.skipped}
        in_order = sorted(withheld, key=lambda game: (game.game_id, game.reason))
        return FetchedSlate(slate.games, (*slate.withheld, *in_order))

    def _failed(self) -> Iterator[tuple[str, Failed]]:
        """The sports whose last request failed."""
        for sport, progress in self._sports.items():
            if progress.failed is not None:
                yield sport, progress.failed

    def _is_spared(self, sport: str, failed: Failed) -> bool:
        """Whether the slate is as good without ``sport``: none of its games is in force, and others have odds."""
        kept = self._book[sport]
        if not failed.of_this_sport or (kept is not None and kept.games):
            return False
        alike = {other for other, its in self._failed() if its.of_this_sport}
        return any(self._book[other] is not None for other in self._sports.keys() - alike)

    def _publish(self, slate: FetchedSlate | None, fault: str) -> None:
        """Publish the slate if it is another one, or if it ends a failure; else the failure, if it is news."""
        if slate is not None and (slate != self._slate or (self._fault and not fault)):
            self._slate = slate
            self._bus.publish(GamesFetched(EVENTS.service, *slate, Epoch(token_hex(16)), fault))
        elif fault and fault != self._fault:
            self._bus.publish(FeedFailed(EVENTS.service, fault))
        self._fault = fault

    def _publish_wrong_sports(self, faults: tuple[str, ...]) -> None:
        if faults != self._wrong_sports:
            self._wrong_sports = faults
            self._bus.publish(RowsSkipped("sports", f"edges.{self.name}.sports", faults))


def _withheld(omission: Omission) -> WithheldGame:
    """Without its place in the answer, which moves, if the game is known without it."""
    return WithheldGame(omission.game_id, omission.reason if omission.game_id else str(omission))


def _pause(failed: Failed, failures: int) -> float:
    """Seconds before a failed request is repeated."""
    own = LASTING_RETRY if failed.lasting else backoff(FIRST_RETRY, LAST_RETRY, failures - 1)
    return max(own, failed.retry_after or 0.0)


def _next_month(now: datetime) -> datetime:
    return (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)
