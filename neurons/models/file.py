"""A model that reads its bets from a file, which people or programs write.

CSV with the header ``game_id,outcome,wager`` and, optionally, ``confidence`` and ``model_name``; or JSON, a list of
objects with these keys. The file is watched, and a change takes effect at once. Each row is bet once with each
validator that offers its game, also across restarts, and again when the row changes.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bettensor.actors.settings import settings_class
from bettensor.bus.games import TeamGame
from bettensor.neurons.models.model import Forecast, ModelHost, outcomes

MAX_TOLD: Final = 1000
"""Faults that are remembered, so that each is reported once."""
COLUMNS: Final = ("game_id", "outcome", "wager", "confidence", "model_name")
ENCODING: Final = "utf-8-sig"
"""UTF-8, with or without the byte order mark of spreadsheets."""


@settings_class
class FileSettings:
    """Where the bets are."""

    path: str
    """The .csv or .json file with the bets, relative to the working directory; it need not exist yet."""

    def __post_init__(self) -> None:
        if Path(self.path).suffix not in (".csv", ".json"):
            raise ValueError(f"path must end in .csv or .json, not {self.path!r}")
        if not Path(self.path).absolute().parent.is_dir():
            raise ValueError(f"path must be in an existing folder, not {self.path!r}")


class Unusable(Exception):
    """A row or the file is wrong; the message says how."""


class FilePredictor:
    """Bets as its file says."""

    Settings = FileSettings

    def __init__(self, settings: FileSettings) -> None:
        self._path = Path(settings.path).absolute()
        self._told: set[str] = set()
        self._host: ModelHost | None = None

    async def run(self, host: ModelHost) -> None:
        """Ask for a new prediction whenever the file changes."""
        self._host = host
        async for _ in host.changes(self._path):
            host.ask_again()

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
        """A bet for each row whose game is on the slate; its key tells new rows from known ones."""
        slate = {game.game_id: game for game in games}
        for place, row in self._rows():
            game = slate.get(row.get("game_id", ""))
            if game is None:
                continue
            try:
                forecast = forecast_of(row, game, "file")
            except Unusable as fault:
                self._fault(f"{self._path.name}: {place}: {fault}")
                continue
            yield replace(forecast, key=json.dumps(row, sort_keys=True))

    def _rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row with its location; an invalid row is reported and skipped."""
        try:
            rows = _read(self._path)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError, csv.Error, Unusable) as error:
            self._fault(f"{self._path.name}: {error}")
            return
        for place, row in rows:
            if not isinstance(row, dict) or not isinstance(row.get("game_id"), str):
                self._fault(f"{self._path.name}: {place}: expected {', '.join(COLUMNS[:3])}")
            elif None in row:  # DictReader's key for superfluous columns
                self._fault(f"{self._path.name}: {place}: it has more values than the header has columns")
            else:
                yield place, row

    def _fault(self, text: str) -> None:
        """Report a fault, once."""
        if text not in self._told and self._host is not None:
            self._told = {*list(self._told)[-MAX_TOLD:], text}
            self._host.fault(text)


def _read(path: Path) -> list[tuple[str, Any]]:
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding=ENCODING))
        if not isinstance(rows, list):
            raise Unusable("expected a list of objects")
        return [(f"entry {number}", row) for number, row in enumerate(rows)]
    with path.open(newline="", encoding=ENCODING) as file:
        reader = csv.DictReader(file, restval=None)
        missing = [column for column in COLUMNS[:3] if column not in (reader.fieldnames or ())]
        if missing:
            raise Unusable(f"line 1: the header lacks {', '.join(missing)}; it must be {','.join(COLUMNS[:3])}")
        return [(f"line {reader.line_num}", row) for row in reader]


def forecast_of(row: dict[str, Any], game: TeamGame, model_name: str) -> Forecast:
    """The forecast in a row about ``game``.

    Raises:
        Unusable: a field is wrong; the message says which, and what was expected.
    """
    outcome = row.get("outcome")
    if not isinstance(outcome, str) or outcome not in outcomes(game):
        raise Unusable(f"outcome: expected one of {', '.join(map(repr, outcomes(game)))}, not {outcome!r}")
    wager = _number(row, "wager")
    if wager is None or wager <= 0:
        raise Unusable(f"wager: expected a number above 0, not {row.get('wager')!r}")
    return Forecast(
        game=game,
        outcome=outcome,
        wager=wager,
        confidence=_number(row, "confidence"),
        model_name=str(row.get("model_name") or model_name),
    )


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value in (None, ""):
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Unusable(f"{name}: expected a number, not {value!r}")
    return number
