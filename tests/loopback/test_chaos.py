"""Killed at any instant: what was confirmed is in the database exactly once, and every prediction gets one verdict.

``make chaos ROUNDS=300`` does more of the same.
"""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.loopback.chaos import FATES, ChaosProxy, RestlessMiner, answering, start, stored, under_fire
from tests.loopback.processes import Subnet, free_port
from tests.loopback.rig import ALICE, BOB, write_configuration

ROUNDS: Final = int(os.environ.get("ROUNDS", "30"))
"""Kills of the validator; a quarter as many, of miners."""
SEED: Final = int(os.environ.get("SEED", "1"))


async def test_a_validator_killed_at_any_instant_loses_nothing_that_it_confirmed(tmp_path: Path) -> None:
    random, port = Random(SEED), free_port()
    config = write_configuration(tmp_path, axon={"ip": "127.0.0.1", "port": port})
    validator = (tmp_path / "hotkey").read_text()
    miners = [
        RestlessMiner(ALICE, validator, port, SEED),
        RestlessMiner(ALICE, validator, port, SEED + 1),
        RestlessMiner(BOB, validator, port, 2),
    ]
    miners[1].made, miners[1].verdicts = miners[0].made, miners[0].verdicts  # two processes with one hotkey
    for kill in range(ROUNDS):
        for miner in miners:
            miner.answered.clear()
        with start(config) as process:
            await answering(port)
            lives = [asyncio.create_task(miner.live(more=4)) for miner in miners]
            if kill % 4:  # else it may not even have said a word
                await under_fire(miners, lives)
            await asyncio.sleep(random.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
            await asyncio.gather(*lives)
    confirmed_under_fire = sum(len(miner.verdicts) for miner in (miners[0], miners[2]))
    assert confirmed_under_fire > ROUNDS
    with start(config) as process:
        await answering(port)
        async with asyncio.timeout(60):
            while any(len(miner.verdicts) < len(miner.made) for miner in (miners[0], miners[2])):
                await asyncio.gather(*(miner.live(more=0) for miner in (miners[0], miners[2])))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
    rows = list(stored(tmp_path))
    keys = Counter((hotkey, prediction_id) for hotkey, prediction_id, _, _ in rows)
    assert set(keys.values()) == {1}
    assert not any(miner.changed for miner in miners)
    assert all(miner.heard["websocket"] and miner.heard["http"] for miner in miners)
    for miner in (miners[0], miners[2]):
        mine = {prediction: code for hotkey, prediction, code, _ in rows if hotkey == miner.keypair.ss58_address}
        assert mine == miner.verdicts  # every prediction that was ever made, with the verdict that was heard
        assert set(mine) == set(miner.made)
    assert not any("Traceback" in line for line in (tmp_path / "log").read_text().splitlines())


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
async def test_with_trouble_on_the_wire_and_miners_killed_every_prediction_gets_one_verdict(
    tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    subnet = Subnet(tmp_path, ("alice", "bob"))
    subnet.proxy = chaos = ChaosProxy(seed)
    async with subnet:
        for kill in range(max(8, ROUNDS // 4)):
            victim = ("alice", "bob")[kill % 2]
            await subnet.predict(victim)
            games = 4 + kill % 8
            subnet.offer(games)
            await asyncio.sleep(random.uniform(0, 0.5))
            if kill % 3 == 2:
                chaos.reset()
            await subnet.stop(victim, signal.SIGKILL)
            subnet.start(victim)
        chaos.calm = True
        chaos.reset()
        await subnet.settle(games, codes=("accepted", "game_started"))  # games have left the slate meanwhile
    assert set(chaos.fates) == set(FATES), chaos.fates
