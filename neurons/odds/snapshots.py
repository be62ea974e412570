"""Snapshots of an odds service, in the form of this subnet's first service.

Each has ``captured``, ``home``, ``away``, ``game_id``, ``date`` and ``odds`` with ``average_home_odds`` and
``average_away_odds``. Of several snapshots of one game the newest usable one counts.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bettensor.neurons.odds.listing import (
    Instant,
    Listing,
    Name,
    Omission,
    ReadOdds,
    convert,
    id_of,
    in_order,
    refuse_itself,
)
from bettensor.neurons.odds.prices import OddsFormat, quote

MARKS: Final = frozenset({"captured", "home", "away", "odds"})
"""Keys by which a snapshot is known; no other form has any of them."""
SPORT: Final = "baseball"
LEAGUE: Final = "MLB"
"""The service has no other games, and does not name either."""


class _Odds(msgspec.Struct):
    average_home_odds: Any
    average_away_odds: Any


class _Snapshot(msgspec.Struct):
    captured: Instant
    home: Name
    away: Name
    game_id: int | Name
    date: Instant
    odds: _Odds


def read_snapshots(rows: Sequence[Any], form: OddsFormat) -> ReadOdds:
    """The games in ``rows``, between home (team_a) and away (team_b)."""
    newest: dict[str, Listing] = {}
    skipped = []
    for place, row in enumerate(rows):
        try:
            listing = _listing(convert(row, _Snapshot), form)
        except ValueError as error:
            skipped.append(Omission(place, id_of(row, "game_id"), str(error)))
            continue
        known = newest.get(listing.game_id)
        if known is None or known.updated <= listing.updated:
            newest[listing.game_id] = listing
    return ReadOdds(len(rows), in_order(newest.values()), skipped, [])


def _listing(snapshot: _Snapshot, form: OddsFormat) -> Listing:
    refuse_itself(snapshot.home, snapshot.away, "away")
    odds = snapshot.odds
    prices = {f"odds.{name}": getattr(odds, name) for name in _Odds.__struct_fields__}
    return Listing(
        str(snapshot.game_id),
        snapshot.home,
        snapshot.away,
        SPORT,
        LEAGUE,
        snapshot.captured,
        snapshot.date,
        quote(prices, form),
    )
