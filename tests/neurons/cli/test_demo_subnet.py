"""A validator that does not answer; and what keys do."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bettensor.neurons.cli import demo_subnet
from bettensor.neurons.cli.demo_player import Player
from bettensor.neurons.cli.demo_subnet import Demo, DemoFailed


def sleep(player: Player) -> None:
    """Start a process that says nothing."""
    player.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])


def test_a_validator_that_does_not_answer_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Player, "start", sleep)
    monkeypatch.setattr(demo_subnet, "START_TIMEOUT", 0.2)
    demo = Demo(tmp_path, 1, 1.0)
    try:
        with pytest.raises(DemoFailed, match=r"does not answer within 0\.2 s"):
            demo.start()
    finally:
        demo.close()


def test_a_closed_demo_has_no_process_and_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Player, "start", sleep)
    monkeypatch.setattr(Demo, "look", lambda _: None)
    demo = Demo(tmp_path, 2, 1.0)
    demo.validator.status = {"slates": [{}]}
    try:
        demo.start()
        assert "wires" in [thread.name for thread in threading.enumerate()]
        demo.press("2")
        demo.press("n")
        assert [miner.wire is not None and miner.wire.cut for miner in demo.miners] == [False, True]
        assert [(fault.who, fault.kind) for fault in demo.faults] == [("miner-2", "network cut")]
        assert not demo.press("q")
    finally:
        demo.close()
    assert all(player.process is not None and player.process.poll() is not None for player in demo.players)
    assert "wires" not in [thread.name for thread in threading.enumerate()]
