"""An existing miner's open predictions in our outbox: for each validator, once, and not made a second time."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bettensor.bus.clock import ManualClock
from bettensor.bus.errors import BettensorError, ConfigurationError, Unavailable
from bettensor.bus.events import MetagraphFetched, NeuronInfo
from bettensor.bus.identifiers import Uid
from bettensor.neurons.cli.history import LEDGER, OUTBOX
from bettensor.neurons.cli.imports import Destination
from bettensor.neurons.cli.main import main
from bettensor.neurons.cli.predictions_import import PredictionsImport, import_predictions
from bettensor.neurons.edges.kept_metagraph import KEPT, KeptMetagraph
from bettensor.neurons.state_dir import lock_state_dir
from tests.contracts.test_outbox import Bench
from tests.neurons.disk import write_outbox
from tests.neurons.existing.databases import ALICE, BOB, CHARLIE, MADE, write_csv
from tests.support import NOW

VALIDATORS = (
    NeuronInfo(Uid(1), ALICE, validator_permit=True, axon="203.0.113.1:8091"),
    NeuronInfo(Uid(2), BOB, validator_permit=True, axon="203.0.113.2:8091"),
    NeuronInfo(Uid(7), CHARLIE, validator_permit=True, axon="203.0.113.7:8091"),
)
"""The last one is the miner itself, which has a permit by its stake."""


class Switch:
    """A miner's operator, on the day of the switch."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "predictions.csv"
        self.state_dir = folder / "state"
        self.target = Destination(self.state_dir, VALIDATORS)

    def imports(self, *named: str, is_trial: bool = False) -> PredictionsImport:
        return import_predictions(self.source, self.target, is_trial, named, ManualClock(NOW))

    def rows(self) -> list[tuple[str, str, str | None]]:
        with closing(sqlite3.connect(self.state_dir / OUTBOX)) as database:
            return database.execute("SELECT validator, prediction_id, code FROM predictions ORDER BY id").fetchall()


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    switch = Switch(tmp_path)
    write_csv(switch.source, {"prediction_id": "one"}, {"prediction_id": "two", "confirmed_by": BOB})
    return switch


def test_each_open_prediction_waits_for_each_validator_that_has_not_confirmed_it(switch: Switch) -> None:
    done = switch.imports()
    assert (done.rows, done.waiting, done.confirmed, done.known, done.old) == (2, 3, 1, 0, 0)
    assert sorted(switch.rows()) == [
        (BOB, "one", None),
        (BOB, "two", "accepted"),
        (ALICE, "one", None),
        (ALICE, "two", None),
    ]
    assert done.summary() == (
        f"{switch.state_dir / OUTBOX}: imported 3 predictions without a verdict and 1 confirmed before, for "
        f"3 validators; 0 known before, 0 settled rows, 0 skipped; of 2 rows in {switch.source}"
    )


async def test_the_miner_sends_what_waits_as_it_was_and_bets_on_none_of_the_games(switch: Switch) -> None:
    await asyncio.to_thread(switch.imports)
    opened = await (bench := Bench(real=True, folder=switch.state_dir)).open()
    assert [(entry.validator, entry.prediction.prediction_id) for entry in opened.entries] == [
        (ALICE, "one"),
        (BOB, "one"),
        (ALICE, "two"),
    ]
    assert opened.entries[0].prediction.prediction_date == "2026-05-28T19:00:00.123456Z"  # as over Synapse
    assert opened.settled == ((BOB, "two", "accepted"),)
    assert opened.imported == ((BOB, "101"), (ALICE, "101"))
    await bench.close()


def test_twice_is_once(switch: Switch) -> None:
    switch.imports()
    before = switch.rows()
    again = switch.imports()
    assert (again.waiting, again.confirmed, again.known) == (0, 0, 4)
    assert switch.rows() == before


def test_only_for_the_validators_that_are_named(switch: Switch) -> None:
    assert switch.imports(BOB).validators == (BOB,)
    assert {validator for validator, *_ in switch.rows()} == {BOB}
    with pytest.raises(ConfigurationError, match="--validator: expected an ss58 address"):
        switch.imports("5GrwvaEF")


def test_the_miner_itself_is_no_validator_of_its_predictions(switch: Switch) -> None:
    write_csv(switch.source, {"miner_uid": "7"})
    report = switch.imports(CHARLIE)
    assert (report.imported, len(report.skipped)) == (0, 1)
    assert f"{CHARLIE} is the miner that made it" in next(report.skipped.lines())


def test_a_miners_own_choice_of_validators_counts(switch: Switch) -> None:
    switch.target = Destination(switch.state_dir, VALIDATORS, (ALICE,))
    assert switch.imports().validators == (ALICE,)


def test_without_a_validator_nothing_can_be_imported(switch: Switch) -> None:
    switch.target = Destination(switch.state_dir)
    with pytest.raises(ConfigurationError, match="name each one with a permit and an endpoint with --validator HOTKEY"):
        switch.imports()
    assert not switch.state_dir.exists()


def test_settled_rows_are_counted_and_faults_told(switch: Switch) -> None:
    write_csv(switch.source, {"outcome": "Wager Lost"}, {"wager": "x"})
    done = switch.imports()
    assert (done.old, done.imported, len(done.skipped)) == (1, 0, 1)
    assert next(iter(done.skipped.lines())).startswith(f"skipped line 3: {MADE['prediction_id']}: ")


def test_many_rows_are_saved_in_portions(switch: Switch) -> None:
    write_csv(switch.source, *({"prediction_id": f"{n:05}"} for n in range(2500)))
    assert switch.imports(ALICE).waiting == 2500
    assert [name for _, name, _ in switch.rows()] == [f"{n:05}" for n in range(2500)]


def test_a_trial_counts_the_same_and_writes_nothing(switch: Switch) -> None:
    trial = switch.imports(is_trial=True)
    assert (trial.waiting, trial.confirmed, switch.state_dir.exists()) == (3, 1, False)
    assert "would import 3 predictions" in trial.summary()
    switch.imports(ALICE)
    lock = lock_state_dir(switch.state_dir)  # our miner may run
    trial = switch.imports(is_trial=True)
    assert (trial.waiting, trial.confirmed, trial.known) == (1, 1, 2)
    assert lock > 0


def test_it_is_refused_while_our_miner_runs(switch: Switch) -> None:
    lock = lock_state_dir(switch.state_dir)
    with pytest.raises(Unavailable, match="in use"):
        switch.imports()
    assert lock > 0


def test_an_import_that_fails_half_way_leaves_nothing(switch: Switch) -> None:
    write_csv(switch.source, *({"prediction_id": f"{n:05}"} for n in range(2500)))
    with switch.source.open("ab") as end:
        end.write(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="no UTF-8 text"):
        switch.imports()
    assert switch.rows() == []


def test_a_full_disk_is_told(switch: Switch) -> None:
    switch.state_dir.mkdir()
    write_outbox(switch.state_dir)
    with closing(sqlite3.connect(switch.state_dir / OUTBOX)) as outbox:
        full = "SELECT RAISE(ABORT, 'database or disk is full')"
        outbox.execute(f"CREATE TRIGGER full BEFORE INSERT ON predictions BEGIN {full}; END")
    with pytest.raises(BettensorError, match="cannot be written, and stays as it was: database or disk is full"):
        switch.imports()


def test_an_outbox_that_cannot_be_read_is_told(switch: Switch) -> None:
    switch.state_dir.mkdir()
    (switch.state_dir / OUTBOX).write_bytes(b"no database" * 1000)
    for is_trial in (True, False):
        with pytest.raises(ConfigurationError, match="file is not a database"):
            switch.imports(is_trial=is_trial)


# --- the command

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(switch: Switch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        words = [*arguments] if "--config" in arguments else ["--state-dir", str(switch.state_dir), *arguments]
        code = main(["predictions", "import", str(switch.source), *words])
        return code, *capsys.readouterr()

    return run


def test_the_command_tells_what_it_did(run: Run) -> None:
    code, out, err = run("--validator", ALICE, "--validator", BOB)
    assert (code, err) == (0, "")
    assert "imported 3 predictions without a verdict and 1 confirmed before, for 2 validators" in out
    code, out, _ = run("--validator", ALICE, "--json", "--dry-run")
    done = json.loads(out)
    assert (code, done["known"], done["waiting"], done["validators"], done["dry_run"]) == (0, 2, 0, [ALICE], True)


def test_the_validators_of_the_configuration_or_of_the_kept_metagraph(switch: Switch, run: Run, tmp_path: Path) -> None:
    config = tmp_path / "miner.yaml"
    known = f"role: miner\nnetuid: 30\nwallet: {{name: w}}\nstate_dir: {switch.state_dir}\n"
    config.write_text(f"{known}validators: [{ALICE}]\n")
    code, out, _ = run("--config", str(config), "--json")
    assert (code, json.loads(out)["validators"]) == (0, [ALICE])
    (switch.state_dir / KEPT).write_bytes(msgspec.json.encode(KeptMetagraph("30", MetagraphFetched(VALIDATORS))))
    code, out, _ = run("--json")
    assert (code, json.loads(out)["validators"]) == (0, [ALICE, BOB, CHARLIE])


def test_the_wrong_neuron_is_refused(switch: Switch, run: Run) -> None:
    switch.state_dir.mkdir()
    (switch.state_dir / LEDGER).touch()
    code, _, err = run()
    assert (code, "is the state_dir of a validator; name that of a miner" in err) == (2, True)


def test_a_running_miner_is_named_with_the_way_to_stop_it(switch: Switch, run: Run) -> None:
    lock = lock_state_dir(switch.state_dir)
    code, _, err = run("--validator", ALICE)
    assert (code, f"`bettensor stop --state-dir {switch.state_dir}`" in err) == (1, True)
    assert lock > 0
