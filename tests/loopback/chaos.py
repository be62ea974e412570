"""Trouble on the wire, from a seed: delay, throttle, half-open, reset, and a cut in the middle of a frame.

And a miner that goes on whatever happens.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, get_args

import httpx
from bittensor import http_auth
from bittensor_core import Keypair
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from bettensor.bus import codec
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import Hotkey, MessageId
from bettensor.bus.messages import HeartbeatMessage, PredictionMessage
from tests.loopback.processes import NeuronProcess, Proxy, reset
from tests.loopback.rig import Client
from tests.support import NETUID, make_hex32, make_prediction

_AWAY: Final = (OSError, WebSocketException, httpx.HTTPError, TimeoutError)
"""What a client sees when its validator is killed."""


Fate = Literal["calm", "delay", "throttle", "half-open", "reset", "cut"]
FATES: Final[tuple[Fate, ...]] = get_args(Fate)
SILENCE: Final = 3.0
"""Seconds that a half-open direction swallows everything; longer than either side waits for a heartbeat."""


class ChaosProxy(Proxy):
    """A proxy each of whose connections has a fate in each direction, dealt from a shuffled deck when it opens.

    With ``calm`` set, connections are only carried.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.calm = False
        self.fates: Counter[Fate] = Counter()
        """How many directions have met which fate."""
        self._random = Random(seed)
        self._deck = cycle(self._random.sample(FATES, len(FATES)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        fate: Fate = "calm" if self.calm else next(self._deck)
        left = self._random.randrange(200, 20_000)
        """Bytes until the end, where there is one."""
        pause = self._random.uniform(0.005, 0.05)
        while data := await source.read(65536):
            if fate in ("half-open", "reset", "cut") and len(data) >= left:
                self.fates[fate] += 1
                await self._end(fate, data[:left], sink)
                return
            left -= len(data)
            if fate == "delay":
                await asyncio.sleep(pause)
            if fate == "throttle":
                await self._trickle(data, sink)
            else:
                sink.write(data)
                await sink.drain()
        self.fates[fate] += 1
        sink.close()

    async def _trickle(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), 997):
            sink.write(data[start : start + 997])
            await sink.drain()
            await asyncio.sleep(0.001)

    async def _end(self, fate: Fate, part: bytes, sink: asyncio.StreamWriter) -> None:
        """After ``part``, which only a cut passes on: the sink is left with a piece of a frame."""
        if fate == "half-open":
            await asyncio.wait([asyncio.ensure_future(self._reset.wait())], timeout=SILENCE)
        elif fate == "cut":
            sink.write(part)
            sink.close()
            return
        reset(sink)


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
        self.answered = asyncio.Event()
        """It has results from this run of the validator."""
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
            self.answered.set()
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


def start(config: Path) -> NeuronProcess:
    return NeuronProcess("validator", config, config.parent / "log")


async def under_fire(miners: list[RestlessMiner], lives: list["asyncio.Task[None]"]) -> None:
    """Until one of the miners has results, or the life of one has ended."""
    waiting = [asyncio.create_task(miner.answered.wait()) for miner in miners]
    async with asyncio.timeout(20):
        await asyncio.wait([*waiting, *lives], return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


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
