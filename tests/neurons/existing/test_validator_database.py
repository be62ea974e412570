"""An existing validator's database: of each release, while it is written, and damaged in every way."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import Micros
from bettensor.bus.timestamps import DAY, parse_rfc3339
from bettensor.neurons.existing.skipped import UnusableRow
from bettensor.neurons.existing.validator_database import Accepted, ValidatorDatabase
from tests.neurons.disk import write_ledger
from tests.neurons.existing.databases import (
    GAMES,
    MINERS,
    PREDICTIONS,
    insert_rows,
    stored_game,
    stored_prediction,
    write_database,
)
from tests.support import NOW, make_hotkey

MINER = make_hotkey()


def accepted(file: Path) -> list[Accepted]:
    with ValidatorDatabase(file) as database:
        found = list(database.predictions())
    assert all(isinstance(row, Accepted) for row in found), found
    return [row for row in found if isinstance(row, Accepted)]


def test_a_prediction_is_what_its_miner_sent_as_far_as_it_was_kept(tmp_path: Path) -> None:
    tie = stored_prediction("tie", predicted_outcome=2, tie_odds=3.5, predicted_odds=3.5, outcome=1, payout=0.0)
    file = write_database(tmp_path / "validator.db", (stored_prediction("one"), tie), miners={7: MINER})
    one, two = accepted(file)
    assert (one.hotkey, one.uid, one.is_settled) == (MINER, 7, False)
    assert one.received_at == parse_rfc3339("2026-05-28T19:00:00.123456Z")
    prediction = one.prediction
    assert (prediction.game_id, prediction.predicted_outcome, prediction.tie_odds) == ("101", "Boston", None)
    assert (prediction.wager, prediction.model_name, prediction.confidence_score) == (250.0, "m", 0.5)
    assert prediction.prediction_date == "2026-05-28T19:00:00.123456Z"
    assert (two.prediction.predicted_outcome, two.prediction.tie_odds, two.is_settled) == ("Tie", 3.5, True)


@pytest.mark.parametrize(
    "date", ["2026-05-28 19:00:00.123456+00", "2026-05-28T19:00:00.123456", "2026-05-28T21:00:00.123456+02:00"]
)
def test_dates_are_read_in_each_form(tmp_path: Path, date: str) -> None:
    file = write_database(tmp_path / "validator.db", (stored_prediction("one", prediction_date=date),))
    assert accepted(file)[0].received_at == parse_rfc3339("2026-05-28T19:00:00.123456Z")


def test_a_table_of_an_earlier_and_of_a_later_release(tmp_path: Path) -> None:
    """The one lacks model and confidence, the other names the miner in each row."""
    row = stored_prediction("one", miner_hotkey=MINER)
    for gone in ("model_name", "confidence_score", "tie_odds"):
        del row[gone]
    columns = ", ".join(row)
    file = write_database(tmp_path / "validator.db", (row,), tables=(f"CREATE TABLE predictions ({columns})",))
    (one,) = accepted(file)
    assert (one.hotkey, one.prediction.model_name, one.prediction.confidence_score) == (MINER, None, None)
    with ValidatorDatabase(file) as database:
        assert database.starts(Micros(0)) == {}


def test_a_database_that_was_made_from_csv_files_has_only_text(tmp_path: Path) -> None:
    values = {name: "" if value is None else str(value) for name, value in stored_prediction("one").items()}
    tables = (f"CREATE TABLE predictions ({', '.join(f'{name} TEXT' for name in values)})", GAMES, MINERS)
    values |= {"model_name": "", "confidence_score": "", "tie_odds": "", "outcome": "3"}
    file = write_database(tmp_path / "validator.db", (values,), miners={7: MINER}, tables=tables)
    (one,) = accepted(file)
    assert (one.hotkey, one.prediction.predicted_outcome, one.prediction.wager) == (MINER, "Boston", 250.0)
    assert (one.prediction.model_name, one.prediction.tie_odds, one.is_settled) == (None, None, False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prediction_date": None}, "prediction_date: expected a date, not None"),
        ({"prediction_date": "soon"}, "prediction_date: expected a date, not 'soon'"),
        ({"prediction_id": "a b"}, "its prediction_id must be its key"),
        ({"prediction_id": ""}, "its prediction_id must be its key"),
        ({"predicted_outcome": 3}, "predicted_outcome: expected 0, 1 or 2, not 3"),
        ({"predicted_outcome": None}, "predicted_outcome"),
        ({"wager": None}, "wager"),
        ({"wager": -1.0}, "wager: expected a number above 0, and at most 1000000000, not -1.0"),
        ({"wager": 1e300}, "wager: expected a number above 0, and at most 1000000000, not 1e+300"),
        ({"wager": float("inf")}, "wager: expected a number above 0, and at most 1000000000, not inf"),
        ({"team_a_odds": float("inf")}, "its odds are no numbers"),
        ({"team_a": "x" * 257}, "team_a"),
        ({"game_id": None}, "game_id: it is empty"),
        ({"miner_uid": "seven"}, "miner_uid: expected a UID, not 'seven'"),
    ],
)
def test_a_row_that_is_wrong_is_told_and_the_others_are_read(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    rows = (stored_prediction("0") | changes, stored_prediction("z"))
    with ValidatorDatabase(write_database(tmp_path / "validator.db", rows)) as database:
        fault, good = database.predictions()
    assert isinstance(fault, UnusableRow)
    assert reason in fault.reason
    assert isinstance(good, Accepted)


def test_of_two_rows_with_one_id_the_first_counts(tmp_path: Path) -> None:
    columns = ", ".join(stored_prediction("one"))
    rows = (stored_prediction("one"), stored_prediction("one", wager=1.0))
    file = write_database(tmp_path / "validator.db", rows, tables=(f"CREATE TABLE predictions ({columns})", GAMES))
    with ValidatorDatabase(file) as database:
        first, second = database.predictions()
    assert isinstance(first, Accepted)
    assert isinstance(second, UnusableRow)
    assert (second.kind, second.row) == ("duplicate", "one")


def test_starts_are_by_the_id_that_predictions_name(tmp_path: Path) -> None:
    games = (
        stored_game(101),
        stored_game(102, event_start_date="2026-03-01 00:00:00"),
        stored_game(103, event_start_date="soon"),
        stored_game(104, event_start_date=None),
    )
    with ValidatorDatabase(write_database(tmp_path / "validator.db", games=games)) as database:
        assert database.starts(Micros(NOW - 30 * DAY)) == {"101": Micros(NOW + 2 * DAY)}


def test_games_that_are_over_are_no_games(tmp_path: Path) -> None:
    games = (stored_game(101), stored_game(102, outcome=1), stored_game(103, outcome="Unfinished"))
    with ValidatorDatabase(write_database(tmp_path / "validator.db", games=games)) as database:
        assert [game["external_id"] for game in database.games()] == [101, 103]


def test_it_is_read_while_its_validator_writes(tmp_path: Path) -> None:
    file = write_database(tmp_path / "validator.db", (stored_prediction("one"),))
    with closing(sqlite3.connect(file)) as validator:
        validator.execute("BEGIN IMMEDIATE")
        insert_rows(validator, "predictions", [stored_prediction("two")])
        with ValidatorDatabase(file) as database:
            validator.commit()
            assert len(list(database.predictions())) == 1, "everything is read as it was at one moment"
        assert len(accepted(file)) == 2


def test_nothing_in_it_is_changed(tmp_path: Path) -> None:
    file = write_database(tmp_path / "validator.db", (stored_prediction("one"),))
    before = file.read_bytes()
    accepted(file)
    assert file.read_bytes() == before


def test_a_link_is_followed(tmp_path: Path) -> None:
    write_database(tmp_path / "validator.db", (stored_prediction("one"),))
    (tmp_path / "link.db").symlink_to("validator.db")
    assert len(accepted(tmp_path / "link.db")) == 1


def absent(file: Path) -> None:
    """Nothing is there."""


def dangling(file: Path) -> None:
    file.symlink_to("nowhere")


def pipe(file: Path) -> None:
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.mkdir()


def no_database(file: Path) -> None:
    file.write_bytes(b"precious" * 1000)


def empty(file: Path) -> None:
    file.touch()


def other_database(file: Path) -> None:
    write_database(file, tables=("CREATE TABLE recipes (name)",))


def first_release(file: Path) -> None:
    """Its columns have other names."""
    write_database(file, tables=("CREATE TABLE predictions (predictionID, teamGameID, minerID)",))


def our_ledger(file: Path) -> None:
    write_ledger(file.parent / "state").rename(file)


def cut(file: Path) -> None:
    write_database(file, tuple(stored_prediction(f"{n:04}", team_a="x" * 200) for n in range(200)))
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (absent, "there is no such file; it is usually bettensor/validator/state/validator.db"),
        (dangling, "there is no such file"),
        (pipe, "it is no regular file"),
        (folder, "it is no regular file"),
        (no_database, "cannot be read: file is not a database"),
        (empty, "it has no table predictions; expected an existing validator's database of release 2"),
        (other_database, "it has no table predictions"),
        (first_release, "its table predictions has no prediction_id, game_id, miner_uid"),
        (our_ledger, "it is a ledger: `bettensor ledger restore` takes it"),
        (cut, "cannot be read: database disk image is malformed"),
    ],
)
def test_what_is_no_such_database_is_told(tmp_path: Path, spoil: Callable[[Path], None], fault: str) -> None:
    file = tmp_path / "validator.db"
    spoil(file)
    with pytest.raises(ConfigurationError, match=f"^{file}: ") as refused, ValidatorDatabase(file) as database:
        list(database.predictions())
    assert fault in str(refused.value)


def test_a_validator_that_holds_the_whole_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.existing.validator_database.BUSY_TIMEOUT", 0.05)
    file = tmp_path / "validator.db"
    with closing(sqlite3.connect(file)) as validator:
        validator.execute(PREDICTIONS)
        validator.commit()
        validator.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match="database is locked; its validator is writing: try again"):
            ValidatorDatabase(file)


def test_a_file_that_this_user_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_database(tmp_path / "validator.db")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ConfigurationError, match=f"^{file}: cannot be read: Permission denied$"):
        ValidatorDatabase(file)


def test_a_log_that_this_user_may_not_open_is_told_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_database(tmp_path / "validator.db")

    def refused(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr(sqlite3, "connect", refused)
    with pytest.raises(ConfigurationError, match="unable to open database file; run this as the user of its validator"):
        ValidatorDatabase(file)
