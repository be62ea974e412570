"""The CSV file of an existing miner: what it says is what that miner sends, and what is wrong is told by line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.games import content_digest
from bettensor.bus.synapse import read_prediction
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.existing.miner_predictions import OpenPrediction, read_predictions
from bettensor.neurons.existing.skipped import UnusableRow
from tests.neurons.existing.databases import ALICE, BOB, MADE, write_csv


def read(file: Path) -> list[Any]:
    return list(read_predictions(file))


def test_a_row_is_what_the_existing_miner_sends(tmp_path: Path) -> None:
    """A validator that has the prediction already finds the same content, down to its digest."""
    (found,) = read(write_csv(tmp_path / "p.csv"))
    sent = {
        "prediction_id": MADE["prediction_id"],
        "game_id": "101",
        "miner_uid": "7",
        "prediction_date": "2026-05-28T19:00:00.123456+00:00",
        "predicted_outcome": "Boston",
        "predicted_odds": 1.91,
        "team_a": "Boston",
        "team_b": "New York",
        "wager": 250.5,
        "team_a_odds": 1.91,
        "team_b_odds": 2.1,
        "tie_odds": 0.0,
        "model_name": "Soccer Model",
        "confidence_score": 0.61,
        "outcome": "Unfinished",
        "payout": 0.0,
    }
    heard = read_prediction(MADE["prediction_id"], sent)
    assert content_digest(found.prediction) == content_digest(heard)
    assert found.made_at == parse_rfc3339("2026-05-28T19:00:00.123456Z")
    assert (found.confirmed_by, found.prediction.miner_uid) == (frozenset(), 7)
    assert (found.prediction.outcome, found.prediction.payout) == (None, None)


def test_null_is_no_empty_text(tmp_path: Path) -> None:
    rows = [{"model_name": "\\N", "confidence_score": "\\N"}, {"model_name": "", "confidence_score": ""}]
    null, empty = read(write_csv(tmp_path / "p.csv", *rows))
    assert (null.prediction.model_name, empty.prediction.model_name) == (None, "")
    assert null.prediction.confidence_score is empty.prediction.confidence_score is None


def test_settled_rows_are_none_and_who_confirmed_is_known(tmp_path: Path) -> None:
    rows = [{"outcome": "Wager Won"}, {"confirmed_by": f"{ALICE} {BOB}"}, {"outcome": "unfinished"}]
    settled, confirmed, unfinished = read(write_csv(tmp_path / "p.csv", *rows))
    assert (settled, confirmed.confirmed_by) == (None, {ALICE, BOB})
    assert isinstance(unfinished, OpenPrediction)


def test_columns_may_be_more_or_lack_what_releases_lack(tmp_path: Path) -> None:
    gone = {"confirmed_by": None, "model_name": None, "confidence_score": None, "payout": None}
    (found,) = read(write_csv(tmp_path / "p.csv", gone | {"is_model_prediction": "t"}))
    assert (found.prediction.model_name, found.confirmed_by) == (None, frozenset())


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "p.csv")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert isinstance(read(file)[0], OpenPrediction)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prediction_id": "a b"}, "a b: its prediction_id must be its key"),
        ({"prediction_date": "soon"}, "prediction_date: expected a date, not 'soon'"),
        ({"prediction_date": "\\N"}, "prediction_date: expected a date, not None"),
        ({"wager": "much"}, "wager"),
        ({"wager": "NaN"}, "wager"),
        ({"wager": ""}, "wager"),
        ({"team_a": "x" * 257}, "team_a"),
    ],
)
def test_a_row_that_is_wrong_is_told_by_its_line_and_the_others_are_read(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    fault, good = read(write_csv(tmp_path / "p.csv", changes, {}))
    assert isinstance(fault, UnusableRow)
    assert (fault.row, reason in fault.reason) == ("line 2", True), fault.reason
    assert isinstance(good, OpenPrediction)


@pytest.mark.parametrize("end", [",one,more", ""])
def test_a_row_of_another_length_is_told(tmp_path: Path, end: str) -> None:
    file = write_csv(tmp_path / "p.csv")
    text = file.read_text()
    file.write_text(text.rstrip() + end + "\n" if end else text[: text.rindex(",")] + "\n")
    (fault,) = read(file)
    assert "not as many values as the header has columns" in fault.reason


def absent(file: Path) -> None:
    """Nothing is there."""


def pipe(file: Path) -> None:
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.mkdir()


def empty(file: Path) -> None:
    file.touch()


def with_semicolons(file: Path) -> None:
    file.write_text(write_csv(file).read_text().replace(",", ";"))


def first_release(file: Path) -> None:
    file.write_text("predictionid,teamgameid\nx,y\n")


def not_text(file: Path) -> None:
    file.write_bytes(write_csv(file).read_bytes() + b"\xff\xfe")


def endless(file: Path) -> None:
    file.write_text(write_csv(file).read_text() + '"' + "x" * 200_000)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (absent, "there is no such file"),
        (pipe, "it is no regular file"),
        (folder, "it is no regular file"),
        (empty, "line 1: the header lacks prediction_id"),
        (with_semicolons, "line 1: the header lacks prediction_id"),
        (first_release, "it has predictionid, teamgameid. docs/operating.md has the query"),
        (not_text, "is no UTF-8 text; save it as UTF-8"),
        (endless, "after line 2: field larger than field limit"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, spoil: Callable[[Path], None], fault: str) -> None:
    file = tmp_path / "p.csv"
    spoil(file)
    with pytest.raises(ConfigurationError, match=f"^{file}: ") as refused:
        read(file)
    assert fault in str(refused.value)


def test_a_file_that_this_user_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_csv(tmp_path / "p.csv")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
        read(file)
