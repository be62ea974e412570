"""``connect``, ``idle`` and ``storm``: sessions that are opened, that are idle, and that all return at once."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from bittensor_core import Keypair

from bettensor.neurons.bench.figures import Figures, latencies_ms
from bettensor.neurons.bench.load import LoadMiner, Sitter, open_session, sessions
from bettensor.neurons.bench.rig import BenchmarkFailed, BenchValidator, running_validator

RETURN_WINDOW: Final = 2.0
"""Seconds in which miners return after 1012 (protocol, "Closing")."""
BASE_INTERVAL: Final = 5.0
"""Seconds of the longest first back-off, doubled with each failure in a row."""
STORM_HEARTBEAT: Final = 5.0
STORM_TIMEOUT: Final = 60.0
WARMED_UP: Final = 20
"""Sessions that are opened and closed before a validator's memory is measured, because it keeps what they allocate."""


def opening(miners: int) -> Figures:
    """``connect``: authenticated handshakes per second, each with its welcome and the slate."""

    async def load(validator: BenchValidator) -> Figures:
        opened: list[LoadMiner] = []
        latencies: list[float] = []
        waiting = iter(validator.keypairs)

        async def work() -> None:
            for keypair in waiting:
                begin = time.perf_counter()
                opened.append(await open_session(validator, LoadMiner, keypair))
                latencies.append(time.perf_counter() - begin)

        cpu, begin = validator.cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(50)))
        seconds, cpu = time.perf_counter() - begin, validator.cpu_seconds() - cpu
        for miner in opened:
            miner.leave()
        return {
            "handshakes_per_second": miners / seconds,
            "latency_ms": latencies_ms(latencies),
            "cpu_us_per_handshake": 1e6 * cpu / miners,
        }

    with running_validator(miners) as validator:
        return asyncio.run(load(validator))


def idle(miners: int, duration: float) -> Figures:
    """Memory of an idle session, and CPU of all of them with their heartbeats."""

    async def load(validator: BenchValidator) -> Figures:
        async with sessions(validator, LoadMiner, keypairs=validator.keypairs[:WARMED_UP]):
            pass
        await asyncio.sleep(1)
        empty = validator.memory()
        async with sessions(validator, Sitter):
            full = validator.memory()
            cpu, begin = validator.cpu_seconds(), time.perf_counter()
            await asyncio.sleep(duration)
            used = (validator.cpu_seconds() - cpu) / (time.perf_counter() - begin)
            later = validator.memory()
        return {
            "connections": miners,
            "empty_process_bytes": empty,
            "bytes_per_connection": (full - empty) / miners,
            "bytes_per_connection_later": (later - empty) / miners,
            "idle_cpu_share": used,
        }

    with running_validator(miners) as validator:
        return asyncio.run(load(validator))


@dataclass
class Storm:
    """The return of all miners: times, and answers on the way."""

    listening: asyncio.Event = field(default_factory=asyncio.Event)
    served: list[float] = field(default_factory=list)
    attempts: int = 0
    unreachable: int = 0
    refused: list[str] = field(default_factory=list)
    longest_silence: float = 0.0
    missed: int = 0
    """Heartbeats that did not arrive within one and a half intervals."""


def storm(miners: int) -> Figures:
    """The time until all miners are served again after a restart.

    Each tries at a random time within the protocol's window, as it would after 1012. Here the window begins when the
    validator listens again, so no miner comes too early, and all come when they are hardest to serve.
    """

    async def load(validator: BenchValidator) -> Figures:
        first, second = Storm(), Storm()
        over = asyncio.Event()
        everybody = [asyncio.ensure_future(_live(validator, key, first, second, over)) for key in validator.keypairs]
        await _until(first, miners)
        await asyncio.to_thread(validator.stop)
        await asyncio.to_thread(validator.start)
        listening = time.monotonic()
        second.listening.set()
        await _until(second, miners)
        await asyncio.sleep(2 * STORM_HEARTBEAT)
        over.set()
        await asyncio.gather(*everybody)
        return {
            "miners": miners,
            "return_window_s": RETURN_WINDOW,
            "served_after_listening_s": max(second.served) - listening,
            "served_after_window_s": max(second.served) - listening - RETURN_WINDOW,
            "attempts": second.attempts,
            "unreachable": second.unreachable,
            "refused": len(second.refused),
            "answers": sorted(set(second.refused)),
            "heartbeat_interval_s": STORM_HEARTBEAT,
            "longest_silence_s": second.longest_silence,
            "missed_heartbeats": second.missed,
        }

    websocket = {"heartbeat_interval": STORM_HEARTBEAT, "connection_timeout": 5 * STORM_HEARTBEAT}
    with running_validator(miners, {"websocket": websocket}) as validator:
        return asyncio.run(load(validator))


async def _live(validator: BenchValidator, keypair: Keypair, first: Storm, second: Storm, over: asyncio.Event) -> None:
    """Run one miner: a first session until the validator restarts, and the session after it."""
    sitter = await _return(validator, keypair, first)
    await sitter.ended
    await second.listening.wait()
    await asyncio.sleep(random.uniform(0, RETURN_WINDOW))  # noqa: S311
    sitter = await _return(validator, keypair, second)
    await over.wait()
    if sitter.ended.done():
        second.refused.append("the session ended")
    silences = [after - before for before, after in pairwise([*sitter.heard, time.monotonic()])]
    second.longest_silence = max(second.longest_silence, *silences)
    second.missed += sum(silence > 1.5 * STORM_HEARTBEAT for silence in silences)
    sitter.leave()


async def _return(validator: BenchValidator, keypair: Keypair, storm: Storm) -> Sitter:
    interval = BASE_INTERVAL
    while True:
        storm.attempts += 1
        try:
            sitter = await open_session(validator, Sitter, keypair)
        except OSError:
            storm.unreachable += 1
        except BenchmarkFailed as refused:
            storm.refused.append(str(refused)[:80])
        else:
            storm.served.append(time.monotonic())
            sitter.heard.append(time.monotonic())
            return sitter
        await asyncio.sleep(random.uniform(0, interval))  # noqa: S311
        interval *= 2


async def _until(storm: Storm, count: int) -> None:
    async with asyncio.timeout(STORM_TIMEOUT):
        while len(storm.served) < count:  # noqa: ASYNC110 - a benchmark may poll
            await asyncio.sleep(0.05)
