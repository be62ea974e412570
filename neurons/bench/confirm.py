"""``confirm``, ``batch``, ``recording`` and ``growth``: predictions from the push to the signed confirmation."""

import asyncio
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from neurons.bench import ledger, yardsticks
from neurons.bench.figures import Figures, latencies_ms
from neurons.bench.load import TICK, Bystander, Predictor, connect
from neurons.bench.rig import BenchmarkFailed, Validator, running_validator

DRAIN_TIMEOUT: Final = 30.0
"""Seconds for the last confirmations."""
SIGNED_PER_SECOND: Final = 40_000
"""Predictions to sign beforehand for each second of a closed loop, more than can be confirmed."""
FRAMES_PER_SECOND: Final = 12_000
"""The same for frames: what is less counts."""

Record = Literal["off", "observed", "all"]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of a validator."""

    miners: int = 50
    window: int = 8
    """Frames that each miner keeps in flight, in a closed loop."""
    batch: int = 1
    """Predictions in a frame."""
    rate: float | None = None
    """Predictions offered in a second, whatever comes back: an open loop. Latency counts from when each was due."""
    duration: float = 5.0
    """Seconds."""
    record: Record = "off"
    bystanders: int = 0
    """More miners, each with 1,280 predictions a second, that are not counted."""
    stalled: bool = False
    """The bystanders never read."""


@dataclass
class Pushed:
    """What came of it."""

    confirmed: int = 0
    rejected: int = 0
    frames: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    load_cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


def confirm(load: Load) -> Figures:
    """Confirmed predictions a second, their latency, and what they cost."""
    changes = {"recorder": {"record": load.record}}
    with running_validator(load.miners + load.bystanders, **changes) as validator:
        limit = yardsticks.SignatureLimit(validator.keypairs[0])
        limit.measure()
        pushed = asyncio.run(push_once(validator, load))
        limit.measure()
        memory = validator.peak_memory()
    figures = _figures(pushed) | {
        "memory_bytes": memory,
        "verify_sign_limit_per_second": limit.per_second,
        "ratio_to_verify_sign_limit": pushed.confirmed / pushed.seconds / limit.per_second,
    }
    if load.rate is None and not load.bystanders:
        echo = asyncio.run(yardsticks.echo(load.miners, load.window, yardsticks.a_frame(validator.keypairs[0])))
        figures |= {"bare_echo": echo, "ratio_to_bare_echo": figures["frames_per_second"] / echo["frames_per_second"]}
    return figures


def recording(load: Load) -> Figures:
    """What the log of observed events costs: ``confirm`` without and with it, in turn."""
    rates: dict[Record, list[float]] = {"off": [], "observed": []}
    for record in ("off", "observed", "observed", "off"):
        changes = {"recorder": {"record": record}}
        with running_validator(load.miners, **changes) as validator:
            pushed = asyncio.run(push_once(validator, load))
        rates[record].append(pushed.confirmed / pushed.cpu_seconds)
    off, observed = (sum(rates[record]) for record in rates)
    return {
        "predictions_per_cpu_second": {record: sum(mine) / len(mine) for record, mine in rates.items()},
        "cost": 1 - observed / off,
    }


def growth(load: Load, rows: int, predictions: int) -> Figures:
    """CPU for one prediction with more miners and with a long ledger, and memory over many predictions."""
    cpu = {
        "50 miners": _cpu(replace(load, miners=50)),
        "1,000 miners": _cpu(replace(load, miners=1000)),
        f"{rows:,} rows": _cpu(replace(load, miners=50), rows),
    }
    few, many, long = cpu.values()
    memory = asyncio.run(_memory(predictions))
    return {
        "cpu_us_per_prediction": cpu,
        "ratio_of_miners": many / few,
        "ratio_of_rows": long / few,
        "memory_bytes": memory,
        "memory_growth": memory[-1]["bytes"] / memory[len(memory) // 2]["bytes"] - 1,
    }


def _cpu(load: Load, rows: int = 0) -> float:
    def fill(folder: Path) -> None:
        if rows:
            asyncio.run(ledger.fill(folder / "state", rows))

    with running_validator(load.miners, before=fill) as validator:
        pushed = asyncio.run(push_once(validator, load))
    return 1e6 * pushed.cpu_seconds / pushed.confirmed


async def push_once(validator: Validator, load: Load) -> Pushed:
    miners = await connect(validator, Predictor, keypairs=validator.keypairs[: load.miners])
    bystanders = await connect(validator, Bystander, keypairs=validator.keypairs[load.miners :])
    for bystander in bystanders:
        bystander.sign_beforehand(int(load.duration / bystander.INTERVAL), bystander.BATCH)
    sign_beforehand(miners, load)
    for bystander in bystanders:
        bystander.start(stalled=load.stalled)
    return await push(validator, miners, load)


def sign_beforehand(miners: Sequence[Predictor], load: Load) -> None:
    """All that ``push`` could need."""
    if load.rate is not None:
        frames = load.rate * load.duration / load.batch
    else:
        frames = min(FRAMES_PER_SECOND, SIGNED_PER_SECOND / load.batch) * load.duration
    for miner in miners:
        miner.sign_beforehand(int(frames / len(miners)) + load.window, load.batch)


async def push(validator: Validator, miners: Sequence[Predictor], load: Load) -> Pushed:
    """Load the validator for ``duration``, or until nothing is left that was signed, and wait for the last verdict.

    Raises:
        BenchmarkFailed: some have no verdict.
    """
    cpu, own, begin = validator.cpu_seconds(), _own_cpu(), time.perf_counter()
    if load.rate is None:
        await _closed_loop(miners, load)
    else:
        await _open_loop(miners, load.rate / load.batch, load.duration)
    deadline = time.perf_counter() + DRAIN_TIMEOUT
    while any(miner.outstanding for miner in miners):
        if time.perf_counter() > deadline:
            raise BenchmarkFailed(f"{sum(miner.outstanding for miner in miners)} frames have no verdict")
        await asyncio.sleep(TICK)
    seconds = time.perf_counter() - begin
    return Pushed(
        confirmed=sum(miner.results for miner in miners),
        rejected=sum(miner.rejected for miner in miners),
        frames=sum(len(miner.due) for miner in miners),
        seconds=seconds,
        cpu_seconds=validator.cpu_seconds() - cpu,
        load_cpu_seconds=_own_cpu() - own,
        latencies=[latency for miner in miners for latency in miner.latencies],
    )


async def _closed_loop(miners: Sequence[Predictor], load: Load) -> None:
    for miner in miners:
        miner.pushing = True
        for _ in range(load.window):
            miner.push(time.perf_counter())
    ends = [asyncio.ensure_future(miner.exhausted.wait()) for miner in miners]
    await asyncio.wait(ends, timeout=load.duration, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    for miner in miners:
        miner.pushing = False


async def _open_loop(miners: Sequence[Predictor], frames_per_second: float, duration: float) -> None:
    begin, pushed = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < duration:
        for number in range(pushed, int(elapsed * frames_per_second)):
            miners[number % len(miners)].push(begin + number / frames_per_second)
            pushed += 1
        await asyncio.sleep(TICK)


async def _memory(predictions: int, rounds: int = 10) -> list[dict[str, int]]:
    """Bytes after each tenth of ``predictions``, which come ten in a frame."""
    load = Load(miners=50, batch=10, duration=predictions / rounds / SIGNED_PER_SECOND * 2)
    sizes, confirmed = [], 0
    with running_validator(load.miners) as validator:
        miners = await connect(validator, Predictor)
        while confirmed < predictions:
            sign_beforehand(miners, replace(load, duration=predictions / rounds / SIGNED_PER_SECOND))
            pushed = await push(validator, miners, replace(load, duration=60.0))
            confirmed += pushed.confirmed
            sizes.append({"predictions": confirmed, "bytes": validator.memory()})
    return sizes


def _figures(pushed: Pushed) -> Figures:
    return {
        "predictions_per_second": pushed.confirmed / pushed.seconds,
        "frames_per_second": pushed.frames / pushed.seconds,
        "confirmed": pushed.confirmed,
        "rejected": pushed.rejected,
        "seconds": pushed.seconds,
        "latency_ms": latencies_ms(pushed.latencies),
        "cpu_us_per_prediction": 1e6 * pushed.cpu_seconds / pushed.confirmed,
        "validator_core_used": pushed.cpu_seconds / pushed.seconds,
        "load_core_used": pushed.load_cpu_seconds / pushed.seconds,
    }


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
