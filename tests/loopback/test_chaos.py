"""Killed at any instant: what was confirmed is in the database exactly once, and every prediction gets one verdict.

``make chaos ROUNDS=300`` does more of the same.
"""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import pytest
from bittensor import http_auth
from bittensor_core import Keypair
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from bus import codec
from bus.games import TeamGamePrediction
from bus.identifiers import Hotkey, MessageId
from bus.messages import HeartbeatMessage, PredictionMessage
from tests.loopback.chaos import ChaosProxy
from tests.loopback.processes import Subnet, free_port
from tests.loopback.rig import ALICE, BOB, Client, write_configuration
from tests.support import NETUID, make_hex32, make_prediction

ROUNDS: Final = int(os.environ.get("ROUNDS", "30"))
"""Kills of the validator."""
SEED: Final = int(os.environ.get("SEED", "1"))
_AWAY: Final = (OSError, WebSocketException, httpx.HTTPError, TimeoutError, AssertionError)
"""What a client sees when its validator is killed."""


class Miner:
    """Sends each prediction until it has its verdict, by two sessions of one hotkey and by HTTP, all at once."""

    def __init__(self, keypair: Keypair, validator: str, port: int, seed: int) -> None:
        self.keypair = keypair
        self.validator = Hotkey(validator)
        self.port = port
        self.made: dict[str, TeamGamePrediction] = {}
        self.verdicts: dict[str, str] = {}
        self.connected = asyncio.Event()
        self._random = Random(seed)

    def waiting(self, more: int) -> list[TeamGamePrediction]:
        """Some predictions without a verdict, and ``more`` new ones."""
        for _ in range(more):
            prediction = make_prediction(wager=0.01, prediction_id=make_hex32())
            self.made[prediction.prediction_id] = prediction
        left = [prediction for prediction_id, prediction in self.made.items() if prediction_id not in self.verdicts]
        return self._random.sample(left, min(len(left), self._random.randrange(1, 40)))

    def hear(self, message: dict[str, Any]) -> None:
        if message["message_type"] == "confirmation":
            for result in message["results"]:
                first = self.verdicts.setdefault(result["prediction_id"], result["code"])
                assert first == result["code"], "a verdict changed"

    async def live(self, more: int) -> None:
        """Push by a WebSocket and by HTTP until cancelled, or the validator is gone."""
        roads = [asyncio.create_task(road) for road in (self._by_websocket(more), self._by_http(more))]
        try:
            await asyncio.gather(*roads)
        except _AWAY:
            pass
        finally:
            for road in roads:
                road.cancel()
            await asyncio.gather(*roads, return_exceptions=True)

    async def _by_websocket(self, more: int) -> None:
        target = f"/ws?netuid={NETUID}"
        headers = http_auth.sign(self.keypair, method="GET", path=target, body=b"", receiver_ss58=self.validator)
        async with connect(
            f"ws://127.0.0.1:{self.port}{target}",
            additional_headers=headers,
            subprotocols=[Subprotocol("bettensor.v1")],
            compression=None,
            proxy=None,
        ) as socket:
            client = Client(socket, self.keypair)
            await client.be_welcomed()
            await client.say(HeartbeatMessage())
            self.connected.set()
            reading = asyncio.create_task(self._read(client))
            try:
                while predictions := self.waiting(more):
                    await client.say(PredictionMessage(predictions=tuple(predictions)))
                    await asyncio.sleep(0.002)
                    if reading.done():
                        return
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, client: Client) -> None:
        while True:
            self.hear(await client.hear())

    async def _by_http(self, more: int) -> None:
        target = f"/predictions?netuid={NETUID}"
        async with httpx.AsyncClient(trust_env=False) as http:
            while predictions := self.waiting(more):
                message = codec.stamp(
                    PredictionMessage(predictions=tuple(predictions)),
                    message_id=MessageId(make_hex32()),
                    sender=Hotkey(self.keypair.ss58_address),
                    timestamp="2026-01-01T00:00:00.000000Z",
                )
                body = codec.encode_body(message)
                headers = http_auth.sign(
                    self.keypair, method="POST", path=target, body=body, receiver_ss58=self.validator
                )
                response = await http.post(f"http://127.0.0.1:{self.port}{target}", content=body, headers=headers)
                for line in response.text.splitlines()[::2]:
                    if line.startswith('{"message_type"'):
                        self.hear(json.loads(line))


def start(config: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "neurons.validator", "--config", str(config)]
    with (config.parent / "log").open("ab") as log:
        return subprocess.Popen(command, stderr=log)


async def answering(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the validator does not listen")


def stored(folder: Path) -> Iterator[tuple[str, str, str, int]]:
    with contextlib.closing(sqlite3.connect(folder / "state" / "ledger.sqlite3")) as database:
        yield from database.execute("SELECT hotkey, prediction_id, code, wager FROM predictions")


async def test_a_validator_killed_at_any_instant_loses_nothing_that_it_confirmed(tmp_path: Path) -> None:
    random, port = Random(SEED), free_port()
    config = write_configuration(tmp_path, axon={"ip": "127.0.0.1", "port": port})
    validator = (tmp_path / "hotkey").read_text()
    miners = [
        Miner(ALICE, validator, port, SEED),
        Miner(ALICE, validator, port, SEED + 1),
        Miner(BOB, validator, port, 2),
    ]
    miners[1].made, miners[1].verdicts = miners[0].made, miners[0].verdicts  # two processes with one hotkey
    for _ in range(ROUNDS):
        with start(config) as process:
            await answering(port)
            lives = [asyncio.create_task(miner.live(more=4)) for miner in miners]
            await asyncio.sleep(random.uniform(0.0, 0.4))
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
        for kill in range(8):
            victim = ("alice", "bob")[kill % 2]
            await subnet.predict(victim)
            subnet.offer(4 + kill)
            await asyncio.sleep(random.uniform(0, 0.5))
            if kill % 3 == 2:
                chaos.reset()
            await subnet.stop(victim, signal.SIGKILL)
            subnet.start(victim)
        chaos.calm = True
        chaos.reset()
        await subnet.settle(games=11)
    assert sum(chaos.fates.values()) > 10
