"""A validator that is told to stop: what it took is answered, and whoever was connected comes back."""

import asyncio
import re
import signal
import time
from pathlib import Path
from random import Random

import pytest

from actors.reconnect import RETURN_WINDOW
from tests.loopback.chaos import RestlessMiner, answering, start, stored
from tests.loopback.processes import free_port, running_subnet
from tests.loopback.rig import ALICE, BOB, write_configuration


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
                (wait,) = re.findall(r"4200.*\n.*Connecting again.* in ([\d.]+) s", said)[:1]
                assert float(wait) <= RETURN_WINDOW
                await subnet.predict(name)
        await subnet.settle(games=4)
