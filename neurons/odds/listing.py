"""What every form of odds is read into: games with their odds, and the rows that give none, with their reasons."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from bettensor.bus.games import MAX_TEXT, TeamGame
from bettensor.bus.identifiers import GameId
from bettensor.bus.text import printable
from bettensor.bus.timestamps import parse_rfc3339, rfc3339
from bettensor.neurons.config.documents import explained
from bettensor.neurons.odds.prices import Quote, rounded

MAX_SHOWN: Final = 64
"""Characters of an id that a message shows."""
Row = TypeVar("Row")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Listing(NamedTuple):
    """One game with its odds."""

    game_id: str
    home: str
    away: str
    sport: str
    league: str
    updated: datetime
    """When the odds were last known to be these."""
    start: datetime
    quote: Quote

    def shifted(self, by: timedelta) -> "Listing":
        """The same game at another time."""
        return self._replace(updated=self.updated + by, start=self.start + by)

    def game(self) -> TeamGame:
        """The game as a validator offers it."""
        odds = self.quote
        return TeamGame(
            game_id=GameId(self.game_id),
            team_a=self.home,
            team_b=self.away,
            sport=self.sport,
            league=self.league,
            create_date=_utc(self.updated),
            last_update_date=_utc(self.updated),
            event_start_date=_utc(self.start),
            active=True,
            team_a_odds=rounded(odds.home),
            team_b_odds=rounded(odds.away),
            tie_odds=None if odds.draw is None else rounded(odds.draw),
            can_tie=odds.draw is not None,
        )

    def entry(self) -> dict[str, Any]:
        """The same in the form of a games file (docs/games.md)."""
        entry: dict[str, Any] = msgspec.to_builtins(self.game())
        del entry["outcome"]  # which odds do not have
        return entry


class Omission(NamedTuple):
    """A row, or a part of one, that could not be used."""

    row: int
    """Its place in the list, from 0."""
    game_id: str
    """Empty if it cannot be read."""
    reason: str
    """The field, and what was expected there."""
    unpriced: bool = False
    """No bookmaker has odds for this game yet: nothing is wrong with the row."""

    def __str__(self) -> str:
        game = f" (game {self.game_id!r})" if self.game_id else ""
        return printable(f"row {self.row}{game}: {self.reason}")


class ReadOdds(NamedTuple):
    """The content of a list of odds, or of several."""

    rows: int
    listings: list[Listing]
    """The games, each once, by start and id."""
    skipped: list[Omission]
    """Rows that give no game."""
    left_out: list[Omission]
    """Bookmakers whose odds do not count; their game may have other odds."""


def convert(row: Any, kind: type[Row]) -> Row:
    """``row`` as ``kind``, a class of msgspec.

    Raises:
        ValueError: a field is wrong; the message names it and says what was expected.
    """
    try:
        converted = msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        raise ValueError(explained(error)) from None
    for name in getattr(converted, "__struct_fields__", ()):
        if isinstance(instant := getattr(converted, name), datetime):
            try:
                _utc(instant)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return converted


def refuse_itself(home: str, away: str, field: str) -> None:
    """Refuse a game of a team against itself.

    Raises:
        ValueError: it is one; the message names the ``field`` of ``away``.
    """
    if home == away:
        raise ValueError(f"{field}: {away!r} cannot play against itself")


def merged(readings: Sequence[ReadOdds]) -> ReadOdds:
    """All of ``readings`` in one; of several games with one id the first counts."""
    games: dict[str, Listing] = {}
    for reading in readings:
        for listing in reading.listings:
            games.setdefault(listing.game_id, listing)
    return ReadOdds(
        sum(reading.rows for reading in readings),
        in_order(games.values()),
        [omission for reading in readings for omission in reading.skipped],
        [omission for reading in readings for omission in reading.left_out],
    )


def in_order(listings: Iterable[Listing]) -> list[Listing]:
    """Sorted by start and id."""
    return sorted(listings, key=lambda listing: (listing.start, listing.game_id))


def id_of(row: Any, field: str) -> str:
    """The id in a row that may be anything, for a message."""
    found = row.get(field) if isinstance(row, dict) else None
    return printable(str(found)[:MAX_SHOWN]) if isinstance(found, str | int) else ""


def _utc(instant: datetime) -> str:
    return rfc3339(parse_rfc3339(instant.isoformat()))
