"""A real validator and a real miner that know each other from a chain (in memory, behind bittensor's real client)."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from bittensor import Client

from bettensor.actors import announce
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    Announced,
    AnnouncementContested,
    AnnouncePlanned,
    ChainFailed,
    ConnectionClosed,
    DialFailed,
    LineLogged,
    MetagraphSynced,
    NeuronInfo,
    PeerRefused,
    PostFailed,
    SessionActivated,
)
from bettensor.bus.identifiers import Hotkey, Micros, Uid
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges import chain
from bettensor.neurons.simulation import SimulatedSubstrate
from tests.loopback.processes import free_port
from tests.loopback.rig import ALICE, Place, Rig, running_miner, running_validator, write
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


def neuron(uid: int, hotkey: str, **changes: Any) -> NeuronInfo:
    return NeuronInfo(Uid(uid), Hotkey(hotkey), **changes)


def ended(envelopes: list[Envelope]) -> list[int]:
    """How each session ended; exchanges by HTTP are none."""
    return [event.code for event in events(envelopes, ConnectionClosed) if event.connection > 0]


def pinned(folder: Path) -> dict[str, Any]:
    """What a validator must say of the miner of ``register_miner``: the chain does not tell that its key is ed25519."""
    return ON_CHAIN | {"auth": {"schemes": {(folder / "miner-hotkey").read_text(): "ed25519"}}}


EAGER = {"metagraph": {"early_sync_interval": 0.05}}
SILENT = {"predictor": {"edge": 0.0}}


async def test_a_miner_is_registered_admitted_moved_and_deregistered(
    tmp_path: Path, substrate: SimulatedSubstrate
) -> None:
    register_miner(tmp_path)
    async with running_validator(tmp_path, actors=EAGER, **pinned(tmp_path)) as rig:
        me = neuron(0, rig.hotkey, validator_permit=True, axon=rig.address)
        substrate.neurons = [me]
        quickly: dict[str, Any] = {"websocket": {"reconnect_base_interval": 0.05, "max_reconnect_interval": 0.1}}
        async with running_miner(rig, actors=SILENT | EAGER, **ON_CHAIN, **quickly) as (miner, theirs):
            await until(lambda: rig.all(PeerRefused))  # nobody knows it yet
            assert rig.all(PeerRefused)[0].code == "not_registered"
            substrate.neurons = [me, neuron(1, miner.hotkey)]
            await until(lambda: events(theirs, SessionActivated))
            substrate.neurons = [me, neuron(1, "5other"), neuron(2, miner.hotkey)]
            await rig.validator.reload()
            await until(lambda: rig.all(MetagraphSynced)[-1].neurons[2:])
            assert ended(theirs) == []  # another uid, the same session
            substrate.neurons = [me, neuron(1, "5other")]
            await rig.validator.reload()
            await until(lambda: ended(theirs))
            assert ended(theirs)[0] == CloseCode.NOT_REGISTERED


async def test_before_its_first_reading_a_validator_sends_nobody_to_register(
    tmp_path: Path, substrate: SimulatedSubstrate, capsys: pytest.CaptureFixture[str]
) -> None:
    register_miner(tmp_path)
    substrate.down = "connection refused"
    quickly: dict[str, Any] = {"websocket": {"reconnect_base_interval": 0.05, "max_reconnect_interval": 0.1}}
    async with running_validator(tmp_path, **pinned(tmp_path)) as rig:
        neurons = [{"hotkey": rig.hotkey, "validator_permit": True, "axon": rig.address}]
        neurons.append({"hotkey": (tmp_path / "miner-hotkey").read_text()})
        known: dict[str, Any] = {"metagraph": {"static": write(tmp_path / "known.yaml", {"neurons": neurons}).name}}
        async with running_miner(rig, actors=SILENT, **quickly, **known) as (miner, theirs):
            await until(lambda: events(theirs, DialFailed) and events(theirs, PostFailed))
            failures = [*events(theirs, DialFailed), *events(theirs, PostFailed)]
            assert {(failed.status, failed.code) for failed in failures} == {(503, "no_metagraph")}
            async with httpx.AsyncClient(trust_env=False) as client:
                health = await client.get(f"http://{rig.address}/ws/health")
            assert (health.status_code, health.json()["status"]) == (503, "degraded")
            for state_dir in (rig.validator.settings.state_dir, miner.settings.state_dir):
                assert await asyncio.to_thread(main, ["peers", "--state-dir", str(state_dir)]) == 0
                said = "".join(capsys.readouterr())
                assert "this validator has not read the metagraph yet" in said
                assert "register" not in said
            lines = [line.text for line in [*rig.all(LineLogged), *events(theirs, LineLogged)]]
            assert any("no metagraph is known yet, so every miner gets 503" in line for line in lines)
            assert not any("register" in line or "last metagraph" in line for line in lines)
            substrate.neurons = [neuron(0, rig.hotkey, validator_permit=True, axon=rig.address)]
            substrate.neurons.append(neuron(1, miner.hotkey))
            substrate.down = None
            await until(lambda: events(theirs, SessionActivated))


async def test_a_miner_that_has_never_read_the_chain_is_not_sent_to_register(
    tmp_path: Path, substrate: SimulatedSubstrate, capsys: pytest.CaptureFixture[str]
) -> None:
    register_miner(tmp_path)
    substrate.down = "connection refused"
    place = Place(tmp_path, Hotkey((tmp_path / "hotkey").read_text()), "127.0.0.1:1")
    async with running_miner(place, actors=SILENT, **ON_CHAIN) as (miner, theirs):
        await until(lambda: events(theirs, ChainFailed))
        text = events(theirs, LineLogged)[-1].text
        assert "no metagraph is known yet, so this miner has no validator to connect to" in text
        assert await asyncio.to_thread(main, ["peers", "--state-dir", str(miner.settings.state_dir)]) == 0
        said = "".join(capsys.readouterr())
        assert "this miner has not read the metagraph yet" in said
        assert "register" not in said


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


async def test_a_validator_is_found_where_it_announces_itself_and_followed_when_it_moves(
    tmp_path: Path, substrate: SimulatedSubstrate
) -> None:
    register_miner(tmp_path)
    elsewhere = {"ip": "127.0.0.1", "port": 0, "external_ip": "127.0.0.1", "external_port": 1}
    async with running_validator(tmp_path, actors=EAGER, axon=elsewhere, **pinned(tmp_path)) as rig:
        substrate.neurons = [neuron(0, rig.hotkey, validator_permit=True), neuron(1, "5other")]
        await rig.validator.reload()
        (planned,) = await rig.until(AnnouncePlanned)
        assert planned.plan.startswith("serve axon 127.0.0.1:1 on netuid 30; fee ")
        await rig.until(Announced)
        assert substrate.neurons[0].axon == "127.0.0.1:1"
        async with running_miner(rig, actors=SILENT | EAGER, **ON_CHAIN) as (miner, theirs):
            await until(lambda: events(theirs, DialFailed))  # nobody is there
            moved = [neuron(0, rig.hotkey, validator_permit=True, axon=rig.address), neuron(1, miner.hotkey)]
            substrate.neurons = moved
            await rig.validator.reload()
            await until(lambda: miner.hotkey in [n.hotkey for n in rig.all(MetagraphSynced)[-1].neurons])
            await miner.reload()
            await until(lambda: events(theirs, SessionActivated))


async def test_a_miner_that_answers_existing_validators_announces_where(
    tmp_path: Path, substrate: SimulatedSubstrate
) -> None:
    register_miner(tmp_path)
    miner_hotkey = (tmp_path / "miner-hotkey").read_text()
    substrate.neurons = [neuron(0, ALICE.ss58_address, validator_permit=True), neuron(1, miner_hotkey)]
    place = Place(tmp_path, Hotkey((tmp_path / "hotkey").read_text()), "127.0.0.1:1")
    port = free_port()
    synapse = {"enabled": True, "ip": "127.0.0.1", "port": port, "external_ip": "127.0.0.1", "external_port": 443}
    async with running_miner(place, actors=SILENT | EAGER, **ON_CHAIN, synapse=synapse) as (_, theirs):
        await until(lambda: events(theirs, Announced))
        assert substrate.neurons[1] == neuron(1, miner_hotkey, axon="127.0.0.1:443")
        assert "Announced 127.0.0.1:443 on the chain" in [line.text for line in events(theirs, LineLogged)]
    assert len(substrate.submitted) == 1


async def read_until(rig: Rig, reached: Callable[[], object]) -> None:
    """Have the validator read the chain again and again."""
    async with asyncio.timeout(20):
        while not reached():
            await rig.validator.reload()
            await asyncio.sleep(0.01)


async def test_two_processes_of_one_hotkey_do_not_fight_over_the_entry(
    tmp_path: Path, substrate: SimulatedSubstrate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(announce, "SETTLING", Micros(50_000))
    there, here = "127.0.0.1:12345", {"ip": "127.0.0.1", "port": 0, "external_ip": "127.0.0.1", "external_port": 1}
    async with running_validator(tmp_path, actors=EAGER, axon=here, **ON_CHAIN) as rig:
        substrate.neurons = [neuron(0, rig.hotkey, validator_permit=True, axon=there)]
        await rig.validator.reload()
        await rig.until(Announced)
        await read_until(rig, lambda: rig.all(MetagraphSynced)[-1].neurons[0].axon == "127.0.0.1:1")
        substrate.neurons = [neuron(0, rig.hotkey, validator_permit=True, axon=there)]  # it was there first
        await read_until(rig, lambda: rig.all(AnnouncementContested))
        state = str(rig.validator.settings.state_dir)
        assert await asyncio.to_thread(main, ["peers", "--state-dir", state]) == 0
        told = "another process of this hotkey announces its own endpoint: the chain has 127.0.0.1:12345, "
        assert told in " ".join("".join(capsys.readouterr()).split())
        assert substrate.neurons[0].axon == there
    (line,) = [line for line in rig.all(LineLogged) if "Another process of this hotkey" in line.text]
    assert (line.level, "the other was there first" in line.text) == ("WARNING", True)


ROADS: list[dict[str, Any]] = [{}, {"websocket": {"enabled": False}}]


@pytest.mark.parametrize("changes", ROADS, ids=["websocket", "http"])
async def test_ipv6_works(tmp_path: Path, substrate: SimulatedSubstrate, changes: dict[str, Any]) -> None:
    register_miner(tmp_path)
    validator, miner = ((tmp_path / name).read_text() for name in ("hotkey", "miner-hotkey"))
    port = free_port()
    substrate.neurons = [
        neuron(0, validator, validator_permit=True, axon=f"[::1]:{port}"),
        neuron(1, miner),
    ]
    async with running_validator(tmp_path, axon={"ip": "::1", "port": port}, **pinned(tmp_path)) as rig:
        await rig.until(MetagraphSynced)
        async with running_miner(rig, actors=SILENT, **ON_CHAIN, **changes) as (running, _):
            await until(lambda: running.bus.counts["games_updated"])
