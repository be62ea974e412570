"""The benchmarks still measure what they say: short runs of them, whose speed nobody looks at."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def run(name: str, *arguments: str) -> Any:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_confirm_benchmark_confirms() -> None:
    arguments = ["--miners", "3", "--window", "2", "--duration", "0.5", "--signed-per-second", "4000"]
    result = run("confirm", *arguments)
    assert result["confirmed"] > 0
    assert result["rejected"] == 0
    assert result["ratio"] > 0
    assert result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["max"]


def test_the_broadcast_benchmark_reaches_every_miner() -> None:
    result = run("broadcast", "--miners", "3", "--updates", "2")
    assert result["updates"] >= 2
    assert 0 < result["first_delivery_ms"] <= result["last_delivery_ms"]["max"]


def test_the_recording_benchmark_replays_what_it_recorded() -> None:
    arguments = ["--rounds", "1", "--miners", "3", "--window", "2", "--duration", "0.5", "--signed-per-second", "4000"]
    result = run("recording", *arguments)
    assert set(result["cost"]) == {"observed", "all"}
    assert result["replay"]["equal"]
    assert result["replay"]["events"] > 100
