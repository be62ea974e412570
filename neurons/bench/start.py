"""``start``: the time until a command, a validator and a miner are ready."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

import yaml

from bettensor.neurons.bench.figures import Figures
from bettensor.neurons.bench.rig import NETUID, BenchmarkFailed, BenchValidator, running_validator
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.system.processes import spawn

ROUNDS: Final = 3
TIMEOUT: Final = 20.0


def start() -> Figures:
    """Seconds: the median of several rounds. The validator and the miner have one core each."""
    help_seconds = statistics.median(_timed(_help) for _ in range(ROUNDS))
    listening, connected = [], []
    for _ in range(ROUNDS):
        with running_validator(0, before=_prepare_miner) as validator:
            listening.append(validator.start_seconds)
            connected.append(_timed(lambda: _connect_miner(validator)))
    return {
        "help_seconds": help_seconds,
        "validator_listening_seconds": statistics.median(listening),
        "miner_connected_seconds": statistics.median(connected),
    }


def _timed(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _help() -> None:
    command = [sys.executable, "-m", "bettensor.neurons.cli.main", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command


def _connect_miner(validator: BenchValidator) -> None:
    """Run a miner until its validator reports it as connected."""
    command = [sys.executable, "-m", "bettensor.neurons.miner", "--config", str(validator.folder / "miner.yaml")]
    log, deadline = validator.folder / "miner.log", time.monotonic() + TIMEOUT
    miner = spawn(command, log)
    try:
        while b"WebSocket connection established" not in validator.log.read_bytes():
            if time.monotonic() > deadline or miner.poll() is not None:
                raise BenchmarkFailed(f"no miner connects:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)
    finally:
        miner.kill()
        miner.wait()


def _prepare_miner(validator: BenchValidator) -> None:
    folder = validator.folder
    hotkey = new_wallet("bench", "miner", str(folder / "wallets"), "sr25519")
    axon = f"127.0.0.1:{validator.port}"
    neurons = [{"hotkey": validator.hotkey, "validator_permit": True, "axon": axon}, {"hotkey": hotkey}]
    (folder / "metagraph.yaml").write_text(yaml.safe_dump({"neurons": neurons}))
    settings = {
        "role": "miner",
        "netuid": NETUID,
        "state_dir": "miner-state",
        "wallet": {"name": "bench", "hotkey": "miner", "path": str(folder / "wallets")},
        "metagraph": {"static": "metagraph.yaml"},
        "metrics": {"enabled": False},
    }
    (folder / "miner.yaml").write_text(yaml.safe_dump(settings))
