"""``confirm``, ``batch``, ``recording``, ``replay`` and ``growth``: predictions from push to signed confirmation."""

import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from bettensor.neurons.bench import ledger, yardsticks
from bettensor.neurons.bench.figures import Figures, latencies_ms
from bettensor.neurons.bench.load import TICK, Bystander, LoadPredictor, sessions
from bettensor.neurons.bench.rig import BenchmarkFailed, BenchValidator, require_files, running_validator
from bettensor.neurons.system.scratch import scratch_folder

DRAIN_TIMEOUT: Final = 30.0
"""Seconds to wait for the last confirmations."""
SIGNED_PER_SECOND: Final = 40_000
"""Predictions to sign beforehand for each second of a closed loop, more than a validator can confirm."""
FRAMES_PER_SECOND: Final = 12_000
"""Frames to sign beforehand for each second; the lower of the two limits counts."""

Record = Literal["off", "observed", "all"]
RECORDS: Final[tuple[Record, ...]] = ("off", "observed", "all")
TURNS: Final = 2
"""Number of times that ``recording`` measures in both orders: a machine may be slower for seconds."""
PROCESSES: Final = 3
"""Validators of each kind that ``growth`` measures."""
ONE_FILE: Final = 8 * 2**30
"""Bytes above any log's size, so that the log stays one file."""
EVENTS_PER_SECOND: Final = 40_000
"""Events that a validator under load records per second, about."""
READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load of a validator."""

    miners: int = 50
    window: int = 8
    """Frames that each miner keeps in flight, in a closed loop."""
    batch: int = 1
    """Predictions in a frame."""
    rate: float | None = None
    """Predictions offered per second, without waiting for answers: an open loop. Latency counts from each due time."""
    duration: float = 5.0
    """Seconds."""
    record: Record = "off"
    verify_workers: int = 0
    """Processes that verify signatures, on other cores than the validator's; with two cores, on the load's."""
    bystanders: int = 0
    """Further miners, each with 1,280 predictions per second, that are not counted."""
    stalled: bool = False
    """Whether the bystanders never read."""
    tls: bool = False
    """Whether the miners use TLS; plain ones are then measured in the same run."""


@dataclass
class Pushed:
    """The result of a load."""

    confirmed: int = 0
    """Predictions with a signed verdict of any kind."""
    rejected: int = 0
    """The confirmed predictions that were rejected."""
    frames: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    load_cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


def confirm(load: Load) -> Figures:
    """Confirmed predictions per second, their latency, and their cost; with ``tls`` beside those without."""
    return _beside_plain(load) if load.tls else _confirm(load)


def _beside_plain(load: Load) -> Figures:
    """The cost of TLS: ``confirm`` without and with it, in turn, as CPU time of all threads for one prediction."""
    plain, by_tls = replace(load, tls=False), load
    turns = [(each, _push_of(each)) for each in (plain, by_tls, by_tls, plain) * TURNS]
    of_plain, of_tls = ([pushed for each, pushed in turns if each.tls == tls] for tls in (False, True))
    cpu = {name: _cpu_of(pushes) for name, pushes in (("plain", of_plain), ("tls", of_tls))}
    return {
        "cpu_us_per_prediction": cpu,
        "cost": cpu["tls"] / cpu["plain"] - 1,
        "predictions_per_second": {"plain": _rate_of(of_plain), "tls": _rate_of(of_tls)},
        "latency_ms": {
            name: latencies_ms([latency for pushed in pushes for latency in pushed.latencies])
            for name, pushes in (("plain", of_plain), ("tls", of_tls))
        },
    }


def _push_of(load: Load) -> Pushed:
    changes = {"recorder": {"record": load.record}, "auth": {"verify_workers": load.verify_workers}}
    with running_validator(load.miners + load.bystanders, changes, tls=load.tls) as validator:
        validator.spread()
        return asyncio.run(push_once(validator, load))


def _cpu_of(pushes: Sequence[Pushed]) -> float:
    return 1e6 * sum(pushed.cpu_seconds for pushed in pushes) / sum(pushed.confirmed for pushed in pushes)


def _rate_of(pushes: Sequence[Pushed]) -> float:
    return sum(pushed.confirmed for pushed in pushes) / sum(pushed.seconds for pushed in pushes)


def _confirm(load: Load) -> Figures:
    changes = {"recorder": {"record": load.record}, "auth": {"verify_workers": load.verify_workers}}
    with running_validator(load.miners + load.bystanders, changes) as validator:
        limit = yardsticks.SignatureLimit(validator.keypairs[0])
        limit.measure()
        validator.spread()
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
    """The cost of recording observed events, and all events: ``confirm`` without and with each log, in turn.

    Measured as CPU time of all threads for one prediction.
    """
    cpu: dict[str, float] = dict.fromkeys(RECORDS, 0.0)
    with scratch_folder("bench") as folder:
        for record in (*RECORDS, *reversed(RECORDS)) * TURNS:
            log = folder / record / "events.jsonl"
            log.unlink(missing_ok=True)
            with running_validator(load.miners, {"recorder": _one_file(log, record)}) as validator:
                pushed = asyncio.run(push_once(validator, load))
            cpu[record] += 1e6 * pushed.cpu_seconds / pushed.confirmed / (2 * TURNS)
    return {
        "cpu_us_per_prediction": cpu,
        "cost": cpu["observed"] / cpu["off"] - 1,
        "cost_of_all": cpu["all"] / cpu["off"] - 1,
    }


def replay(events: int) -> Figures:
    """The speed at which ``bettensor replay`` replays a log with all events of a validator under load.

    Args:
        events: least number of events in the log.

    Raises:
        BenchmarkFailed: the replay differs.
    """
    load = Load(duration=min(5.0, events / EVENTS_PER_SECOND))
    with scratch_folder("bench") as folder:
        log = folder / "events.jsonl"
        with running_validator(load.miners, {"recorder": _one_file(log, "all")}) as validator:
            asyncio.run(_fill(validator, load, log, events))
        command = [sys.executable, "-m", "bettensor.neurons.cli.main", "replay", str(log), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise BenchmarkFailed(f"{' '.join(command)}: {done.stderr or done.stdout}")
        replayed = json.loads(done.stdout)[0]
        return {
            "events": replayed["events"],
            "log_bytes": log.stat().st_size,
            "events_per_second": replayed["events_per_second"],
        }


def _one_file(log: Path, record: Record) -> dict[str, Any]:
    return {"record": record, "path": str(log), "file_bytes": ONE_FILE, "total_bytes": 2 * ONE_FILE}


async def _fill(validator: BenchValidator, load: Load, log: Path, events: int) -> None:
    lines = 0
    async with sessions(validator, LoadPredictor) as miners:
        with log.open("rb") as written:
            while lines < events:
                sign_beforehand(miners, load)
                await push(validator, miners, load)
                lines += sum(chunk.count(b"\n") for chunk in iter(lambda: written.read(READ_BYTES), b""))


def growth(rows: int, predictions: int, duration: float, miners: int = 1000) -> Figures:
    """CPU for one prediction with ``miners`` in place of 50, and with a long ledger; and memory over many predictions.

    The CPU time is the median of several processes in turn: each is by chance fast or slow for its whole life.
    """
    require_files(miners)
    load = Load(duration=duration)
    with scratch_folder("bench") as folder:
        ledger_of_rows = folder / "state"
        asyncio.run(ledger.fill(ledger_of_rows, rows))
        turns = [(_cpu(load), _cpu(replace(load, miners=miners)), _cpu(load, ledger_of_rows)) for _ in range(PROCESSES)]
    few, many, long = (statistics.median(figures) for figures in zip(*turns, strict=True))
    memory = asyncio.run(_memory(predictions))
    return {
        "cpu_us_per_prediction": {f"{load.miners:,} miners": few, f"{miners:,} miners": many, f"{rows:,} rows": long},
        "ratio_of_miners": many / few,
        "ratio_of_rows": long / few,
        "memory": memory,
        "memory_growth": memory[-1]["bytes"] / memory[len(memory) // 2]["bytes"] - 1,
    }


def _cpu(load: Load, state_dir: Path | None = None) -> float:
    def fill(validator: BenchValidator) -> None:
        if state_dir is not None:
            shutil.copytree(state_dir, validator.folder / "state")
            os.sync()  # otherwise the disk is still busy with it during the measurement

    with running_validator(load.miners, before=fill) as validator:
        pushed = asyncio.run(push_once(validator, load))
    return 1e6 * pushed.cpu_seconds / pushed.confirmed


async def push_once(validator: BenchValidator, load: Load) -> Pushed:
    """Open the sessions of all miners, and ``push`` through the counted ones while the bystanders push beside them."""
    counted, others = validator.keypairs[: load.miners], validator.keypairs[load.miners :]
    async with (
        sessions(validator, LoadPredictor, keypairs=counted) as miners,
        sessions(validator, Bystander, keypairs=others) as bystanders,
    ):
        for bystander in bystanders:
            bystander.sign_beforehand(int(load.duration / bystander.INTERVAL), bystander.BATCH)
        sign_beforehand(miners, load)
        for bystander in bystanders:
            bystander.start(stalled=load.stalled)
        return await push(validator, miners, load)


def sign_beforehand(miners: Sequence[LoadPredictor], load: Load) -> None:
    """Sign more predictions than ``push`` could need."""
    if load.rate is not None:
        frames = load.rate * load.duration / load.batch
    else:
        frames = min(FRAMES_PER_SECOND, SIGNED_PER_SECOND / load.batch) * load.duration
    for miner in miners:
        miner.sign_beforehand(int(frames / len(miners)) + load.window, load.batch)


async def push(validator: BenchValidator, miners: Sequence[LoadPredictor], load: Load) -> Pushed:
    """Load the validator for ``duration``, or until no signed prediction is left, and wait for the last verdict.

    Raises:
        BenchmarkFailed: predictions have no verdict, or there was none to push.
    """
    cpu, own, begin = validator.cpu_seconds(), _own_cpu(), time.perf_counter()
    if load.rate is None:
        await _closed_loop(miners, load)
    else:
        await _open_loop(miners, load.rate / load.batch, load.duration)
    deadline = time.perf_counter() + DRAIN_TIMEOUT
    while any(miner.outstanding for miner in miners):
        for miner in miners:
            if miner.fault is not None:
                raise BenchmarkFailed(miner.fault)
        if time.perf_counter() > deadline:
            raise BenchmarkFailed(f"{sum(miner.outstanding for miner in miners)} frames have no verdict")
        await asyncio.sleep(TICK)
    seconds = time.perf_counter() - begin
    if not any(miner.due for miner in miners):
        raise BenchmarkFailed("not one prediction was pushed: the load is too low, or too short")
    return Pushed(
        confirmed=sum(miner.results for miner in miners),
        rejected=sum(miner.rejected for miner in miners),
        frames=sum(len(miner.due) for miner in miners),
        seconds=seconds,
        cpu_seconds=validator.cpu_seconds() - cpu,
        load_cpu_seconds=_own_cpu() - own,
        latencies=[latency for miner in miners for latency in miner.latencies],
    )


async def _closed_loop(miners: Sequence[LoadPredictor], load: Load) -> None:
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


async def _open_loop(miners: Sequence[LoadPredictor], frames_per_second: float, duration: float) -> None:
    begin, pushed = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < duration:
        for number in range(pushed, int(elapsed * frames_per_second)):
            miners[number % len(miners)].push(begin + number / frames_per_second)
            pushed += 1
        await asyncio.sleep(TICK)


async def _memory(predictions: int, rounds: int = 10) -> list[dict[str, int]]:
    """Bytes after each tenth of ``predictions``, ten in a frame."""
    load = Load(miners=50, batch=10, duration=predictions / rounds / SIGNED_PER_SECOND)
    sizes, confirmed = [], 0
    with running_validator(load.miners) as validator:
        async with sessions(validator, LoadPredictor) as miners:
            while confirmed < predictions:
                sign_beforehand(miners, load)
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
