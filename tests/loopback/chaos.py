"""Trouble on the wire, from a seed: delays, trickles, resets in the middle of a frame, connections that hang.

And a miner that goes on whatever happens.
"""

import asyncio
import contextlib
import json
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
from bittensor import http_auth
from bittensor_core import Keypair
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from bus import codec
from bus.games import TeamGamePrediction
from bus.identifiers import Hotkey, MessageId
from bus.messages import HeartbeatMessage, PredictionMessage
from tests.loopback.processes import Proxy
from tests.loopback.rig import Client
from tests.support import NETUID, make_hex32, make_prediction

_AWAY: Final = (OSError, WebSocketException, httpx.HTTPError, TimeoutError)
"""What a client sees when its validator is killed."""


class ChaosProxy(Proxy):
    """A proxy each of whose connections has a fate of its own, drawn when it opens.

    With ``calm`` set, connections are only carried.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.calm = False
        self.fates: dict[str, int] = {}
        """How many connections had which fate."""
        self._random = Random(seed)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        fate = "calm" if self.calm else self._random.choice(("calm", "slow", "trickle", "reset", "hang"))
        self.fates[fate] = self.fates.get(fate, 0) + 1
        left = self._random.randrange(200, 40_000)
        """Bytes until a reset or a hang."""
        pause = self._random.uniform(0.005, 0.05)
        while data := await source.read(65536):
            if fate == "slow":
                await asyncio.sleep(pause)
            elif fate == "trickle":
                for start in range(0, len(data), 997):
                    sink.write(data[start : start + 997])
                    await sink.drain()
                    await asyncio.sleep(0.001)
                continue
            elif fate in ("reset", "hang"):
                sink.write(data[:left])
                left -= len(data)
                if left <= 0:
                    await self._end(fate, sink)
                    return
                continue
            sink.write(data)
            await sink.drain()
        sink.close()

    async def _end(self, fate: str, sink: asyncio.StreamWriter) -> None:
        if fate == "hang":
            await asyncio.wait([asyncio.ensure_future(self._reset.wait())], timeout=3.0)
        sink.transport.abort()


class RestlessMiner:
    """Sends each prediction until it has its verdict, by two sessions of one hotkey and by HTTP, all at once."""

    def __init__(self, keypair: Keypair, validator: str, port: int, seed: int) -> None:
        self.keypair = keypair
        self.validator = Hotkey(validator)
        self.port = port
        self.made: dict[str, TeamGamePrediction] = {}
        self.verdicts: dict[str, str] = {}
        self.heard: Counter[str] = Counter()
        """Results by each road, repetitions included."""
        self.changed: list[dict[str, Any]] = []
        """Verdicts that differ from the first on the same prediction."""
        self.connected = asyncio.Event()
        self._random = Random(seed)

    def waiting(self, more: int) -> list[TeamGamePrediction]:
        """Some predictions without a verdict, and ``more`` new ones."""
        for _ in range(more):
            prediction = make_prediction(wager=0.01, prediction_id=make_hex32())
            self.made[prediction.prediction_id] = prediction
        left = [prediction for prediction_id, prediction in self.made.items() if prediction_id not in self.verdicts]
        return self._random.sample(left, min(len(left), self._random.randrange(1, 40)))

    def hear(self, message: dict[str, Any], road: str) -> None:
        if message["message_type"] == "confirmation":
            self.heard[road] += len(message["results"])
            for result in message["results"]:
                if self.verdicts.setdefault(result["prediction_id"], result["code"]) != result["code"]:
                    self.changed.append(result)

    async def live(self, more: int) -> None:
        """Push by a WebSocket and by HTTP until the validator is gone, or everything has its verdict."""
        for end in await asyncio.gather(self._by_websocket(more), self._by_http(more), return_exceptions=True):
            if end is not None and not isinstance(end, _AWAY):
                raise end

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
            except WebSocketException:
                await asyncio.wait([reading], timeout=5)  # what came before the end counts
                raise
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, client: Client) -> None:
        while True:
            self.hear(await client.hear(), "websocket")

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
                if response.status_code == httpx.codes.OK:
                    for payload in response.text.splitlines()[::2]:
                        self.hear(json.loads(payload), "http")


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
