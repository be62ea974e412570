"""The SQLite database of an existing validator, usually ``bettensor/validator/state/validator.db`` in its clone.

Reads the tables ``predictions``, ``miner_stats`` and ``game_data``, also while their validator writes. Columns differ
between its releases, and a database that was made from CSV files has only text; both are read.
"""

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from bettensor.actors.validator.rules import MAX_WAGER
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.games import TIE, TeamGamePrediction, millionths, outcome_number
from bettensor.bus.identifiers import Hotkey, Micros, Uid
from bettensor.bus.synapse import read_instant, read_prediction
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.existing.skipped import UnusableRow

BUSY_TIMEOUT: Final = 30.0
"""Seconds to wait for a validator that locks the whole database; with a write-ahead log it never does."""
FOLDER: Final = "bettensor/validator/state"
"""Where an existing validator has its database, below its clone."""
_NEEDED: Final = (
    "prediction_id",
    "game_id",
    "miner_uid",
    "prediction_date",
    "predicted_outcome",
    "predicted_odds",
    "team_a",
    "team_b",
    "wager",
    "team_a_odds",
    "team_b_odds",
    "outcome",
)
_OPTIONAL: Final = ("tie_odds", "model_name", "confidence_score", "miner_hotkey")
_GAME: Final = (
    "external_id",
    "team_a",
    "team_b",
    "team_a_odds",
    "team_b_odds",
    "event_start_date",
    "create_date",
    "last_update_date",
    "sport",
    "league",
    "outcome",
    "active",
)
_UNFINISHED: Final = ("", "3", "unfinished")
"""Outcomes of games and predictions that are not settled, as text."""


class Accepted(NamedTuple):
    """A prediction that the existing validator has accepted."""

    hotkey: Hotkey | None
    """The miner, as far as the database knows it."""
    uid: Uid
    prediction: TeamGamePrediction
    """What the table keeps: ``prediction_date`` is when the validator received it."""
    received_at: Micros
    is_settled: bool
    """Its game is over, and its payout is decided."""


class ValidatorDatabase:
    """An existing validator's database, open for reading. Everything is read as it was at one moment.

    Close it after use; it is a context manager.
    """

    def __init__(self, file: Path) -> None:
        """
        Raises:
            ConfigurationError: the file cannot be read as a database.
        """
        self._file = file
        _check_file(file)
        with self._reading():
            self._database = sqlite3.connect(
                f"{file.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._database.row_factory = sqlite3.Row
                self._database.text_factory = lambda data: data.decode(errors="replace")
                self._database.execute("BEGIN")
                tables = self._database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
                self._tables = {row["name"] for row in tables}
            except sqlite3.Error:
                self._database.close()
                raise

    def __enter__(self) -> "ValidatorDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def predictions(self) -> Iterator[Accepted | UnusableRow]:
        """Each accepted prediction, by id, or the reason why a row is none.

        Raises:
            ConfigurationError: the file has no such table, or is damaged.
        """
        columns = self._columns("predictions", _NEEDED)
        kept = [*_NEEDED, *(name for name in _OPTIONAL if name in columns)]
        query = f"SELECT {', '.join(kept)} FROM predictions ORDER BY prediction_id"  # noqa: S608 - our own text
        return self._predictions(query, self._hotkeys())

    def _predictions(self, query: str, hotkeys: Mapping[str, Hotkey]) -> Iterator[Accepted | UnusableRow]:
        before = None
        for row in self._rows(query):
            try:
                found = _accepted(row, hotkeys)
                if found.prediction.prediction_id == before:
                    raise UnusableRow("duplicate", before, "this prediction_id is there twice; the first row counts")
                before = found.prediction.prediction_id
                yield found
            except UnusableRow as fault:
                yield fault

    def starts(self, since: Micros) -> dict[str, Micros]:
        """When each game starts that starts after ``since``, by the id that predictions name.

        Raises:
            ConfigurationError: the file is damaged.
        """
        if not {"external_id", "event_start_date"} <= self._columns_of("game_data"):
            return {}
        starts = {}
        for row in self._rows("SELECT external_id, event_start_date FROM game_data"):
            with contextlib.suppress(ValueError):
                starts_at = read_instant(str(row["event_start_date"]))
                if starts_at > since:
                    starts[_id_text(row["external_id"])] = starts_at
        return starts

    def games(self) -> list[dict[str, Any]]:
        """The games that are not over, in the form of their rows.

        Raises:
            ConfigurationError: the file has no such table, or is damaged.
        """
        columns = self._columns("game_data", _GAME)
        kept = [*_GAME, *(name for name in ("tie_odds", "can_tie") if name in columns)]
        query = f"SELECT {', '.join(kept)} FROM game_data ORDER BY event_start_date, external_id"  # noqa: S608 - our own text
        return [dict(row) for row in self._rows(query) if is_unfinished(row["outcome"])]

    def _hotkeys(self) -> dict[str, Hotkey]:
        """By UID, as text."""
        if not {"miner_uid", "miner_hotkey"} <= self._columns_of("miner_stats"):
            return {}
        rows = self._rows("SELECT miner_uid, miner_hotkey FROM miner_stats WHERE miner_hotkey <> ''")
        return {_id_text(row["miner_uid"]): Hotkey(str(row["miner_hotkey"])) for row in rows}

    def _columns(self, table: str, needed: tuple[str, ...]) -> set[str]:
        columns = self._columns_of(table)
        missing = [name for name in needed if name not in columns]
        if not columns:
            raise ConfigurationError(f"{self._file}: it has no table {table}; {self._expected()}")
        if missing:
            raise ConfigurationError(f"{self._file}: its table {table} has no {', '.join(missing)}; {self._expected()}")
        return columns

    def _expected(self) -> str:
        if "ledger" in self._tables:
            return "it is a ledger: `bettensor ledger restore` takes it"
        return f"expected an existing validator's database of release 2, usually {FOLDER}/validator.db"

    def _columns_of(self, table: str) -> set[str]:
        if table not in self._tables:
            return set()
        return {row["name"] for row in self._rows(f"PRAGMA table_info({table})")}

    def _rows(self, query: str) -> Iterator[sqlite3.Row]:
        with self._reading():
            yield from self._database.execute(query)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ConfigurationError(f"{self._file}: cannot be read: {error}{_cure(error)}") from None


def is_database(file: Path) -> bool:
    """Whether ``file`` is one of SQLite.

    Raises:
        ConfigurationError: it cannot be read.
    """
    _check_file(file)
    with file.open("rb") as content:
        return content.read(len(_MAGIC)) == _MAGIC


_MAGIC: Final = b"SQLite format 3\0"


def is_unfinished(outcome: Any) -> bool:
    """Whether a game or a prediction with this ``outcome`` is not settled."""
    return outcome is None or str(outcome).casefold() in _UNFINISHED


def date_of(prediction: Mapping[str, Any]) -> Micros:
    """The ``prediction_date`` of a row.

    Raises:
        ValueError: it is none.
    """
    date = prediction["prediction_date"]
    try:
        return read_instant(str(date))
    except ValueError:
        raise ValueError(f"prediction_date: expected a date, not {date!r}") from None


def _check_file(file: Path) -> None:
    try:
        if not file.exists():
            raise ConfigurationError(f"{file}: there is no such file; it is usually {FOLDER}/validator.db")
        if not file.is_file():
            raise ConfigurationError(f"{file}: it is no regular file; name the existing validator's validator.db")
        with file.open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None


def _cure(error: sqlite3.Error) -> str:
    """What helps if the file itself is good."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return "; run this as the user of its validator, or copy it first: sqlite3 validator.db '.backup copy.db'"
    if code == sqlite3.SQLITE_BUSY:
        return "; its validator is writing: try again"
    return ""


def _accepted(row: sqlite3.Row, hotkeys: Mapping[str, Hotkey]) -> Accepted:
    content: dict[str, Any] = {field: None if value == "" else value for field, value in dict(row).items()}
    content |= {"game_id": _id_text(row["game_id"]), "miner_uid": _id_text(row["miner_uid"])}
    name = str(row["prediction_id"])
    try:
        received_at = date_of(content)
    except ValueError as error:
        raise UnusableRow("without a date", name, str(error)) from None
    hotkey = content.pop("miner_hotkey", None) or hotkeys.get(_id_text(row["miner_uid"]))
    content |= {"prediction_date": rfc3339(received_at), "outcome": None, "payout": None}
    try:
        prediction = read_prediction(name, content)
    except ValueError as error:
        raise UnusableRow("unreadable", name, str(error)) from None
    if not isinstance(prediction, TeamGamePrediction):
        raise UnusableRow("unreadable", name, prediction.fault)
    if prediction.miner_uid is None:
        raise UnusableRow("unreadable", name, f"miner_uid: expected a UID, not {row['miner_uid']!r}")
    return Accepted(
        hotkey=None if hotkey is None else Hotkey(str(hotkey)),
        uid=Uid(prediction.miner_uid),
        prediction=_checked(prediction),
        received_at=received_at,
        is_settled=not is_unfinished(row["outcome"]),
    )


def _checked(prediction: TeamGamePrediction) -> TeamGamePrediction:
    """``prediction`` with its outcome by name, as miners write it."""
    name = prediction.prediction_id
    teams = prediction.team_a, prediction.team_b
    number = outcome_number(prediction.predicted_outcome, *teams)
    if number is None:
        raise UnusableRow(
            "unreadable", name, f"predicted_outcome: expected 0, 1 or 2, not {prediction.predicted_outcome!r}"
        )
    if not prediction.game_id:
        raise UnusableRow("unreadable", name, "game_id: it is empty")
    if not 0 < (millionths(prediction.wager) or 0) <= MAX_WAGER * 1_000_000:  # more is no integer of the ledger
        expected = f"a number above 0, and at most {MAX_WAGER:.0f}"
        raise UnusableRow("unreadable", name, f"wager: expected {expected}, not {prediction.wager!r}")
    odds = (prediction.predicted_odds, prediction.team_a_odds, prediction.team_b_odds, prediction.tie_odds or 0.0)
    if not all(map(math.isfinite, odds)):
        raise UnusableRow("unreadable", name, f"its odds are no numbers: {odds!r}")
    return replace(prediction, predicted_outcome=(*teams, TIE)[number])


def _id_text(value: Any) -> str:
    """An id: SQLite keeps digits as a number, and a number with a point if another column was one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)
