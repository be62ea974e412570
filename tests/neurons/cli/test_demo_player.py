"""A neuron of the demo, as its process and its status show it."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bettensor.neurons.cli import demo_player
from bettensor.neurons.cli.demo_player import VALIDATOR, Player, await_end

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.mark.parametrize("stubborn", [False, True])
def test_whoever_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stubborn: bool) -> None:
    monkeypatch.setattr(demo_player, "STOP_TIMEOUT", 0.1 if stubborn else 30.0)
    code = STUBBORN if stubborn else "print(flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        player = Player("miner-1", tmp_path, process)
        process.terminate()
        await_end([player, Player("miner-2", tmp_path)])
        assert process.wait(20) == (-signal.SIGKILL if stubborn else -signal.SIGTERM)
    assert player.describe() == ("down", "")
    assert not player.works()


@pytest.mark.parametrize(
    ("peers", "told"),
    [
        ([], ("starting", "")),
        ([{"state": "connected", "transport": "websocket"}], ("connected", "WebSocket")),
        ([{"state": "by HTTP", "transport": "http"}], ("by HTTP", "HTTP")),
        ([{"state": "not connected", "transport": None}], ("not connected", "")),
    ],
)
def test_a_miner_is_described_by_its_peer(tmp_path: Path, peers: list[dict[str, Any]], told: tuple[str, str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        player = Player("miner-1", tmp_path, process)
        assert player.describe() == ("starting", "")
        player.status = {"peers": peers}
        assert player.describe() == told
        assert player.works() is bool(told[1])


def test_a_neuron_without_files_has_said_nothing(tmp_path: Path) -> None:
    player = Player(VALIDATOR, tmp_path)
    player.look()
    assert (player.status, player.codes.total(), player.end_of_log(), player.has_begun()) == (None, 0, "", False)
    (tmp_path / "validator.log").write_text("\n".join(map(str, range(20))))
    assert player.end_of_log().splitlines() == [str(number) for number in range(5, 20)]
