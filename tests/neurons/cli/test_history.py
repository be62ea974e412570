"""Verdicts read off a ledger or an outbox, beside the neuron that writes them."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.codes import VerdictCode
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import OutboxEntry, PredictionExpired, Proof, VerdictReceived
from bettensor.bus.games import UnreadablePrediction, content_digest
from bettensor.bus.identifiers import SECOND, GameId, Micros, PredictionId
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.cli.history import (
    COLUMNS,
    LEDGER,
    OUTBOX,
    VerdictFilter,
    history_codes,
    history_file,
    history_peers,
    verdicts,
)
from tests.neurons.disk import write_ledger, write_outbox
from tests.support import NOW, make_game, make_hotkey, make_prediction, make_proposal

MINER, OTHER = make_hotkey(), make_hotkey("other")


def prediction(name: str, **changes: Any) -> Any:
    return make_prediction(prediction_id=PredictionId(name), **changes)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Four verdicts on two games, a second apart; the newest is of another miner."""
    moved = {"game_id": GameId("moved")}
    rows = [
        make_proposal(MINER, prediction=prediction("first", wager=1.5)),
        make_proposal(MINER, prediction=prediction("second", **moved), code=VerdictCode.GAME_STARTED, message="late"),
        make_proposal(OTHER, prediction=prediction("third", **moved)),
        make_proposal(OTHER, prediction=prediction("fourth", model_name=None)),
    ]
    return write_ledger(tmp_path, *(replace(row, received_at=Micros(NOW + n * SECOND)) for n, row in enumerate(rows)))


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """Three predictions: one accepted, one that expired, one that waits."""
    entries = [OutboxEntry(MINER, prediction(name)) for name in ("accepted", "expired", "waiting")]
    verdicts = (
        VerdictReceived(MINER, entries[0].prediction, True, "accepted", "", Micros(0)),
        PredictionExpired(MINER, entries[1].prediction),
    )
    return write_outbox(tmp_path, *entries, verdicts=verdicts)


def ids(file: Path, **wanted: Any) -> list[str]:
    return [verdict["prediction_id"] for verdict in verdicts(file, VerdictFilter(**wanted))]


def test_verdicts_come_the_oldest_first_with_every_column(ledger: Path) -> None:
    found = verdicts(ledger, VerdictFilter())
    assert [tuple(verdict) for verdict in found] == [COLUMNS] * 4
    assert found[0] == {
        "at": rfc3339(NOW),
        "peer": MINER,
        "prediction_id": "first",
        "code": "accepted",
        "message": "",
        "game_id": make_game().game_id,
        "outcome": make_game().team_a,
        "odds": make_game().team_a_odds,
        "wager": 1.5,
        "model": "test",
        "proof": "signature",
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["first", "second", "third", "fourth"]),
        ({"peer": MINER}, ["first", "second"]),
        ({"peer": "nobody"}, []),
        ({"code": "game_started"}, ["second"]),
        ({"code": "none"}, []),
        ({"game": "moved"}, ["second", "third"]),
        ({"since": NOW + 2 * SECOND}, ["third", "fourth"]),
        ({"limit": 2}, ["third", "fourth"]),
        ({"limit": 0}, []),
        ({"peer": OTHER, "game": "moved", "limit": 5}, ["third"]),
        ({"peer": "' OR 1=1 --"}, []),
    ],
)
def test_only_what_is_wanted_is_found_and_of_a_limit_the_newest(
    ledger: Path, wanted: dict[str, Any], found: list[str]
) -> None:
    assert ids(ledger, **wanted) == found


def test_a_ledger_says_what_proves_whose_a_prediction_is(tmp_path: Path) -> None:
    proofs: tuple[Proof, ...] = ("signature", "endpoint", "imported")
    rows = [make_proposal(MINER, prediction=prediction(proof), proof=proof) for proof in proofs]
    file = write_ledger(tmp_path, *rows)
    assert [verdict["proof"] for verdict in verdicts(file, VerdictFilter())] == list(proofs)
    for proof in proofs:
        assert ids(file, proof=proof) == [proof]


def test_a_ledger_of_an_earlier_release_has_only_signed_predictions(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("ALTER TABLE predictions DROP COLUMN proof")
        database.execute("PRAGMA user_version = 3")
    assert {verdict["proof"] for verdict in verdicts(ledger, VerdictFilter())} == {"signature"}
    assert ids(ledger, proof="signature") == ["first", "second", "third", "fourth"]
    assert ids(ledger, proof="endpoint") == []
    assert history_peers(ledger) == sorted([MINER, OTHER])
    with closing(sqlite3.connect(ledger)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (3,), "nothing is written"


def test_an_outbox_has_no_proofs(outbox: Path) -> None:
    assert {verdict["proof"] for verdict in verdicts(outbox, VerdictFilter())} == {None}


def test_a_prediction_that_could_not_be_read_is_shown_as_it_came(tmp_path: Path) -> None:
    unreadable = UnreadablePrediction(
        prediction_id=PredictionId("odd"), fault="wager: no number", content={"game_id": "g", "wager": "ten"}
    )
    proposal = make_proposal(MINER, code=VerdictCode.MISSING_DATA, message="wager: no number")
    file = write_ledger(tmp_path, replace(proposal, prediction=unreadable, digest=content_digest(unreadable)))
    (verdict,) = verdicts(file, VerdictFilter())
    assert [verdict[name] for name in ("prediction_id", "game_id", "wager", "outcome")] == ["odd", "g", "ten", None]


def test_an_outbox_knows_what_expired_and_what_has_no_verdict(outbox: Path) -> None:
    codes = {verdict["prediction_id"]: verdict["code"] for verdict in verdicts(outbox, VerdictFilter())}
    assert codes == {"accepted": "accepted", "expired": "expired", "waiting": "none"}
    assert ids(outbox, code="none") == ["waiting"]
    assert sorted(ids(outbox, peer=MINER, since=NOW)) == ["accepted", "expired", "waiting"]
    assert ids(outbox, since=NOW + 1) == []


def test_predictions_of_one_instant_are_shown_in_the_order_in_which_they_were_made(outbox: Path) -> None:
    assert ids(outbox) == ["accepted", "expired", "waiting"]
    assert ids(outbox, limit=2) == ["expired", "waiting"]


def test_codes_are_counted(ledger: Path, outbox: Path) -> None:
    assert history_codes(ledger) == {"accepted": 3, "game_started": 1}
    assert history_codes(outbox) == {"accepted": 1, "expired": 1, None: 1}


def test_peers_are_named_once_each(ledger: Path, outbox: Path) -> None:
    assert history_peers(ledger) == sorted([MINER, OTHER])
    assert history_peers(outbox) == [MINER]


def test_a_folder_of_a_validator_has_a_ledger_and_of_a_miner_an_outbox(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{tmp_path} has neither {LEDGER} nor {OUTBOX}"):
        history_file(tmp_path)
    (tmp_path / OUTBOX).touch()
    assert history_file(tmp_path) == tmp_path / OUTBOX
    (tmp_path / LEDGER).touch()
    assert history_file(tmp_path) == tmp_path / LEDGER


def test_what_cannot_be_read_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / LEDGER
    file.write_bytes(b"no database" * 1000)
    for read in (history_codes, history_peers, lambda file: verdicts(file, VerdictFilter())):
        with pytest.raises(ConfigurationError, match=rf"{LEDGER} cannot be read: file is not a database"):
            read(file)
    assert file.read_bytes() == b"no database" * 1000
    with pytest.raises(ConfigurationError, match="unable to open"):
        history_codes(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
