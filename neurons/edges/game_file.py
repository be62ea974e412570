"""A slate from a JSON file.

``{"source": "...", "date": "...", "games": [...]}``, or the list alone. Each game has the fields of ``TeamGame``;
``event_start_date`` may also be an ISO 8601 duration (``"PT36H"``), counted from the start of the run, and
``create_date`` and ``last_update_date`` may be absent. Odds may be text: ``"1.90"``.

A file that is not JSON, or has no list of games, is refused as a whole. A game that is wrong or cannot be offered is
withheld alone; the reason names its place, the field and what was expected.
"""

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from pydantic import TypeAdapter, ValidationError

from bettensor.actors.odds import fault_of_odds
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import WithheldGame
from bettensor.bus.games import MAX_TEXT, TeamGame
from bettensor.bus.identifiers import Micros
from bettensor.bus.messages import MAX_SLATE
from bettensor.bus.text import hint, printable
from bettensor.bus.timestamps import parse_rfc3339, rfc3339
from bettensor.neurons.config.documents import explained, number_of, read_json, shown

MAX_REASON: Final = 512
"""Characters of a reason; the names of unknown fields may be of any length."""
_FIELDS: Final = [f.name for f in fields(TeamGame)]
_ODDS: Final = ("team_a_odds", "team_b_odds", "tie_odds")
_TIME: Final = "expected a time like 2026-01-31T18:00:00Z"
_DURATION: Final = TypeAdapter(timedelta)


class FetchedSlate(NamedTuple):
    """The games that a file offers, and the withheld ones with their reasons."""

    games: tuple[TeamGame, ...]
    withheld: tuple[WithheldGame, ...]


class _Unusable(Exception):
    """A game is wrong; the message has the field and what was expected."""


def read_games(path: Path, started_at: Micros, now: Micros) -> FetchedSlate:
    """The slate in the file at ``path``.

    Args:
        path: the JSON file.
        started_at: wall clock at the start of the run, from which relative start times count.
        now: wall clock; games that have started by then are withheld.

    Raises:
        ConfigurationError: the file cannot be read, is not JSON, or has no list of games.
    """
    games: dict[str, TeamGame] = {}
    withheld: list[WithheldGame] = []
    seen: set[str] = set()
    for place, entry in enumerate(_entries(path)):
        game_id = _id_of(entry)
        try:
            if game_id and game_id in seen:  # the first one counts, and which one is right cannot be known
                raise _Unusable(f"game_id: {shown(game_id)} is there twice")
            seen.add(game_id)
            game = _read_game(entry, started_at)
            if len(games) == MAX_SLATE:
                raise _Unusable(f"a slate has {MAX_SLATE} games at most")
        except _Unusable as fault:
            reason = printable(f"games.{place}: {fault}")[:MAX_REASON]
            withheld.append(WithheldGame(printable(game_id)[:MAX_TEXT], reason))
            continue
        if parse_rfc3339(game.event_start_date) <= now:
            withheld.append(WithheldGame(game.game_id, f"it started at {game.event_start_date}", started=True))
        else:
            games[game.game_id] = game
    return FetchedSlate(tuple(games.values()), tuple(withheld))


def _entries(path: Path) -> list[Any]:
    document = read_json(path)
    games = document.get("games") if isinstance(document, dict) else document
    if not isinstance(games, list):
        raise ConfigurationError(f'{path}: expected {{"games": [...]}} or a list of games')
    return games


def _id_of(entry: Any) -> str:
    """The id of a game of which nothing else may be right; empty if it has none."""
    game_id = entry.get("game_id") if isinstance(entry, dict) else None
    return game_id if isinstance(game_id, str) else ""


def _read_game(entry: Any, started_at: Micros) -> TeamGame:
    if not isinstance(entry, dict):
        raise _Unusable(f"expected a game with its fields, not {shown(entry)}")
    for name in entry:
        if name not in _FIELDS:
            raise _Unusable(f"{name}: a game has no such field{hint(name, _FIELDS)}")
    dates = {"create_date": rfc3339(started_at), "last_update_date": rfc3339(started_at)}
    game = _converted(dates | entry | _odds_of(entry))
    if game.can_tie == (game.tie_odds is None):
        expected = "expected with can_tie: true" if game.can_tie else "expected null with can_tie: false"
        raise _Unusable(f"tie_odds: {expected}, not {shown(game.tie_odds)}")
    if game.team_a == game.team_b:
        raise _Unusable(f"team_b: {shown(game.team_a)} cannot play against itself")
    fault = fault_of_odds(game)
    if fault is not None:
        raise _Unusable(fault)
    for name in ("create_date", "last_update_date"):
        _check_instant(name, getattr(game, name))
    return replace(game, event_start_date=_start_of(game, started_at))


def _odds_of(entry: dict[str, Any]) -> dict[str, float]:
    odds: dict[str, float] = {}
    for name in _ODDS:
        if name in entry and not (name == "tie_odds" and entry[name] is None):
            try:
                odds[name] = number_of(entry[name])
            except ValueError as error:
                raise _Unusable(f"{name}: {error}") from None
    return odds


def _converted(entry: dict[str, Any]) -> TeamGame:
    try:
        game = msgspec.convert(entry, TeamGame)
        msgspec.json.encode(game)
    except UnicodeEncodeError:
        raise _Unusable("a string has half of a surrogate pair, which is no character") from None
    except msgspec.ValidationError as error:
        raise _Unusable(explained(error)) from None
    return game


def _check_instant(name: str, text: str) -> None:
    try:
        parse_rfc3339(text)
    except ValueError:
        raise _Unusable(f"{name}: {_TIME}, not {shown(text)}") from None


def _start_of(game: TeamGame, started_at: Micros) -> str:
    text = game.event_start_date
    try:
        if text.startswith("P"):
            return rfc3339(Micros(started_at + _DURATION.validate_python(text) // timedelta(microseconds=1)))
        return rfc3339(parse_rfc3339(text))
    except (ValueError, ValidationError, OverflowError):
        raise _Unusable(f"event_start_date: {_TIME}, or a duration like PT36H, not {shown(text)}") from None
