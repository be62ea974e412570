"""One neuron has one folder; and what is built wrongly is refused before it starts.

Whole neurons work in ``tests/loopback``, and as processes in ``tests/neurons/cli/test_main.py``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError, Unavailable
from bettensor.bus.events import GamesFetched, LineLogged, WatchRefused
from bettensor.neurons.neuron import lock_state_dir
from bettensor.neurons.system import files
from tests.loopback.rig import running_validator, starting_soon
from tests.neurons.unwatched import REASONS, refuse_watches


def test_a_folder_is_made_for_its_owner_alone_and_says_whose_it_is(tmp_path: Path) -> None:
    state_dir = tmp_path / "deep" / "state"
    lock = lock_state_dir(state_dir)
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert (state_dir / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(Unavailable, match=rf"is in use by another neuron \(process {os.getpid()}\)"):
        lock_state_dir(state_dir)
    os.close(lock)
    os.close(lock_state_dir(state_dir))


def test_a_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bettensor.neurons.neuron import lock_state_dir; "
        "lock_state_dir(Path(sys.argv[1])); os.abort()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert done.returncode < 0
    os.close(lock_state_dir(tmp_path))
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be used"):
        lock_state_dir(tmp_path / "file" / "state")


async def test_a_neuron_gives_its_folder_back_also_if_it_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        async with running_validator(tmp_path, blacklist="absent.yaml"):
            raise AssertionError
    os.close(lock_state_dir(tmp_path / "state"))


@pytest.mark.parametrize("why", REASONS)
async def test_a_neuron_that_cannot_watch_its_files_says_so_once_and_follows_them(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_watches(monkeypatch, why)
    monkeypatch.setattr(files, "POLL", 20)
    async with running_validator(tmp_path) as rig:
        await rig.until(WatchRefused, 2)  # of its games, and of its configuration
        (tmp_path / "games.json").write_text(json.dumps([starting_soon(game_id="new")]))
        fetched = (await rig.until(GamesFetched, 2))[-1]
        assert [game.game_id for game in fetched.games] == ["new"]
        (line,) = [line for line in rig.all(LineLogged) if "cannot be watched" in line.text]
        assert line.level == "WARNING"
        assert REASONS[why] in line.text
