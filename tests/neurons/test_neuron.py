"""A neuron gives its folder back, and follows its files.

Whole neurons work in ``tests/loopback``, and as processes in ``tests/neurons/cli/test_main.py``.
"""

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    GamesFetched,
    LineLogged,
    NeuronStopped,
    NeuronStopping,
    SettingsReloaded,
    WatchRefused,
)
from bettensor.neurons.config import yaml_text
from bettensor.neurons.edges.control import Control
from bettensor.neurons.state_dir import lock_state_dir
from bettensor.neurons.system import files
from tests.loopback.rig import running_validator, starting_soon
from tests.neurons.unwatched import REASONS, refuse_watches


async def test_a_neuron_gives_its_folder_back_also_if_it_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        async with running_validator(tmp_path, blacklist="absent.yaml"):
            raise AssertionError
    os.close(lock_state_dir(tmp_path / "state"))


@pytest.mark.parametrize("step", ["pause", "settle", "close"])
async def test_a_neuron_says_that_it_has_stopped_also_if_an_edge_fails_meanwhile(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = getattr(Control, step)

    async def fail(edge: Control) -> None:
        await work(edge)
        raise RuntimeError("no more")

    monkeypatch.setattr(Control, step, fail)
    with pytest.raises(RuntimeError, match=r"^no more$"):
        async with running_validator(tmp_path) as rig:
            rig.validator.request_stop("a test")
    assert rig.all(NeuronStopping) == [NeuronStopping("a test")]
    assert rig.all(NeuronStopped) == [NeuronStopped("a test")]
    (line,) = [line.text for line in rig.all(LineLogged) if line.text.startswith("Stopped")]
    assert line.endswith(": a test")
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


async def test_sessions_go_on_while_files_are_read_again_one_reading_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    go_on = threading.Event()
    read = yaml_text.parse_yaml

    def slowly(text: str) -> object:
        reads.append(text)
        assert go_on.wait(20)
        return read(text)

    async with running_validator(tmp_path) as rig:
        monkeypatch.setattr(yaml_text, "parse_yaml", slowly)
        both = asyncio.gather(rig.validator.reload(), rig.validator.reload())
        async with rig.client(activate=False):  # a whole handshake
            pass
        async with asyncio.timeout(20):
            while not reads:  # noqa: ASYNC110 - a thread reads
                await asyncio.sleep(0.001)
        assert (len(reads), rig.all(SettingsReloaded)) == (1, [])
        go_on.set()
        await both
        assert len(rig.all(SettingsReloaded)) == 2
