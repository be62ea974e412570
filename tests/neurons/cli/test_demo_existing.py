"""An existing miner of the demo, without its process; and the demo with real ones, where they can be installed."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bettensor.neurons.cli import demo
from bettensor.neurons.cli.demo_existing import RELEASE, ExistingPlayer
from bettensor.neurons.cli.demo_outcome import outcome_of, print_outcome
from bettensor.neurons.cli.demo_player import Player
from bettensor.neurons.cli.demo_subnet import Demo
from bettensor.neurons.cli.demo_view import demo_view
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.existing.environment import CannotInstall
from tests.loopback.mixed import python_of
from tests.neurons.cli.drawing import drawn, status_of

ASKED: dict[str, Any] = {"state": "by Synapse", "transport": "synapse"}
PATIENCE = 120.0


def bets(player: ExistingPlayer, *messages: str | None) -> None:
    """The database of an existing miner: a confirmed bet for each message, another for None."""
    with closing(sqlite3.connect(player.file)) as database, database:
        database.execute("CREATE TABLE predictions (confirmed INTEGER, message TEXT)")
        rows = [(int(message is not None), message) for message in messages]
        database.executemany("INSERT INTO predictions VALUES (?, ?)", rows)


class Alive:
    """A process that runs."""

    def poll(self) -> None:
        return None


def player_in(folder: Path) -> ExistingPlayer:
    player = ExistingPlayer("existing-1", folder)
    player.process = Alive()  # type: ignore[assignment]
    return player


def test_its_verdicts_are_the_codes_of_what_the_validator_told_it(tmp_path: Path) -> None:
    player = player_in(tmp_path)
    player.look()
    assert (player.status, player.is_settled()) == (None, False)
    bets(player, "accepted", "accepted", "odds_mismatch: the odds are 2", "odds_mismatch: the odds are 3", None)
    player.look()
    assert player.codes == {"accepted": 2, "odds_mismatch": 2, None: 1}
    assert not player.is_settled()
    with closing(sqlite3.connect(player.file)) as database, database:
        database.execute("DELETE FROM predictions WHERE message IS NULL")
    player.look()
    assert player.is_settled()


def test_a_database_that_is_being_made_is_no_news(tmp_path: Path) -> None:
    player = player_in(tmp_path)
    player.file.touch()
    player.look()
    assert player.status is None


def test_its_state_is_what_the_validator_says_of_it(tmp_path: Path) -> None:
    player = player_in(tmp_path)
    assert player.describe() == ("starting", "")
    player.see({"state": "not seen", "transport": None})
    assert player.describe() == ("starting", "")
    assert not player.has_begun()
    player.see(ASKED)
    assert player.describe() == ("by Synapse", "Synapse")
    player.see({"state": "not connected", "transport": None})
    assert player.describe() == ("not connected", "")
    player.see(None)
    assert player.describe() == ("not asked", "")
    assert player.has_begun()
    player.process = None
    assert player.describe() == ("down", "")


def test_the_validator_is_configured_to_ask_them_and_they_to_answer_it_alone(tmp_path: Path) -> None:
    subnet = Demo(tmp_path, 1, 20.0, existing=2)
    settings = load_settings(tmp_path / "validator.yaml")
    assert settings.synapse.enabled
    metagraph = (tmp_path / "validator-metagraph.yaml").read_text()
    for uid, player in enumerate(subnet.existing, start=2):
        told = json.loads(player.settings.read_text())
        assert (told["uid"], told["port"], told["wallet"]["hotkey"]) == (uid, player.port, player.name)
        assert len(told["validators"]) == 1
        assert f"127.0.0.1:{player.port}" in metagraph
    assert not load_settings(_alone(tmp_path / "alone") / "validator.yaml").synapse.enabled


def _alone(folder: Path) -> Path:
    folder.mkdir()
    Demo(folder, 1, 20.0)
    return folder


@pytest.mark.parametrize("width", [80, 120])
def test_they_have_their_rows_in_the_view(width: int, tmp_path: Path) -> None:
    subnet = Demo(tmp_path, 3, 60.0, existing=2)
    subnet.validator.last_status = status_of(3, slates=[{"games": []}])
    for player in subnet.existing:
        player.process = Alive()  # type: ignore[assignment]
        bets(player, "accepted", "accepted", "odds_mismatch: x", None)
        player.look()
        player.see(ASKED)
    lines = drawn(lambda screen: demo_view(subnet, 3.0, 60.0, screen), width, 40)
    assert "one validator, 3 miners and 2 existing miners" in lines[0]
    (row,) = [line.split() for line in lines if "existing-2" in line]
    assert row == ["existing-2", "by", "Synapse", *(["Synapse"] if width > 100 else []), "4", "1", "2", "1"]


def test_the_outcome_tells_how_they_were_asked_and_what_proves_their_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subnet = Demo(tmp_path, 1, 20.0, existing=1)
    (player,) = subnet.existing
    bets(player, "accepted", "game_started: late")
    player.look()
    player.see(ASKED)
    subnet.validator.state_dir.mkdir()
    with closing(sqlite3.connect(subnet.validator.state_dir / "ledger.sqlite3")) as ledger, ledger:
        ledger.execute("CREATE TABLE predictions (hotkey TEXT, proof TEXT)")
        rows = [(player.hotkey, "endpoint"), ("5Other", "signature")]
        ledger.executemany("INSERT INTO predictions VALUES (?, ?)", rows)
    monkeypatch.setattr(Player, "has_begun", lambda _: True)
    outcome = outcome_of(subnet)
    (told,) = outcome["existing"]
    assert told == {
        "name": "existing-1",
        "bittensor": RELEASE,
        "transport": "synapse",
        "proof": ["endpoint"],
        "verdicts": {"accepted": 1, "game_started": 1},
    }
    assert (outcome["ok"], outcome["pushed"], outcome["answered"]) == (True, 2, 2)
    print_outcome(subnet, outcome)
    said = " ".join(capsys.readouterr().out.split())
    assert "existing-1 2 1 1 - - 0" in said
    assert "asked via Synapse; proof of whose a prediction is: endpoint" in said


def test_what_cannot_be_installed_is_told_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(demo, "home_of", lambda _: tmp_path / "file" / "existing-10")
    with pytest.raises(CannotInstall, match=r"existing miners need bittensor 10, .+ in .+/file/existing-10: .+"):
        demo.run_demo(miners=1, existing=1)


@pytest.mark.slow
def test_real_existing_miners_take_part_and_nothing_is_left(tmp_path: Path) -> None:
    python_of(RELEASE)
    arguments = ("demo", "--miners", "1", "--existing", "2", "--duration", "3", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "bettensor.neurons", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["ok"], outcome["pushed"]) == (True, outcome["answered"])
    for existing in outcome["existing"]:
        assert (existing["transport"], existing["proof"]) == ("synapse", ["endpoint"])
        assert existing["verdicts"]["accepted"] > 0
    assert list(tmp_path.iterdir()) == []
