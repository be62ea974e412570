"""The benchmark still measures what it says: a short run of it, whose speed nobody looks at."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_confirm_benchmark_confirms() -> None:
    arguments = ["--miners", "3", "--window", "2", "--duration", "0.5", "--signed-per-second", "4000", "--json"]
    command = [sys.executable, str(ROOT / "benchmarks" / "confirm.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["confirmed"] > 0
    assert result["rejected"] == 0
    assert result["ratio"] > 0
    assert result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["max"]
