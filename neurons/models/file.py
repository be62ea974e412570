"""A model that reads its bets from a file, which people or programs write.

CSV with the header ``game_id,outcome,wager`` and, optionally, ``confidence`` and ``model_name``; or JSON, a list of
objects with these keys. Numbers may be text. The file is watched, and a change takes effect at once. Each row is bet
once with each validator that offers its game, also across restarts, and again when the row changes. A wrong row is
reported, and harms no other.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from bettensor.actors.settings import settings_class
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.games import TeamGame
from bettensor.bus.text import hint
from bettensor.neurons.config.documents import NotANumber, number_of, read_json, read_text, shown
from bettensor.neurons.models.faults import FaultRounds
from bettensor.neurons.models.model import Forecast, ModelHost, outcomes

MAX_HINTS: Final = 20
"""Unknown games for which the nearest known one is looked for: that takes long on a large slate."""
COLUMNS: Final = ("game_id", "outcome", "wager", "confidence", "model_name")


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


class Bet(NamedTuple):
    """A row of the file: a bet, if it is right."""

    place: str
    """For messages, like ``line 3``."""
    content: Any
    """An object, if the row is right; a text that says what is wrong if it cannot be read."""


class FilePredictor:
    """Bets as its file says."""

    Settings = FileSettings

    def __init__(self, settings: FileSettings) -> None:
        self._path = Path(settings.path).absolute()
        self._faults = FaultRounds()
        self._version = ""
        """The contents of the file when it was read last."""
        self._offered: set[str] = set()
        """The ids in the file that have been on a slate in this run."""
        self._host: ModelHost | None = None

    def faults(self) -> list[str]:
        """What is wrong in the file by itself; whether its games and outcomes exist shows with the slates."""
        read = _read(self._path)
        if isinstance(read, str):
            return [read]
        return [f"{self._path}: {row.place}: {fault}" for row in read or () if (fault := _fault_of(row)) is not None]

    async def run(self, host: ModelHost) -> None:
        """Ask for a new prediction whenever the file changes."""
        self._host = host
        async for _ in host.changes(self._path):
            host.ask_again()

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
        """A bet for each row whose game is on the slate; its key tells new rows from known ones."""
        slate = {game.game_id: game for game in games}
        rows = list(self._rows())
        self._offered = {row.content["game_id"] for row in rows} & (self._offered | slate.keys())
        for place, row in rows:
            game = slate.get(row["game_id"])
            if game is None:
                continue
            try:
                forecast = forecast_of(row, game, "file")
            except Unusable as fault:
                self._fault(f"{self._path.name}: {place}: {fault}")
                continue
            yield replace(forecast, key=json.dumps(row, sort_keys=True))
        self._note_unknown_games(rows)

    def _rows(self) -> Iterator[Bet]:
        """Each row that is an object with a game; an invalid row is reported and skipped."""
        read = _read(self._path)
        version = repr(read)  # a comparison of the rows themselves would find NaN unequal to itself
        if version != self._version:
            self._version = version
            self._faults.begin()
        if isinstance(read, str):
            self._fault(read)
            return
        for row in read or ():
            fault = _fault_of(row)
            if fault is None:
                yield row
            else:
                self._fault(f"{self._path.name}: {row.place}: {fault}")

    def _fault(self, text: str) -> None:
        if self._host is not None and self._faults.is_new(text):
            self._host.fault(text)

    def _note_unknown_games(self, rows: Iterable[Bet]) -> None:
        """Tell of rows whose game no validator has offered: it may come, it may be over, or the id is mistyped."""
        known = {} if self._host is None else self._host.games()
        if self._host is None or not known:  # no slate has come yet
            return
        hints = 0
        for place, row in rows:
            game_id = row["game_id"]
            text = f"{self._path.name}: {place}: no slate has the game {shown(game_id)} so far"
            if game_id not in known and game_id not in self._offered and self._faults.is_new(text):
                nearest = hint(game_id, known) if hints < MAX_HINTS else ""
                hints += 1
                self._host.note(f"{text}{nearest}")


def _fault_of(row: Bet) -> str | None:
    """What is wrong with a row, whatever the slate is."""
    if isinstance(row.content, str):
        return row.content
    if not isinstance(row.content, dict) or not isinstance(row.content.get("game_id"), str):
        return f"expected {', '.join(COLUMNS[:3])}"
    try:
        _wager_of(row.content)
        _number(row.content, "confidence")
    except Unusable as fault:
        return str(fault)
    return None


def _read(path: Path) -> list[Bet] | str | None:
    """The rows of the file, or the reason why it has none; None if there is no file."""
    if not path.exists():
        return None
    try:
        if path.suffix != ".json":
            return list(_rows_of_csv(read_text(path), path))
        rows = read_json(path)
    except ConfigurationError as error:
        return str(error)
    if not isinstance(rows, list):
        return f"{path}: expected a list of objects"
    # a text is no row, and would be taken for a fault
    return [Bet(f"entry {number}", None if isinstance(row, str) else row) for number, row in enumerate(rows)]


def _rows_of_csv(text: str, path: Path) -> Iterator[Bet]:
    """Each row below the header, as an object; blank lines are none.

    Raises:
        ConfigurationError: the header lacks a column, or cannot be read.
    """
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise ConfigurationError(f"{path}: line 1: {error}") from None
    missing = [column for column in COLUMNS[:3] if column not in header]
    if missing:
        expected = f"it must be {','.join(COLUMNS[:3])}"
        raise ConfigurationError(f"{path}: line 1: the header lacks {', '.join(missing)}; {expected}")
    ours = [place for place, name in enumerate(header) if name in COLUMNS]
    for line, values in _records(lines, reader.line_num, ours):
        if isinstance(values, str):
            yield Bet(f"line {line}", values)
        elif len(values) > len(header):
            yield Bet(f"line {line}", "it has more values than the header has columns")
        elif values:
            yield Bet(f"line {line}", dict.fromkeys(header) | dict(zip(header, values, strict=False)))


def _records(lines: list[str], start: int, ours: Sequence[int]) -> Iterator[tuple[int, list[str] | str]]:
    """Each record of a CSV file with the number of its first line; a text says why it cannot be read.

    A quote that is not closed would swallow the following lines. No value in the columns ``ours`` has more than one
    line, so such a line is a fault by itself, and reading goes on behind it. Others, like a note, may have several.
    """
    while start < len(lines):
        reader = csv.reader(lines[line] for line in range(start, len(lines)))
        try:
            values: list[str] | str = next(reader)
            length = reader.line_num
            texts = [values[place] for place in ours if place < len(values)]
            if length > 1 and any("\n" in text or "\r" in text for text in texts):
                values, length = "a quote is not closed", 1
        except csv.Error as error:
            values, length = str(error), 1
        yield start + 1, values
        start += length


def forecast_of(row: dict[str, Any], game: TeamGame, model_name: str) -> Forecast:
    """The forecast in a row about ``game``.

    Raises:
        Unusable: a field is wrong; the message says which, and what was expected.
    """
    outcome, odds = row.get("outcome"), outcomes(game)
    if not odds:
        raise Unusable("outcome: two outcomes of this game have one name, so no bet on it has a meaning")
    if not isinstance(outcome, str) or outcome not in odds:
        raise Unusable(f"outcome: expected one of {', '.join(map(repr, odds))}, not {outcome!r}")
    return Forecast(
        game=game,
        outcome=outcome,
        wager=_wager_of(row),
        confidence=_number(row, "confidence"),
        model_name=str(row.get("model_name") or model_name),
    )


def _wager_of(row: dict[str, Any]) -> float:
    wager = _number(row, "wager")
    if wager is None or wager <= 0:
        raise Unusable(f"wager: expected a number above 0, not {shown(row.get('wager'))}")
    return wager


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value in (None, ""):
        return None
    try:
        return number_of(value)
    except NotANumber as error:
        raise Unusable(f"{name}: {error}") from None
