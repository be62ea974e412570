"""Recognises the form of a list of odds, and reads it. The form follows from the keys of all rows; none is guessed."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.text import counted, printable
from bettensor.neurons.config.documents import shown
from bettensor.neurons.odds import existing, odds_api, snapshots
from bettensor.neurons.odds.listing import ReadOdds
from bettensor.neurons.odds.prices import OddsFormat


class Form(NamedTuple):
    """One form of a list of odds."""

    row: str
    """One row, for people; its plural ends in *s*."""
    service: str
    marks: frozenset[str]
    """Keys that a row of this form has, and rows of other forms do not."""
    read: Callable[[Sequence[Any], OddsFormat, datetime], ReadOdds]


SNAPSHOTS: Final = Form(
    "snapshot", "an odds service", snapshots.MARKS, lambda rows, prices, _: snapshots.read_snapshots(rows, prices)
)
EVENTS: Final = Form("event", "The Odds API", odds_api.MARKS, odds_api.read_events)
GAMES: Final = Form("game", "an existing validator", existing.MARKS, existing.read_games)
FORMS: Final = (SNAPSHOTS, EVENTS, GAMES)


def rows_of(document: Any) -> list[Any]:
    """``document``, which must be a list, or the games of a ``GameData``.

    Raises:
        ConfigurationError: it is none. If it is an error of The Odds API, the message has that error.
    """
    if isinstance(document, list):
        return document
    games = existing.entries_of(document)
    if games is not None:
        return games
    if isinstance(document, dict) and isinstance(said := document.get("message"), str):
        raise ConfigurationError(f"expected a list of {_EITHER}, but it is an error: {printable(said)[:300]}")
    raise ConfigurationError(f"expected a list of {_EITHER}, not {shown(document)}")


def form_of(rows: Sequence[Any]) -> Form:
    """The form of ``rows``.

    Raises:
        ConfigurationError: rows of no form, or of several.
    """
    first = {
        form: next((place for place, row in enumerate(rows) if isinstance(row, dict) and form.marks & row.keys()), None)
        for form in FORMS
    }
    found = {form: place for form, place in first.items() if place is not None}
    if len(found) == 1:
        return next(iter(found))
    if found:
        places = " and ".join(f"row {place} has keys of one {form.row}" for form, place in found.items())
        raise ConfigurationError(f"expected a list of {_EITHER}, but {places}; import each form from a file of its own")
    keys = "; ".join(f"of one {form.row}: {', '.join(sorted(form.marks))}" for form in FORMS)
    raise ConfigurationError(f"expected a list of {_EITHER}, but no row has any of their keys ({keys})")


_EITHER: Final = " or ".join(f"{form.row}s of {form.service}" for form in FORMS)


def read_answer(body: bytes, now: datetime) -> ReadOdds:
    """The games in an answer of The Odds API with decimal odds.

    Args:
        body: the answer.
        now: the time of odds whose bookmakers say none.

    Raises:
        ConfigurationError: it is not a list of events, or none of its events can be used.
    """
    try:
        rows = rows_of(msgspec.json.decode(body))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"not JSON: {error}") from None
    reading = EVENTS.read(rows, "decimal", now)
    wrong = [omission for omission in reading.skipped if not omission.unpriced]
    if wrong and not reading.listings:
        raise ConfigurationError(f"none of {counted(len(rows), EVENTS.row)} can be used; {wrong[0]}")
    return reading
