"""A validator that is told to stop: what it took is answered, and whoever was connected comes back."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bettensor.actors.miner.reconnect import RETURN_WINDOW
from bettensor.bus.events import NeuronStopping, PredictionMade, SessionActivated
from bettensor.neurons.state_dir import lock_state_dir
from tests.loopback.chaos import RestlessMiner, answering, start, stored
from tests.loopback.processes import free_port, running_subnet
from tests.loopback.rig import ALICE, BOB, running_miner, running_validator, write_configuration
from tests.loopback.test_miner import events, register_miner, until
from tests.support import make_hotkey, make_prediction


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopped_under_load_it_answers_all_that_it_took(tmp_path: Path, number: signal.Signals) -> None:
    random, port = Random(number), free_port()
    config = write_configuration(tmp_path, axon={"ip": "127.0.0.1", "port": port})
    validator = (tmp_path / "hotkey").read_text()
    miners = [RestlessMiner(ALICE, validator, port, 1), RestlessMiner(BOB, validator, port, 2)]
    for _ in range(4):
        with start(config) as process:
            await answering(port)
            lives = [asyncio.create_task(miner.live(more=20)) for miner in miners]
            await asyncio.wait_for(asyncio.gather(*(miner.connected.wait() for miner in miners)), 10)
            await asyncio.sleep(random.uniform(0.1, 0.5))
            began = time.monotonic()
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 20) == 0
            assert time.monotonic() - began < 10  # with a load that never pauses, it stopped before its patience ended
            await asyncio.gather(*lives)
        for miner in miners:
            miner.connected.clear()
            told = {prediction for hotkey, prediction, _, _ in stored(tmp_path) if hotkey == miner.keypair.ss58_address}
            assert told == set(miner.verdicts)  # nothing was stored without being said
    assert not any(miner.changed for miner in miners)
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    port = free_port()
    config = write_configuration(tmp_path, axon={"ip": "127.0.0.1", "port": port})
    with start(config) as process:
        await answering(port)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /ws/health HTTP/1.1\r\n")  # a request that does not end, for which a stop waits
        await writer.drain()
        process.send_signal(signal.SIGTERM)
        while "Stopping" not in (tmp_path / "log").read_text():  # noqa: ASYNC110 - files have no event
            await asyncio.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 2) == 1
        writer.close()


async def test_a_rolling_restart_loses_nothing_and_everybody_is_back_within_the_window(tmp_path: Path) -> None:
    miners = ("alice", "bob", "carol")
    async with running_subnet(tmp_path, *miners) as subnet:
        for _ in range(3):
            before = {name: len(subnet.log(name)) for name in miners}
            assert await subnet.stop("validator") == 0
            subnet.start("validator")
            for name in miners:
                await subnet.says(name, "WebSocket connection established with validator", before[name])
                said = subnet.log(name)[before[name] :]
                (wait,) = re.findall(r"4200.*\n.*Reconnecting to.* in ([\d.]+) s", said)[:1]
                assert float(wait) <= RETURN_WINDOW
                await subnet.predict(name)
        await subnet.settle(games=4)


@asynccontextmanager
async def cancelled_while_it_stops(neuron: AbstractAsyncContextManager[Any], turns: int) -> AsyncIterator[Any]:
    """``neuron``, whose end is cancelled after so many turns of the event loop; of its tasks none is left."""
    begun: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()

    async def live() -> None:
        async with neuron as running:
            begun.set_result(running)
            await ending.wait()

    before = asyncio.all_tasks()
    life = asyncio.create_task(live())
    yield await begun
    ending.set()
    for _ in range(1 + turns):
        await asyncio.sleep(0)
    life.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life
    for _ in range(5):  # what was cancelled ends in a turn or two
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()


def assert_nothing_is_open(state_dir: Path) -> None:
    assert not (state_dir / "control.sock").exists()
    assert not list(state_dir.glob("*-wal"))  # SQLite deletes it with the last connection
    os.close(lock_state_dir(state_dir))


@pytest.mark.parametrize("turns", [1, 2, 5, 20])
async def test_a_miner_whose_stop_is_cancelled_leaves_nothing_open(tmp_path: Path, turns: int) -> None:
    async with running_validator(tmp_path, **register_miner(tmp_path)) as rig:
        async with cancelled_while_it_stops(running_miner(rig), turns) as (miner, theirs):
            await until(lambda: events(theirs, SessionActivated))
            miner.bus.publish(PredictionMade(make_hotkey("nobody"), make_prediction()))  # a verdict to wait for
        assert len(events(theirs, NeuronStopping)) == 1  # so its sessions end by a farewell, and need no deadline
        assert_nothing_is_open(miner.settings.state_dir)


@pytest.mark.parametrize("turns", [1, 2, 5, 20])
async def test_a_validator_whose_stop_is_cancelled_leaves_nothing_open(tmp_path: Path, turns: int) -> None:
    async with cancelled_while_it_stops(running_validator(tmp_path), turns) as rig:
        pass
    assert_nothing_is_open(rig.validator.settings.state_dir)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", rig.validator.port)
