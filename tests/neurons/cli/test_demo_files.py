"""The demo's neurons can be started with the files that are written for them."""

from pathlib import Path

from bettensor.neurons.cli.demo_files import set_websocket
from bettensor.neurons.cli.demo_subnet import Demo
from bettensor.neurons.config.loading import load_settings


def test_each_neuron_has_its_configuration_and_a_way_to_the_validator(tmp_path: Path) -> None:
    demo = Demo(tmp_path, 2, 20.0)
    for player in demo.players:
        settings = load_settings(tmp_path / f"{player.name}.yaml")
        assert settings.state_dir == player.state_dir
        assert settings.wallet.hotkey == player.name
        assert player.wire is None or f":{player.wire.port}" in (tmp_path / f"{player.name}-metagraph.yaml").read_text()
    assert (tmp_path / "games.json").exists()


def test_a_miner_is_told_to_do_without_the_websocket(tmp_path: Path) -> None:
    (miner,) = Demo(tmp_path, 1, 20.0).miners
    for enabled in (False, True):
        miner.websocket = enabled
        set_websocket(tmp_path, miner)
        assert load_settings(tmp_path / "miner-1.yaml").websocket.enabled is enabled
