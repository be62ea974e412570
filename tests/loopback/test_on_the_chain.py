"""A real validator and a real miner that know each other from a chain (in memory, behind bittensor's real client)."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from bittensor import Client

from bus.codes import CloseCode
from bus.events import ChainFailed, ConnectionClosed, MetagraphSynced, Neuron, PeerRefused, SessionActivated
from bus.identifiers import Hotkey, Uid
from neurons.cli import main
from neurons.control_client import ask
from neurons.edges import chain
from neurons.simulation import SimulatedSubstrate
from tests.loopback.rig import ALICE, running_miner, running_validator
from tests.loopback.test_miner import events, register_miner, until
from tests.support import NETUID

ON_CHAIN: dict[str, Any] = {"metagraph": {}, "subtensor": {"network": "local"}}


@pytest.fixture
def substrate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedSubstrate:
    """The chain that every neuron of this process reads."""
    substrate = SimulatedSubstrate(NETUID)
    monkeypatch.setenv("BTCLI_CONFIG", str(tmp_path / "bittensor" / "config.json"))
    monkeypatch.setattr(chain, "BLOCK_INTERVAL", 0.05)
    monkeypatch.setattr(chain, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(chain, "make_client", lambda chosen: Client(chosen, substrate=substrate))  # type: ignore[arg-type]
    return substrate


def neuron(uid: int, hotkey: str, **changes: Any) -> Neuron:
    return Neuron(Uid(uid), Hotkey(hotkey), **changes)


EAGER = {"metagraph": {"early_sync_interval": 0.05}}
SILENT = {"predictor": {"edge": 0.0}}


async def test_a_miner_is_registered_admitted_moved_and_deregistered(
    tmp_path: Path, substrate: SimulatedSubstrate
) -> None:
    register_miner(tmp_path)
    async with running_validator(tmp_path, actors=EAGER, **ON_CHAIN) as rig:
        me = neuron(0, rig.hotkey, validator_permit=True, axon=rig.address)
        substrate.neurons = [me]
        quickly: dict[str, Any] = {"websocket": {"reconnect_base_interval": 0.05, "max_reconnect_interval": 0.1}}
        async with running_miner(rig, actors=SILENT | EAGER, **ON_CHAIN, **quickly) as (miner, theirs):
            await until(lambda: rig.all(PeerRefused))  # nobody knows it yet
            assert rig.all(PeerRefused)[0].code == "not_registered"
            substrate.neurons = [me, neuron(1, miner.hotkey)]
            await until(lambda: events(theirs, SessionActivated))
            substrate.neurons = [me, neuron(1, "5other"), neuron(2, miner.hotkey)]
            rig.validator.reload()
            await until(lambda: rig.all(MetagraphSynced)[-1].neurons[2:])
            assert len(events(theirs, ConnectionClosed)) == 0  # another uid, the same session
            substrate.neurons = [me, neuron(1, "5other")]
            rig.validator.reload()
            await until(lambda: events(theirs, ConnectionClosed))
            assert events(theirs, ConnectionClosed)[0].code == CloseCode.NOT_REGISTERED


async def test_with_the_chain_down_a_restarted_validator_still_serves(
    tmp_path: Path, substrate: SimulatedSubstrate, capsys: pytest.CaptureFixture[str]
) -> None:
    register_miner(tmp_path)
    substrate.neurons = [neuron(0, ALICE.ss58_address), neuron(1, "5other", validator_permit=True)]
    async with running_validator(tmp_path, **ON_CHAIN) as rig:
        kept = rig.validator.settings.state_dir / "metagraph.json"
        await until(kept.exists)
    substrate.down = "connection refused"
    async with running_validator(tmp_path, **ON_CHAIN, metrics={"port": 0}) as rig:
        await rig.until(ChainFailed)
        assert rig.all(MetagraphSynced)[-1].source == "disk"
        async with rig.client() as alice:
            await alice.works()
        state = rig.validator.settings.state_dir
        status = await asyncio.to_thread(ask, state, {"ask": "status"})
        assert status["metagraph"]["source"] == "disk"
        assert 0 < status["metagraph"]["age_s"] < 60
        assert status["troubles"]["chain_failed"] >= 1
        assert await asyncio.to_thread(main, ["peers", "--state-dir", str(state)]) == 0
        assert "metagraph of block 1, " in capsys.readouterr().out
        assert rig.validator.metrics is not None
        sample = rig.validator.metrics.registry.get_sample_value
        assert time.time() - (sample("bettensor_metagraph_read_timestamp_seconds") or 0) < 60
        assert (sample("bettensor_chain_failures_total") or 0) >= 1
