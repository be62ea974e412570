"""The simulated chain, seen through bittensor's own client."""

import asyncio
from pathlib import Path
from typing import Any

import bittensor
import pytest

from bettensor.bus.events import NeuronInfo
from bettensor.bus.identifiers import Uid
from bettensor.neurons.simulation import SimulatedSubstrate
from tests.support import NETUID, make_hotkey

ROWS = [
    NeuronInfo(
        Uid(0), make_hotkey("validator"), coldkey="5cold", validator_permit=True, stake=2.5, axon="10.0.0.1:8091"
    ),
    NeuronInfo(Uid(1), make_hotkey("miner"), coldkey="5warm", axon="[2001:db8::1]:9"),
    NeuronInfo(Uid(2), make_hotkey("silent"), coldkey="5warm"),
]


@pytest.fixture
def substrate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedSubstrate:
    monkeypatch.setenv("BTCLI_CONFIG", str(tmp_path / "config.json"))
    substrate = SimulatedSubstrate(NETUID)
    substrate.neurons = list(ROWS)
    return substrate


async def test_the_metagraph_has_every_row_as_the_client_reads_it(substrate: SimulatedSubstrate) -> None:
    client: Any = bittensor.Client("local", substrate=substrate)  # type: ignore[arg-type]
    await client.connect()
    metagraph = await client.subnets.metagraph(NETUID, commitments=False)
    await client.close()
    assert substrate.readings == 1
    assert [neuron.hotkey for neuron in metagraph.neurons] == [row.hotkey for row in ROWS]
    assert [neuron.validator_permit for neuron in metagraph.neurons] == [True, False, False]


async def test_another_subnet_is_not_there(substrate: SimulatedSubstrate) -> None:
    assert await substrate.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [NETUID + 1]) is None
    with pytest.raises(NotImplementedError, match=r"Other\.get_metagraph"):
        await substrate.runtime_call("Other", "get_metagraph", [NETUID])


async def test_a_chain_that_is_down_refuses_everything_with_its_reason(substrate: SimulatedSubstrate) -> None:
    substrate.down = "no route to host"
    for ask in (substrate.connect, substrate.block_number, substrate.block_hash, substrate.query_map):
        with pytest.raises(ConnectionError, match="no route to host"):
            await ask()
    assert substrate.connections == 0
    substrate.down = None
    await substrate.connect()
    assert substrate.connections == 1


async def test_a_silent_chain_never_answers(substrate: SimulatedSubstrate) -> None:
    substrate.silent = True
    asking = asyncio.create_task(substrate.block_number())
    await asyncio.sleep(0)
    assert not asking.done()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_the_time_is_that_of_the_newest_block_and_nothing_else_is_stored(substrate: SimulatedSubstrate) -> None:
    substrate.now = 1_780_000_000_000
    assert await substrate.query("Timestamp", "Now") == substrate.now
    assert await substrate.query("System", "Now") is None
    assert await substrate.query_map("SubtensorModule", "Keys") == []
    assert (await substrate.block_hash(7), await substrate.block_hash()) == (f"0x{7:064x}", f"0x{1:064x}")


class Announcement:
    """A call ``serve_axon``, as far as the chain looks at it."""

    def __init__(self, ip: int, port: int) -> None:
        self.params = {"ip": ip, "port": port}


class Signer:
    ss58_address = ROWS[2].hotkey


async def test_an_announcement_changes_the_row_of_its_signer_alone(substrate: SimulatedSubstrate) -> None:
    call = await substrate.compose(Announcement(0x0A000002, 8091))
    assert (await substrate.submit(call, Signer())).success
    assert [row.axon for row in substrate.neurons] == [ROWS[0].axon, ROWS[1].axon, "10.0.0.2:8091"]
    await substrate.submit(Announcement(0x20010DB8 << 96 | 1, 80), Signer())
    assert substrate.neurons[2].axon == "[2001:db8::1]:80"
    assert len(substrate.submitted) == 2


async def test_a_call_that_is_refused_changes_nothing(substrate: SimulatedSubstrate) -> None:
    substrate.refusal = "ServingRateLimitExceeded"
    result = await substrate.submit(Announcement(1, 2), Signer())
    assert (result.success, result.message) == (False, "ServingRateLimitExceeded")
    assert substrate.neurons == ROWS
    assert len(substrate.submitted) == 1
