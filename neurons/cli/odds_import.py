"""Makes a games file from snapshots of an odds service, in the form of this subnet's first service.

The input is a JSON list; each snapshot has ``captured``, ``home``, ``away``, ``game_id``, ``date`` and ``odds`` with
``average_home_odds`` and ``average_away_odds``. Of several snapshots of one game the newest counts.
"""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.system.files import unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class _Odds:
    average_home_odds: float
    average_away_odds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    captured: AwareDatetime
    home: Annotated[str, Field(min_length=1, max_length=256)]
    away: Annotated[str, Field(min_length=1, max_length=256)]
    game_id: int | str
    date: AwareDatetime
    odds: _Odds


_SNAPSHOTS: TypeAdapter[list[_Snapshot]] = TypeAdapter(list[_Snapshot])


class Imported(NamedTuple):
    """Games in the form of a games file, and the reason for each skipped one."""

    games: list[dict[str, Any]]
    skipped: list[str]


def import_snapshots(
    text: str, shift_to: datetime | None = None, *, sport: str = "baseball", league: str = "MLB"
) -> Imported:
    """The newest snapshot of each game, as a game between home (team_a) and away (team_b).

    Args:
        text: JSON.
        shift_to: shift all dates by the same amount, so that the first game starts at this time.
        sport: of all games.
        league: of all games.

    Raises:
        ConfigurationError: a row is wrong; the message has row, field and what was expected.
    """
    newest: dict[str, _Snapshot] = {}
    for snapshot in sorted(_read(text), key=lambda snapshot: snapshot.captured):
        newest[str(snapshot.game_id)] = snapshot
    skipped = [f"game {game_id}: {reason}" for game_id, s in newest.items() if (reason := _why_not(s)) is not None]
    kept = [snapshot for snapshot in newest.values() if _why_not(snapshot) is None]
    shift = shift_to - min(s.date for s in kept) if shift_to is not None and kept else None
    games = []
    for snapshot in sorted(kept, key=lambda snapshot: (snapshot.date, str(snapshot.game_id))):
        captured, start = snapshot.captured, snapshot.date
        if shift is not None:
            captured, start = captured + shift, start + shift
        games.append(
            {
                "game_id": str(snapshot.game_id),
                "team_a": snapshot.home,
                "team_b": snapshot.away,
                "sport": sport,
                "league": league,
                "create_date": _utc(captured),
                "last_update_date": _utc(captured),
                "event_start_date": _utc(start),
                "active": True,
                "team_a_odds": snapshot.odds.average_home_odds,
                "team_b_odds": snapshot.odds.average_away_odds,
                "tie_odds": None,
                "can_tie": False,
            }
        )
    return Imported(games, skipped)


def run_import(source: Path, output: Path, starting: datetime | None = None) -> Imported:
    """Import the file ``source`` into the games file ``output``.

    Raises:
        ConfigurationError: a file cannot be read or written; the message has file, row and field.
    """
    try:
        imported = import_snapshots(source.read_text(encoding="utf-8"), starting)
        document = {"source": source.name, "date": datetime.now(UTC).date().isoformat(), "games": imported.games}
        _write(output, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise ConfigurationError(f"{error.filename or output}: {error.strerror}") from None
    except (UnicodeDecodeError, ConfigurationError) as error:
        raise ConfigurationError(f"{source}: {error}") from None
    return imported


def _write(output: Path, text: str) -> None:
    """Replace a file in one step, for a validator that watches it; write to a pipe or device directly."""
    if output.exists() and not output.is_file():
        output.write_text(text, encoding="utf-8")
        return
    target = output.resolve()  # where a link leads
    with unfinished(target.with_name(f".{target.name}.part")) as part:
        part.write_text(text, encoding="utf-8")
        part.replace(target)


def _read(text: str) -> list[_Snapshot]:
    try:
        return _SNAPSHOTS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        row, *field = first["loc"] or ("",)
        where = f"row {row}{': ' if field else ''}{'.'.join(map(str, field))}"
        raise ConfigurationError(f"{where}: {first['msg']}") from None


def _why_not(snapshot: _Snapshot) -> str | None:
    for name in ("average_home_odds", "average_away_odds"):
        odds = getattr(snapshot.odds, name)
        if not (math.isfinite(odds) and odds > 1):
            return f"{name}: expected a finite number above 1, not {odds}"
    return None


def _utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
