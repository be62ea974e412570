"""What becomes a process of its own: the neuron of the settings' role, in an interpreter that does not make it wait.

Whole processes are started and stopped in ``tests/neurons/cli/test_main.py``.
"""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import Settings
from bettensor.neurons.launch import COLLECTOR_THRESHOLD, SWITCH_INTERVAL, build, check, tune_interpreter
from bettensor.neurons.miner import Miner
from bettensor.neurons.validator import Validator
from tests.loopback.rig import write, write_configuration
from tests.support import NETUID


@pytest.fixture
def untuned() -> Iterator[None]:
    """The interpreter is afterwards as it was before."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)
    gc.unfreeze()


@pytest.mark.usefixtures("untuned")
def test_threads_are_switched_soon_and_cycles_are_looked_for_seldom() -> None:
    tune_interpreter()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    assert gc.get_threshold()[0] == COLLECTOR_THRESHOLD
    assert gc.get_freeze_count() > 0


def test_settings_of_a_validator_make_a_validator(tmp_path: Path) -> None:
    neuron = build(load_settings(write_configuration(tmp_path)))
    assert isinstance(neuron, Validator)
    assert neuron.hotkey == (tmp_path / "hotkey").read_text()


def test_settings_of_a_miner_make_a_miner(tmp_path: Path) -> None:
    write_configuration(tmp_path)
    settings = {
        "role": "miner",
        "netuid": NETUID,
        "state_dir": "miner-state",
        "wallet": {"name": "test", "hotkey": "validator", "path": str(tmp_path / "wallets")},
        "metagraph": {"static": "metagraph.yaml"},
    }
    assert isinstance(build(load_settings(write(tmp_path / "miner.yaml", settings))), Miner)


def test_what_cannot_be_built_is_refused_before_anything_is_on_disk(tmp_path: Path) -> None:
    config = write_configuration(
        tmp_path, wallet={"name": "test", "hotkey": "absent", "path": str(tmp_path / "wallets")}
    )
    with pytest.raises(ConfigurationError, match="has no hotkey 'absent'"):
        build(load_settings(config), str(config))
    assert not (tmp_path / "state").exists()


def test_every_edge_looks_at_its_own_files(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    write(tmp_path / "metagraph.yaml", {"neurons": [{"hotkey": "none"}]})
    write(tmp_path / "blacklist.yaml", {"hotkeys": ["none"]})
    (tmp_path / "games.json").write_text('{"games": [7]}')
    settings = load_settings(config)
    faults = check(settings, "settings")
    assert [fault.partition(": ")[0] for fault in faults] == [
        str(tmp_path / name) for name in ("metagraph.yaml", "blacklist.yaml", "games.json")
    ]


def with_feed(folder: Path, **feed: Any) -> Settings:
    return load_settings(
        write_configuration(folder, edges={"game_feed": feed}, games={"path": str(folder / "absent.json")})
    )


def test_a_feed_in_the_place_of_the_file_is_judged_by_what_it_needs_and_not_by_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_feed(tmp_path, **{"class": "bettensor.edges:OddsApiFeed"}, sports=["baseball_mlb"])
    monkeypatch.setenv("ODDS_API_KEY", "secret")
    assert check(settings, "settings") == []
    monkeypatch.delenv("ODDS_API_KEY")
    with pytest.raises(ConfigurationError, match="ODDS_API_KEY is not set"):
        check(settings, "settings")


def test_a_feed_of_ones_own_needs_no_games_file(tmp_path: Path) -> None:
    settings = with_feed(tmp_path, **{"class": "examples.csv_feed:CsvFeed"}, path="absent.csv")
    assert check(settings, "settings") == []
