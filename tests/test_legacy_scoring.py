"""The durable handler in examples/legacy_scoring: each acceptance once in the scoring's table, whatever ends it."""

import json
import multiprocessing
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from bettensor.bus.codes import VerdictCode
from bettensor.bus.events import PredictionAccepted
from bettensor.neurons.cli.ledger_file import backup_ledger, restore_ledger
from examples.legacy_scoring.legacy_scoring import _COLUMNS, DATABASE, LEDGER, Copier
from tests.loopback.rig import running_validator
from tests.neurons.disk import write_ledger
from tests.neurons.existing.databases import ALICE, BOB, CLEAN_UP, TABLES, stored_prediction, write_database
from tests.support import make_prediction, make_proposal

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "legacy_scoring"


class Bridge:
    """A ledger, and the database of an existing validator."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "state"
        self.database = folder / "validator.db"
        self.ledger = write_ledger(self.state_dir)
        write_database(self.database, miners={7: ALICE}, tables=TABLES)

    def copier(self, step: int = 3) -> Copier:
        return Copier(self.ledger, self.database, step)

    def accept(self, *ids: str, hotkey: Any = ALICE, **changes: Any) -> None:
        predictions = [make_prediction(prediction_id=name, game_id="101", **changes) for name in ids]
        write_ledger(self.state_dir, *(make_proposal(hotkey, prediction=prediction) for prediction in predictions))

    def rows(self) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(self.database)) as database:
            database.row_factory = sqlite3.Row
            return database.execute("SELECT * FROM predictions ORDER BY prediction_id").fetchall()

    def ids(self) -> list[str]:
        return [row["prediction_id"] for row in self.rows()]


@pytest.fixture
def bridge(tmp_path: Path) -> Bridge:
    return Bridge(tmp_path)


def test_an_acceptance_becomes_the_row_that_scoring_expects(bridge: Bridge) -> None:
    bridge.accept("one", wager=250.5, confidence_score=None)
    rejected = make_proposal(ALICE, code=VerdictCode.GAME_STARTED)
    write_ledger(bridge.state_dir, rejected)
    assert bridge.copier().copy() == 1
    (row,) = bridge.rows()
    prediction = make_prediction()
    assert (row["prediction_id"], row["game_id"], row["miner_uid"]) == ("one", 101, 7)
    assert row["prediction_date"] == "2026-05-28T20:26:40+00:00"
    assert (row["predicted_outcome"], row["predicted_odds"]) == (0, prediction.predicted_odds)
    assert (row["wager"], row["tie_odds"], row["confidence_score"]) == (250.5, 0.0, None)
    assert (row["team_a"], row["team_b"], row["model_name"]) == (prediction.team_a, prediction.team_b, "test")
    assert (row["outcome"], row["payout"], row["sent_to_site"]) == (3, None, 0), "not settled"


def test_copying_goes_on_where_it_ended(bridge: Bridge) -> None:
    bridge.accept(*"abcdefgh")
    assert (bridge.copier().copy(), bridge.copier().copy()) == (8, 0)
    bridge.accept("i")
    assert (bridge.copier().copy(), "".join(bridge.ids())) == (1, "abcdefghi")


def test_rows_that_scoring_has_are_left_alone(bridge: Bridge) -> None:
    """Imported predictions are such rows; scoring may have settled them."""
    write_database(bridge.database, (stored_prediction("one", wager=5.0, outcome=1, payout=9.5),))
    bridge.accept("one", "two")
    assert bridge.copier().copy() == 1
    assert [(row["prediction_id"], row["payout"]) for row in bridge.rows()] == [("one", 9.5), ("two", None)]


def test_a_restored_ledger_and_a_new_one_are_copied_from_their_beginning(bridge: Bridge, tmp_path: Path) -> None:
    bridge.accept("before")
    backup = tmp_path / "backup.sqlite3"
    backup_ledger(bridge.ledger, backup)
    bridge.accept("lost")
    bridge.copier().copy()
    restore_ledger(backup, bridge.ledger, tmp_path / "kept")
    bridge.accept("after")  # with the id in the ledger that the lost one had
    assert (bridge.copier().copy(), bridge.ids()) == (1, ["after", "before", "lost"])


def test_a_miner_without_a_uid_is_passed_over_until_it_has_one(bridge: Bridge) -> None:
    bridge.accept("a1", "a2", "a3", "a4", hotkey=BOB)
    bridge.accept("z")
    assert (bridge.copier().copy(), bridge.ids()) == (1, ["z"])
    metagraph = {"subnet": "", "metagraph": {"neurons": [{"hotkey": BOB, "uid": 9}, {"hotkey": ALICE, "uid": 8}]}}
    (bridge.state_dir / "metagraph.json").write_text(json.dumps(metagraph))
    assert bridge.copier().copy() == 4
    assert {row["prediction_id"]: row["miner_uid"] for row in bridge.rows()} == {
        "a1": 9,
        "a2": 9,
        "a3": 9,
        "a4": 9,
        "z": 7,
    }
    bridge.accept("zz")
    bridge.copier().copy()
    assert bridge.rows()[-1]["miner_uid"] == 8, "our metagraph is newer than the scoring's"


def test_what_the_ledger_has_swept_meanwhile_is_not_waited_for(bridge: Bridge) -> None:
    bridge.accept("gone", hotkey=BOB)
    bridge.copier().copy()
    with closing(sqlite3.connect(bridge.ledger)) as ledger, ledger:
        ledger.execute("DELETE FROM predictions")
    write_database(bridge.database, miners={9: BOB})
    bridge.copier().copy()
    with closing(sqlite3.connect(bridge.database)) as database:
        assert database.execute("SELECT count(*) FROM bettensor_without_uid").fetchone() == (0,)


def test_a_busy_or_full_database_fails_as_a_whole_and_the_next_copy_takes_all(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.legacy_scoring.legacy_scoring.BUSY_TIMEOUT", 0.05)
    bridge.accept(*"abcd")
    with closing(sqlite3.connect(bridge.database, isolation_level=None)) as scoring:
        scoring.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            bridge.copier().copy()
    with closing(sqlite3.connect(bridge.database)) as scoring, scoring:
        full = "SELECT RAISE(ABORT, 'database or disk is full')"
        scoring.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON predictions WHEN NEW.prediction_id = 'd' BEGIN {full}; END"
        )
    with pytest.raises(sqlite3.DatabaseError, match="disk is full"):
        bridge.copier().copy()
    assert bridge.ids() == ["a", "b", "c"], "the first portion was whole"
    with closing(sqlite3.connect(bridge.database)) as scoring, scoring:
        scoring.execute("DROP TRIGGER full")
    assert (bridge.copier().copy(), bridge.ids()) == (1, ["a", "b", "c", "d"])


def test_what_scoring_deletes_by_its_age_stays_deleted(bridge: Bridge) -> None:
    with closing(sqlite3.connect(bridge.database)) as scoring:
        scoring.execute(CLEAN_UP)
    bridge.accept(*"abcdefgh")  # by the tests' clock, long ago
    bridge.copier().copy()
    assert (bridge.copier().copy(), bridge.ids()) == (0, [])


def test_a_database_that_is_not_there_is_not_made(bridge: Bridge, tmp_path: Path) -> None:
    for copier in (Copier(bridge.ledger, tmp_path / "absent"), Copier(tmp_path / "absent", bridge.database)):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            copier.copy()
    assert not (tmp_path / "absent").exists()


def copy_for_ever(ledger: Path, database: Path) -> None:
    while True:
        Copier(ledger, database, step=2).copy()


def test_killed_at_any_moment_it_copies_each_acceptance_once(bridge: Bridge) -> None:
    nursery = multiprocessing.get_context("forkserver")
    nursery.set_forkserver_preload(["examples.legacy_scoring.legacy_scoring", "tests.test_legacy_scoring"])
    chance = random.Random(17)
    accepted: list[str] = []
    for round_ in range(12):
        fresh = [f"{round_:02}-{number:02}" for number in range(30)]
        bridge.accept(*fresh)
        accepted += fresh
        process = nursery.Process(target=copy_for_ever, args=(bridge.ledger, bridge.database), daemon=True)
        process.start()
        time.sleep(chance.uniform(0.0, 0.12))
        process.kill()
        process.join()
        assert bridge.ids() == accepted[: len(bridge.ids())], "in order, without a gap"
    bridge.copier().copy()
    assert bridge.ids() == accepted
    assert bridge.copier().copy() == 0


async def test_a_running_validator_feeds_the_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = write_database(tmp_path / "validator.db")
    snippet = yaml.safe_load((FOLDER / "validator.yaml").read_text())
    handlers = {
        topic: [f"examples.legacy_scoring.{name}" for name in names] for topic, names in snippet["handlers"].items()
    }
    predictions = [make_prediction() for _ in range(3)]
    monkeypatch.setenv(DATABASE, str(database))
    async with running_validator(tmp_path, handlers=handlers) as rig:
        monkeypatch.setenv(LEDGER, str(rig.validator.settings.state_dir / "ledger.sqlite3"))
        async with rig.client() as client:
            write_database(database, miners={7: client.hotkey})
            assert (await client.predict(predictions[0]))["results"][0]["success"]
            await client.predict(*predictions[1:])
            await rig.until(PredictionAccepted, 3)
    with closing(sqlite3.connect(database)) as scoring:
        found = [row[0] for row in scoring.execute("SELECT prediction_id FROM predictions ORDER BY prediction_id")]
    assert found == sorted(prediction.prediction_id for prediction in predictions)


def test_the_page_has_every_column_of_the_table() -> None:
    page = (FOLDER / "README.md").read_text()
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(TABLES[0])
        columns = [row[1] for row in database.execute("PRAGMA table_info(predictions)")]
    table = page[page.index("| column |") : page.index("Two tables are added")]
    assert [name for name in columns if f"`{name}`" not in table] == []
    assert {*_COLUMNS} <= {*columns}
