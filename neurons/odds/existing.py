"""Games of an existing validator: rows of its table ``game_data``, or the entries of a ``gamedata_dict``.

Their ids stay as they are, so that predictions that are open name the same games. Dates have a space or a T, and are
in UTC if they have no offset; odds are decimal; ``tie_odds`` is 0 if the game cannot tie. Games that are over are
skipped.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bettensor.bus.synapse import read_instant
from bettensor.neurons.config.documents import shown
from bettensor.neurons.existing.validator_database import is_unfinished
from bettensor.neurons.odds.listing import (
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

MARKS: Final = frozenset({"team_a", "team_b", "event_start_date"})
"""Keys by which such a game is known; no other form has any of them."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NONE: Final = (None, 0, "", "0", "0.0")
"""Tie odds of a game that cannot tie."""
_INACTIVE: Final = (False, 0, "0", "f", "false", "False")


def entries_of(document: Any) -> list[Any] | None:
    """The games of a ``GameData``, or of its ``gamedata_dict`` alone; None if ``document`` is neither."""
    entries = document.get("gamedata_dict", document) if isinstance(document, dict) else None
    if not isinstance(entries, dict) or not entries:
        return None
    games = list(entries.values())
    return games if all(isinstance(game, dict) and game.keys() & MARKS for game in games) else None


def read_games(rows: Sequence[Any], form: OddsFormat, now: datetime) -> ReadOdds:
    """The games in ``rows`` that are not over.

    Args:
        rows: the games.
        form: how odds are written.
        now: when odds without a date were last known.
    """
    games: dict[str, Listing] = {}
    skipped = []
    for place, row in enumerate(rows):
        try:
            listing = _listing(row, form, now)
            if listing.game_id in games:
                raise ValueError(f"{_id_field(row)}: {shown(listing.game_id)} is there twice; the first one counts")
            games[listing.game_id] = listing
        except ValueError as error:
            skipped.append(Omission(place, id_of(row, _id_field(row)), str(error)))
    return ReadOdds(len(rows), in_order(games.values()), skipped, [])


def _listing(row: Any, form: OddsFormat, now: datetime) -> Listing:
    if not isinstance(row, Mapping):
        raise ValueError(f"expected a game with its fields, not {shown(row)}")
    if not is_unfinished(row.get("outcome")):
        raise ValueError(f"outcome: it is over: {shown(row['outcome'])}")
    if row.get("active") in _INACTIVE:
        raise ValueError("active: it is off the slate")
    home, away = _name(row, "team_a"), _name(row, "team_b")
    refuse_itself(home, away, "team_b")
    prices = {name: row.get(name) for name in ("team_a_odds", "team_b_odds", "tie_odds")}
    if prices["tie_odds"] in _NONE:
        del prices["tie_odds"]
    return Listing(
        _id(row),
        home,
        away,
        _name(row, "sport"),
        _name(row, "league"),
        now if row.get("last_update_date") in (None, "") else _date(row, "last_update_date"),
        _date(row, "event_start_date"),
        quote(prices, form),
    )


def _id_field(row: Any) -> str:
    """In a table ``game_id`` is the table's own, and ``external_id`` the one that predictions name."""
    return "external_id" if isinstance(row, Mapping) and row.get("external_id") is not None else "game_id"


def _id(row: Mapping[str, Any]) -> str:
    found = row.get(_id_field(row))
    return convert(str(found) if isinstance(found, int) else found, Name)


def _name(row: Mapping[str, Any], field: str) -> str:
    try:
        return convert(row.get(field), Name)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _date(row: Mapping[str, Any], field: str) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=read_instant(str(row.get(field))))
    except ValueError:
        raise ValueError(f"{field}: expected a date, not {shown(row.get(field))}") from None
