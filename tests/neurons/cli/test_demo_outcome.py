"""Predictions without a verdict are a failure, and are counted."""

from pathlib import Path

import pytest

from bettensor.neurons.cli.demo_outcome import outcome_of, print_outcome
from bettensor.neurons.cli.demo_player import Player
from bettensor.neurons.cli.demo_subnet import Demo


def test_a_prediction_without_a_verdict_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subnet = Demo(tmp_path, 1, 20.0)
    (miner,) = subnet.miners
    miner.codes.update({"accepted": 1, None: 1})
    monkeypatch.setattr(Player, "has_begun", lambda _: True)
    outcome = outcome_of(subnet)
    assert (outcome["ok"], outcome["pushed"], outcome["answered"]) == (False, 2, 1)
    print_outcome(subnet, outcome)
    assert "FAILED: 1 of 2 predictions have no verdict" in capsys.readouterr().out


def test_a_miner_that_never_began_fails_the_demo(tmp_path: Path) -> None:
    subnet = Demo(tmp_path, 2, 20.0)
    subnet.miners[0].codes.update({"accepted": 1})
    for miner, began in zip(subnet.miners, (True, False), strict=True):
        miner.state_dir.mkdir()
        if began:
            (miner.state_dir / "outbox.sqlite3").touch()
    outcome = outcome_of(subnet)
    assert (outcome["ok"], outcome["pushed"], outcome["answered"]) == (False, 1, 1)
    (subnet.miners[1].state_dir / "outbox.sqlite3").touch()
    assert outcome_of(subnet)["ok"]
