"""The limits of this machine: the cost of the signatures alone, and the server stack without this software."""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import bittensor_core
from bittensor_core import Keypair

from bettensor.bus import codec
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.bench import bare
from bettensor.neurons.bench.figures import Figures, latencies_ms
from bettensor.neurons.bench.load import RawSocket, prediction_message, stamped, text_frame
from bettensor.neurons.bench.rig import Server, pin, running
from bettensor.neurons.system.ports import free_port
from bettensor.neurons.system.scratch import scratch_folder

ROUNDS: Final = 10
PAIRS: Final = 200
"""Verifications and signatures in one round."""
ECHO_SECONDS: Final = 2.0


Client = TypeVar("Client", bound=RawSocket)


class SignatureLimit:
    """Predictions per second that one verification and one signature each would allow on the validator's core.

    The median of rounds before and after the measurement, because the machine's speed changes.
    """

    def __init__(self, keypair: Keypair) -> None:
        self._keypair = keypair
        self._message = codec.SIGNED_PREFIX + a_frame_payload(keypair)
        self._seconds: list[float] = []

    def measure(self) -> None:
        """Measure one half of the rounds. The validator must be idle meanwhile."""
        cores = os.sched_getaffinity(0)
        pin(0, 0)
        keypair, message = self._keypair, self._message
        signature = keypair.sign(message)
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            for _ in range(PAIRS):
                bittensor_core.verify(message, signature, keypair.ss58_address, bittensor_core.CRYPTO_SR25519)
                keypair.sign(message)
            self._seconds.append((time.perf_counter() - begin) / PAIRS)
        os.sched_setaffinity(0, cores)

    @property
    def per_second(self) -> float:
        """The median of the rounds so far."""
        return 1 / statistics.median(self._seconds)


class Echoed(RawSocket):
    """Keeps frames in flight; the server echoes each."""

    def __init__(self, payload: bytes) -> None:
        super().__init__("/")
        self.payload = payload
        self.latencies: list[float] = []
        self.pushing = False
        self._sent_at: list[float] = []

    def receive(self, frame: bytes) -> None:  # noqa: ARG002 - it is the frame that was sent
        """Send the next frame."""
        now = time.perf_counter()
        self.latencies.append(now - self._sent_at[len(self.latencies)])
        if self.pushing:
            self.push()

    def push(self) -> None:
        """Send one frame, masked anew: a real miner's other work costs the server nothing."""
        self._sent_at.append(time.perf_counter())
        self.write(self.payload)


class Audience(RawSocket):
    """Notes the arrival of each broadcast, in seconds after it was made."""

    def __init__(self) -> None:
        super().__init__("/")
        self.latencies: list[float] = []

    def receive(self, frame: bytes) -> None:
        """A broadcast has arrived."""
        self.latencies.append(time.time() - float(frame[:20].split(b" ")[0]))


async def echo(connections: int, window: int, frame: bytes) -> Figures:
    """Frames per second that the bare stack echoes, and their latency."""
    payload = text_frame(frame)
    async with _bare_server(connections, Echoed, payload) as clients:
        begin = time.perf_counter()
        for client in clients:
            client.pushing = True
            for _ in range(window):
                client.push()
        await asyncio.sleep(ECHO_SECONDS)
        for client in clients:
            client.pushing = False
        seconds = time.perf_counter() - begin
        latencies = [latency for client in clients for latency in client.latencies]
    return {"frames_per_second": len(latencies) / seconds, "latency_ms": latencies_ms(latencies)}


async def broadcast(connections: int, times: int, pause: float) -> Figures:
    """Time until the last connection has a broadcast of 4 KiB from the bare stack."""
    async with _bare_server(connections, Audience) as clients:
        for number in range(1, times + 1):
            clients[0].write(text_frame(bare.BROADCAST.encode()))
            while any(len(client.latencies) < number for client in clients):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(pause)
        delays = [[client.latencies[number] for client in clients] for number in range(times)]
    return {
        "last_delivery_ms": latencies_ms(max(mine) for mine in delays),
        "spread_ms": latencies_ms(max(mine) - min(mine) for mine in delays),
    }


@asynccontextmanager
async def _bare_server(connections: int, kind: Callable[..., Client], *arguments: Any) -> AsyncIterator[list[Client]]:
    loop = asyncio.get_running_loop()
    with scratch_folder("bench") as folder:
        port = free_port()
        command = [sys.executable, "-m", "bettensor.neurons.bench.bare", str(port)]
        with running(Server(command, port, folder / "log")):
            clients = []
            for _ in range(connections):
                _, client = await loop.create_connection(lambda: kind(*arguments), "127.0.0.1", port)
                await client.opened
                clients.append(client)
            yield clients
            for client in clients:
                client.transport.close()


def a_frame_payload(keypair: Keypair) -> bytes:
    """The JSON bytes of a frame with one prediction."""
    return codec.encode(stamped(prediction_message(1), Hotkey(keypair.ss58_address)))


def a_frame(keypair: Keypair) -> bytes:
    """The bytes of a frame with one prediction."""
    payload = a_frame_payload(keypair)
    return codec.join(codec.Frame(payload, bytes(keypair.sign(codec.SIGNED_PREFIX + payload))))
