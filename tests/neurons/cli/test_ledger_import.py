"""An existing validator's acceptances in our ledger: open ones and the day's, once, and known to their miners."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bettensor.bus.clock import ManualClock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.errors import BettensorError, ConfigurationError, Unavailable
from bettensor.bus.events import MetagraphFetched, NeuronInfo
from bettensor.bus.identifiers import Hotkey, Micros, Uid
from bettensor.bus.synapse import prediction_form, read_prediction
from bettensor.bus.timestamps import DAY, rfc3339
from bettensor.neurons.cli.history import LEDGER, OUTBOX, VerdictFilter, verdicts
from bettensor.neurons.cli.imports import Destination
from bettensor.neurons.cli.ledger_file import check_ledger
from bettensor.neurons.cli.ledger_import import LedgerImport, import_ledger
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.kept_metagraph import KEPT, KeptMetagraph
from bettensor.neurons.state_dir import lock_state_dir
from tests.contracts.test_ledger import Bench
from tests.neurons.disk import write_ledger
from tests.neurons.existing.databases import ALICE, BOB, stored_game, stored_prediction, write_database
from tests.support import HOUR, NOW, make_prediction, make_proposal

MINER, OTHER = ALICE, BOB


class Switch:
    """A validator's operator, on the day of the switch."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "validator.db"
        self.state_dir = folder / "state"
        self.neurons: tuple[NeuronInfo, ...] = ()

    def accepted_before(self, *rows: dict[str, Any]) -> None:
        write_database(self.source, rows, (stored_game(101),), miners={7: MINER})

    def imports(self, *, is_trial: bool = False) -> LedgerImport:
        return import_ledger(self.source, Destination(self.state_dir, self.neurons), is_trial, ManualClock(NOW))

    def rows(self) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(self.state_dir / LEDGER)) as database:
            database.row_factory = sqlite3.Row
            return database.execute("SELECT * FROM predictions ORDER BY id").fetchall()


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path)


def ago(span: int) -> str:
    return rfc3339(Micros(NOW - span))


def test_open_predictions_and_those_of_the_last_two_days_are_imported(switch: Switch) -> None:
    over = {"outcome": 1, "payout": 0.0}
    switch.accepted_before(
        stored_prediction("open"),
        stored_prediction("open-of-last-week", prediction_date=ago(7 * DAY)),
        stored_prediction("settled-today", prediction_date=ago(HOUR), **over),
        stored_prediction("settled-yesterday", prediction_date=ago(DAY), **over),
        stored_prediction("settled-before", prediction_date=ago(2 * DAY), **over),
        stored_prediction("never-settled", prediction_date=ago(40 * DAY), game_id=999),
    )
    done = switch.imports()
    assert (done.rows, done.imported, done.open, done.known, done.old, len(done.skipped)) == (6, 4, 2, 0, 2, 0)
    assert done.summary() == (
        f"{switch.state_dir / LEDGER}: imported 4 predictions of 1 miner, 2 open; 0 known before, "
        f"2 settled or too old, 0 skipped; of 6 rows in {switch.source}"
    )
    kept = {row["prediction_id"]: row for row in switch.rows()}
    assert sorted(kept) == ["open", "open-of-last-week", "settled-today", "settled-yesterday"]
    row = kept["open"]
    assert (row["hotkey"], row["code"], row["proof"], row["wager"]) == (MINER, "accepted", "imported", 250_000_000)
    assert row["expires_at"] == NOW + 32 * DAY, "30 days after the start of its game"
    assert row["received_at"] == NOW - 1 * HOUR - 26 * 60_000_000 - 39_876_544


def test_twice_is_once(switch: Switch) -> None:
    switch.accepted_before(stored_prediction("one"))
    switch.imports()
    before = [tuple(row) for row in switch.rows()]
    again = switch.imports()
    assert (again.imported, again.open, again.known, again.miners) == (0, 0, 1, set())
    assert [tuple(row) for row in switch.rows()] == before
    write_database(switch.source, (stored_prediction("two"),))
    assert (switch.imports().imported, len(switch.rows())) == (1, 2)


def test_what_our_ledger_has_already_stays(switch: Switch) -> None:
    rejected = make_proposal(
        MINER, prediction=make_prediction(prediction_id="one"), code=VerdictCode.GAME_STARTED, message="late"
    )
    write_ledger(switch.state_dir, rejected)
    switch.accepted_before(stored_prediction("one"), stored_prediction("two"))
    done = switch.imports()
    assert (done.imported, done.known) == (1, 1)
    assert [(row["prediction_id"], row["code"], row["proof"]) for row in switch.rows()] == [
        ("one", "game_started", "signature"),
        ("two", "accepted", "imported"),
    ]


async def test_its_miner_is_told_accepted_again_and_the_days_wagers_count(tmp_path: Path) -> None:
    """The form that an existing miner repeats in each round, of a game that has started since."""
    sent = replace(
        make_prediction(prediction_id="one", game_id="101", wager=250.0),
        prediction_date="2026-05-28T18:59:58.000001+00:00",
    )
    row = stored_prediction("one", team_a=sent.team_a, team_b=sent.team_b, wager=250.0, predicted_odds=1.8)
    row |= {"team_a_odds": 1.8, "team_b_odds": 2.1, "miner_uid": 7}
    bench = Bench(real=True, folder=tmp_path)
    write_database(tmp_path / "validator.db", (row,), miners={7: MINER})
    await asyncio.to_thread(import_ledger, tmp_path / "validator.db", Destination(tmp_path), False, ManualClock(NOW))
    opened = await bench.open()
    assert [(day.hotkey, day.accepted, day.wagered) for day in opened.days] == [(MINER, 1, 250_000_000)]
    heard = read_prediction("one", prediction_form(sent, Uid(7)))
    late = make_proposal(MINER, prediction=heard, code=VerdictCode.GAME_STARTED, proof="endpoint")
    (verdict,) = await bench.commit(late)
    assert (verdict.code, verdict.fresh) == (VerdictCode.ACCEPTED, False)
    other = read_prediction("one", prediction_form(sent, Uid(7)) | {"wager": 900.0})
    (verdict,) = await bench.commit(make_proposal(MINER, prediction=other, proof="endpoint"))
    assert verdict.code is VerdictCode.CONFLICT
    await bench.close()


def test_many_rows_are_stored_in_portions(switch: Switch) -> None:
    switch.accepted_before(*(stored_prediction(f"{n:05}", prediction_date=ago(HOUR), wager=0.25) for n in range(2500)))
    done = switch.imports()
    assert (done.imported, len(switch.rows())) == (2500, 2500)


def test_a_trial_counts_the_same_and_writes_nothing(switch: Switch) -> None:
    switch.accepted_before(stored_prediction("one"), stored_prediction("two"))
    trial = switch.imports(is_trial=True)
    assert (trial.imported, trial.open, trial.known) == (2, 2, 0)
    assert "would import 2 predictions" in trial.summary()
    assert not switch.state_dir.exists()
    write_ledger(switch.state_dir, make_proposal(MINER, prediction=make_prediction(prediction_id="one")))
    lock = lock_state_dir(switch.state_dir)  # our validator may run
    trial = switch.imports(is_trial=True)
    assert (trial.imported, trial.known, len(switch.rows())) == (1, 1, 1)
    assert lock > 0


def test_a_trial_says_what_it_cannot_look_into(switch: Switch) -> None:
    switch.accepted_before(stored_prediction("one"))
    write_ledger(switch.state_dir)
    with closing(sqlite3.connect(switch.state_dir / LEDGER)) as ledger:
        ledger.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigurationError, match="has schema 2, in which a dry run cannot look"):
        switch.imports(is_trial=True)


def test_miners_that_the_database_does_not_name_are_in_the_metagraph_or_skipped(switch: Switch) -> None:
    switch.neurons = (NeuronInfo(Uid(7), OTHER), NeuronInfo(Uid(8), OTHER))
    rows = [stored_prediction(f"of-{uid}", miner_uid=uid) for uid in (7, 8, 9, 10, 11)]
    write_database(switch.source, tuple(rows), miners={7: MINER, 10: "no address", 11: "x" * 1_000_000})
    done = switch.imports()
    assert {row["prediction_id"]: row["hotkey"] for row in switch.rows()} == {"of-7": MINER, "of-8": OTHER}
    assert list(done.skipped.lines()) == [
        "skipped of-10: UID 10: 'no address' is no ss58 address",
        f"skipped of-11: UID 11: {'x' * 64!r} is no ss58 address",
        "skipped of-9: UID 9 has no hotkey, neither in the table miner_stats nor in a metagraph on this machine",
    ]


def test_an_import_that_fails_half_way_leaves_nothing(switch: Switch) -> None:
    write_ledger(switch.state_dir)
    switch.accepted_before(*(stored_prediction(f"{n:05}") for n in range(1500)))
    with closing(sqlite3.connect(switch.source)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    switch.source.write_bytes(switch.source.read_bytes()[:-20_000])
    with pytest.raises(ConfigurationError, match="malformed"):
        switch.imports()
    assert switch.rows() == []


def test_a_file_that_is_no_such_database_makes_no_ledger(switch: Switch) -> None:
    write_database(switch.source, tables=("CREATE TABLE recipes (name)",))
    with pytest.raises(ConfigurationError, match="it has no table predictions"):
        switch.imports()
    assert not switch.state_dir.exists()


def test_a_full_disk_is_told(switch: Switch) -> None:
    write_ledger(switch.state_dir)
    with closing(sqlite3.connect(switch.state_dir / LEDGER)) as ledger:
        full = "SELECT RAISE(ABORT, 'database or disk is full')"
        ledger.execute(f"CREATE TRIGGER full BEFORE INSERT ON predictions BEGIN {full}; END")
    switch.accepted_before(stored_prediction("one"))
    with pytest.raises(BettensorError, match="cannot be written, and stays as it was: database or disk is full"):
        switch.imports()


def test_a_ledger_that_cannot_be_read_is_told(switch: Switch) -> None:
    switch.accepted_before(stored_prediction("one"))
    switch.state_dir.mkdir()
    (switch.state_dir / LEDGER).write_bytes(b"no database" * 1000)
    for is_trial in (True, False):
        with pytest.raises(ConfigurationError, match="file is not a database"):
            switch.imports(is_trial=is_trial)


def test_it_is_refused_while_our_validator_runs(switch: Switch) -> None:
    switch.accepted_before(stored_prediction("one"))
    lock = lock_state_dir(switch.state_dir)
    with pytest.raises(Unavailable, match="in use"):
        switch.imports()
    assert lock > 0
    assert not (switch.state_dir / LEDGER).exists()


# --- the command

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(switch: Switch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        words = [*arguments] if "--config" in arguments else ["--state-dir", str(switch.state_dir), *arguments]
        code = main(["ledger", "import", str(switch.source), *words])
        return code, *capsys.readouterr()

    return run


def now_stored(prediction_id: str, **changes: Any) -> dict[str, Any]:
    """For the command, which has the machine's clock."""
    return stored_prediction(prediction_id, prediction_date="2099-01-01T00:00:00+00:00") | changes


def test_the_command_tells_what_it_did(switch: Switch, run: Run) -> None:
    switch.accepted_before(now_stored("one"), now_stored("two", wager=-1.0))
    code, out, err = run()
    assert code == 0
    assert out.startswith(f"{switch.state_dir / LEDGER}: imported 1 prediction of 1 miner, 1 open; 0 known before")
    assert err == "skipped two: wager: expected a number above 0, and at most 1000000000, not -1.0\n"
    code, out, _ = run("--json")
    done = json.loads(out)
    assert (code, done["imported"], done["known"], done["skipped"]["kinds"]) == (0, 0, 1, {"unreadable": 1})
    assert check_ledger(switch.state_dir / LEDGER).accepted == 1
    assert verdicts(switch.state_dir / LEDGER, VerdictFilter())[0]["prediction_id"] == "one"


def test_a_trial_by_the_command(switch: Switch, run: Run) -> None:
    switch.accepted_before(now_stored("one"))
    code, out, _ = run("--dry-run", "--json")
    assert (code, json.loads(out)["dry_run"], switch.state_dir.exists()) == (0, True, False)


def test_a_database_of_which_nothing_can_be_used_is_exit_1(switch: Switch, run: Run) -> None:
    switch.accepted_before(now_stored("one", wager=-1.0))
    assert run()[0] == 1
    switch.source.unlink()
    switch.accepted_before()
    assert run()[0] == 0, "an empty one is imported whole"


def test_the_metagraph_of_the_configuration_names_miners(switch: Switch, run: Run, tmp_path: Path) -> None:
    write_database(switch.source, (now_stored("one"), now_stored("two", miner_uid=8)))
    (tmp_path / "metagraph.yaml").write_text(f"neurons: [{{hotkey: {OTHER}, uid: 7}}]")
    config = tmp_path / "validator.yaml"
    known = f"role: validator\nnetuid: 30\nwallet: {{name: w}}\nstate_dir: {switch.state_dir}\n"
    config.write_text(f"{known}metagraph: {{static: metagraph.yaml}}\n")
    code, _, err = run("--config", str(config))
    assert code == 0
    assert err.startswith("skipped two: UID 8 has no hotkey")
    assert [row["hotkey"] for row in switch.rows()] == [OTHER]
    shutil.rmtree(switch.state_dir)
    switch.state_dir.mkdir()
    kept = KeptMetagraph("30", MetagraphFetched((NeuronInfo(Uid(8), Hotkey(MINER)),)))
    (switch.state_dir / KEPT).write_bytes(msgspec.json.encode(kept))
    assert run()[0] == 0
    assert [row["hotkey"] for row in switch.rows()] == [MINER]


def test_the_wrong_neuron_is_refused(switch: Switch, run: Run, tmp_path: Path) -> None:
    switch.accepted_before(now_stored("one"))
    config = tmp_path / "miner.yaml"
    config.write_text(f"role: miner\nnetuid: 30\nwallet: {{name: w}}\nstate_dir: {switch.state_dir}\n")
    code, _, err = run("--config", str(config))
    assert (code, "configures a miner; name the file of a validator" in err) == (2, True)
    switch.state_dir.mkdir()
    (switch.state_dir / OUTBOX).touch()
    code, _, err = run()
    assert (code, "is the state_dir of a miner; name that of a validator" in err) == (2, True)


def test_a_running_validator_is_named_with_the_way_to_stop_it(switch: Switch, run: Run) -> None:
    switch.accepted_before(now_stored("one"))
    lock = lock_state_dir(switch.state_dir)
    code, _, err = run()
    assert (code, f"`bettensor stop --state-dir {switch.state_dir}`" in err) == (1, True)
    assert run("--dry-run")[0] == 0
    assert lock > 0


def test_a_file_that_is_none_is_exit_2(switch: Switch, run: Run) -> None:
    code, _, err = run()
    assert (code, err) == (
        2,
        f"bettensor: {switch.source}: there is no such file; it is usually bettensor/validator/state/validator.db\n",
    )
