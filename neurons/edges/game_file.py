"""A slate from a JSON file.

``{"source": "...", "date": "...", "games": [...]}``, or the list alone. Each game has the fields of ``TeamGame``;
``event_start_date`` may also be an ISO 8601 duration (``"PT36H"``), counted from the start of the run, and
``create_date`` and ``last_update_date`` may be absent.

A file with a wrong structure is refused as a whole; the message names game and field. A well-formed game that cannot be
offered is withheld alone, with its reason.
"""

import json
import math
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from pydantic import TypeAdapter, ValidationError

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import WithheldGame
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Micros
from bettensor.bus.messages import MAX_SLATE
from bettensor.bus.text import hint
from bettensor.bus.timestamps import parse_rfc3339, rfc3339

_FIELDS: Final = [f.name for f in fields(TeamGame)]
_DURATION: Final = TypeAdapter(timedelta)


class FetchedSlate(NamedTuple):
    """The games that a file offers, and the withheld ones with their reasons."""

    games: tuple[TeamGame, ...]
    withheld: tuple[WithheldGame, ...]


def read_games(path: Path, started_at: Micros, now: Micros) -> FetchedSlate:
    """The slate in the file at ``path``.

    Args:
        path: the JSON file.
        started_at: wall clock at the start of the run, from which relative start times count.
        now: wall clock; games that have started by then are withheld.

    Raises:
        ConfigurationError: the file is wrong; the message names file, game, field and what was expected.
    """
    games: dict[str, TeamGame] = {}
    withheld: list[WithheldGame] = []
    for place, entry in enumerate(_entries(path)):
        game = _read_game(entry, f"{path}: games.{place}", started_at)
        if game.game_id in games:
            reason: str | None = f"{game.game_id!r} is there twice"
        elif len(games) == MAX_SLATE:
            reason = f"a slate has {MAX_SLATE} games at most"
        else:
            reason = _why_withheld(game, now)
        if reason is None:
            games[game.game_id] = game
        else:
            withheld.append(WithheldGame(game.game_id, reason))
    return FetchedSlate(tuple(games.values()), tuple(withheld))


def _entries(path: Path) -> list[Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not JSON: {error}") from None
    games = document.get("games") if isinstance(document, dict) else document
    if not isinstance(games, list):
        raise ConfigurationError(f'{path}: expected {{"games": [...]}} or a list of games')
    return games


def _read_game(entry: Any, where: str, started_at: Micros) -> TeamGame:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where}: expected a game with its fields, not {entry!r}")
    where = f"{where} ({entry.get('game_id')!r})"
    for name in entry:
        if name not in _FIELDS:
            raise ConfigurationError(f"{where}: {name}: a game has no such field{hint(name, _FIELDS)}")
    dates = {"create_date": rfc3339(started_at), "last_update_date": rfc3339(started_at)}
    try:
        game = msgspec.convert(dates | entry, TeamGame)
        msgspec.json.encode(game)
    except UnicodeEncodeError:
        raise ConfigurationError(f"{where}: a string has half of a surrogate pair, which is no character") from None
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {str(error).replace('`$.', '`')}") from None
    if game.can_tie == (game.tie_odds is None):
        expected = "expected with can_tie: true" if game.can_tie else "expected null with can_tie: false"
        raise ConfigurationError(f"{where}: tie_odds: {expected}, not {game.tie_odds}")
    start = _instant(game.event_start_date, f"{where}: event_start_date", started_at)
    return replace(game, event_start_date=rfc3339(start))


def _instant(text: str, where: str, started_at: Micros) -> Micros:
    try:
        if text.startswith("P"):
            return Micros(started_at + _DURATION.validate_python(text) // timedelta(microseconds=1))
        return parse_rfc3339(text)
    except (ValueError, ValidationError, OverflowError):
        raise ConfigurationError(
            f"{where}: expected a time like 2026-01-31T18:00:00Z, or a duration like PT36H, not {text!r}"
        ) from None


def _why_withheld(game: TeamGame, now: Micros) -> str | None:
    for name in ("team_a_odds", "team_b_odds", "tie_odds"):
        odds = getattr(game, name)
        if odds is not None and not (math.isfinite(odds) and odds > 1):
            return f"{name}: expected a finite number above 1, not {odds}"
    if game.team_a == game.team_b:
        return f"{game.team_a!r} cannot play against itself"
    if parse_rfc3339(game.event_start_date) <= now:
        return f"it started at {game.event_start_date}"
    return None
