"""What a recording costs a validator, and how fast it is decided again.

    python -m benchmarks.recording --rounds 3 --duration 4

The confirm benchmark with ``recorder.record`` off, observed and all, in turn; the cost is that of the medians. Then the
last log with all decisions is replayed.
"""

import argparse
import asyncio
import gc
import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.confirm import load
from benchmarks.rig import running_validator
from neurons.log_commands import COLLECTOR_THRESHOLD
from neurons.recordings import Recording

MODES = ("off", "observed", "all")
ONE_FILE = 8 * 2**30
"""Bytes: the log is not cut into files."""


def confirm(arguments: argparse.Namespace, record: str, folder: Path) -> float:
    """Confirmed predictions a second."""
    log = folder / record / "events.jsonl"
    recorder = {"record": record, "path": str(log), "file_bytes": ONE_FILE, "total_bytes": 2 * ONE_FILE}
    log.unlink(missing_ok=True)
    with running_validator(arguments.miners, recorder=recorder) as validator:
        result = asyncio.run(load(validator, arguments))
    rate: float = result["predictions_per_second"]
    return rate


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    with TemporaryDirectory(prefix="bettensor-benchmark-") as name:
        for _ in range(arguments.rounds):
            for mode in MODES:
                rates[mode].append(confirm(arguments, mode, Path(name)))
        gc.set_threshold(COLLECTOR_THRESHOLD)
        file = Path(name, "all", "events.jsonl")
        size = file.stat().st_size
        replayed = Recording(file).replay()
    median = {mode: statistics.median(rates[mode]) for mode in MODES}
    return {
        "predictions_per_second": median,
        "cost": {mode: 1 - median[mode] / median["off"] for mode in MODES[1:]},
        "replay": {
            "equal": replayed.equal,
            "events": replayed.events,
            "bytes": size,
            "events_per_second": replayed.events / replayed.seconds,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--miners", type=int, default=50)
    parser.add_argument("--window", type=int, default=8, help="frames in flight for each miner")
    parser.add_argument("--batch", type=int, default=1, help="predictions in a frame")
    parser.add_argument("--duration", type=float, default=4.0, help="seconds of each run")
    parser.add_argument("--signed-per-second", type=float, default=12_000, help="predictions to sign beforehand")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(bystanders=0, stalled=False)
    result = run(arguments := parser.parse_args())
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for mode, rate in result["predictions_per_second"].items():
        cost = result["cost"].get(mode)
        print(f"{rate:8.0f} confirmed predictions/s with record: {mode}{'' if cost is None else f', {cost:.1%} fewer'}")
    replay = result["replay"]
    print(f"{replay['events_per_second']:8.0f} events/s replayed, of {replay['events']}, equal: {replay['equal']}")


if __name__ == "__main__":
    main()
