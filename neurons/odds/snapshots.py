"""Snapshots of an odds service, in the form of this subnet's first service.

Each has ``captured``, ``home``, ``away``, ``game_id``, ``date`` and ``odds`` with ``average_home_odds`` and
``average_away_odds``. Of several snapshots of one game the newest usable one counts.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from bettensor.bus.games import MAX_TEXT
from bettensor.neurons.odds.listing import Listing, Omission, ReadOdds, convert, id_of, in_order
from bettensor.neurons.odds.prices import OddsFormat, quote

MARKS: Final = frozenset({"captured", "home", "away", "odds"})
"""Keys by which a snapshot is known; no other form has any of them."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _Odds(msgspec.Struct):
    average_home_odds: Any
    average_away_odds: Any


class _Snapshot(msgspec.Struct):
    captured: _Instant
    home: _Name
    away: _Name
    game_id: int | _Name
    date: _Instant
    odds: _Odds


def read_snapshots(rows: Sequence[Any], form: OddsFormat, *, sport: str = "baseball", league: str = "MLB") -> ReadOdds:
    """The games in ``rows``, between home (team_a) and away (team_b). All have the same sport and league."""
    newest: dict[str, Listing] = {}
    skipped = []
    for place, row in enumerate(rows):
        try:
            listing = _listing(convert(row, _Snapshot), form, sport, league)
        except ValueError as error:
            skipped.append(Omission(place, id_of(row, "game_id"), str(error)))
            continue
        known = newest.get(listing.game_id)
        if known is None or known.updated <= listing.updated:
            newest[listing.game_id] = listing
    return ReadOdds(len(rows), in_order(newest.values()), skipped, [])


def _listing(snapshot: _Snapshot, form: OddsFormat, sport: str, league: str) -> Listing:
    if snapshot.home == snapshot.away:
        raise ValueError(f"away: {snapshot.away!r} cannot play against itself")
    odds = snapshot.odds
    prices = {f"odds.{name}": getattr(odds, name) for name in _Odds.__struct_fields__}
    return Listing(
        str(snapshot.game_id),
        snapshot.home,
        snapshot.away,
        sport,
        league,
        snapshot.captured,
        snapshot.date,
        quote(prices, form),
    )
