"""A real validator asks existing miners over real sockets, good and bad ones together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bettensor.bus.events import (
    AxonConfirmed,
    AxonFailed,
    AxonQueryRequested,
    LineLogged,
    StatusReported,
    StatusRequested,
)
from tests.loopback.existing import ExistingMiner, read_request, serving
from tests.loopback.rig import ALICE, PATIENCE, Rig, running_validator, write, write_configuration


@asynccontextmanager
async def asking(folder: Path, *neurons: dict[str, Any], **synapse: Any) -> AsyncIterator[Rig]:
    """A validator that asks these neurons."""
    write_configuration(folder)
    own = {"hotkey": (folder / "hotkey").read_text(), "validator_permit": True}
    write(folder / "neurons.yaml", {"neurons": [own, *neurons, {"hotkey": ALICE.ss58_address}]})
    section = {"enabled": True, "query_interval": 0.5, "timeout": 5.0} | synapse
    async with running_validator(folder, synapse=section, metagraph={"static": "neurons.yaml"}) as rig:
        yield rig


def row(miner: ExistingMiner, endpoint: str) -> dict[str, Any]:
    return {"hotkey": miner.hotkey, "axon": endpoint}


def status(rig: Rig) -> dict[str, dict[str, Any]]:
    """The peers, by hotkey, as ``bettensor peers`` shows them."""
    rig.validator.bus.publish(StatusRequested(1))
    return {peer["hotkey"]: peer for peer in rig.all(StatusReported)[-1].status["peers"]}


async def test_an_existing_miner_is_asked_and_confirmed(tmp_path: Path) -> None:
    miner = ExistingMiner("existing")
    rejected = miner.predict(wager=-1.0)
    async with serving(miner.serve) as endpoint, asking(tmp_path, row(miner, endpoint)) as rig:
        await rig.until(AxonConfirmed)
        await rig.until(AxonQueryRequested, 3)
        peer = status(rig)[miner.hotkey]
        assert (peer["state"], peer["transport"], peer["trouble"]) == ("by Synapse", "synapse", "")
        assert (peer["accepted"], peer["rejected"]) == (1, 1)
        assert peer["heard_s"] is not None
        new = miner.predict(wager=2.0)
        await rig.until(AxonConfirmed, 2)
        assert len(rig.all(AxonConfirmed)) == 2
    first, second = miner.confirmations
    assert [first[name]["success"] for name in miner.predictions if name in first] == ["True", "False"]
    assert first[rejected]["message"].startswith("invalid_wager: ")
    assert second[new]["success"] == "True"
    lines = [line.text for line in rig.all(LineLogged)]
    assert f"Sent confirmation for prediction {new} via Synapse" in lines
    assert sum("Refused" in line or "closed" in line.lower() for line in lines) == 0


async def test_a_refusal_is_told_once_with_the_miners_words_and_the_cure(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        body = b'{"message": "Forbidden. Key is blacklisted: no permit"}'
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    miner = ExistingMiner("existing")
    async with serving(refuse) as endpoint, asking(tmp_path, row(miner, endpoint), query_interval=0.1) as rig:
        await rig.until(AxonFailed, 3)
        peer = status(rig)[miner.hotkey]
    assert peer["state"] == "not connected"
    assert "403 Forbidden. Key is blacklisted: no permit" in peer["trouble"]
    assert "stake more" in peer["cure"]
    lines = [(line.level, line.text) for line in rig.all(LineLogged) if "gave no answer via Synapse" in line.text]
    assert [level for level, _ in lines][:3] == ["WARNING", "DEBUG", "DEBUG"]
    assert "no permit (existing miners answer validators with" in lines[0][1]


async def test_a_validator_with_hanging_miners_stops_soon(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with AsyncExitStack() as stack:
        miners = [ExistingMiner(f"existing-{number}") for number in range(3)]
        rows = [row(miner, await stack.enter_async_context(serving(hang))) for miner in miners]
        async with AsyncExitStack() as running:
            rig = await running.enter_async_context(asking(tmp_path, *rows, timeout=600.0))
            await rig.until(AxonQueryRequested, 3)
            async with asyncio.timeout(PATIENCE):
                await running.aclose()
