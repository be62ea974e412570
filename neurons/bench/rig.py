"""Runs a real validator process on one core for a benchmark. The load runs on another core."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from bittensor_core import Keypair

from bettensor.bus.errors import BettensorError
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.edges.certificate_maker import make_certificate
from bettensor.neurons.edges.tls import any_context
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.system.files import replace
from bettensor.neurons.system.ports import free_port
from bettensor.neurons.system.processes import most_open_files, spawn
from bettensor.neurons.system.scratch import scratch_folder

NETUID: Final = 30
ODDS: Final = (1.9, 2.0)
CORES: Final = sorted(os.sched_getaffinity(0))
START_TIMEOUT: Final = 60.0
"""Seconds for a start: a validator first reads a whole ledger, of up to a million rows."""
STOP_TIMEOUT: Final = 30.0
NO_LIMIT: Final = 1e6
"""Messages, predictions and requests per second of one miner: limits must not slow a benchmark down."""
_UNLIMITED: Final = {
    "messages_per_second": NO_LIMIT,
    "burst": NO_LIMIT,
    "predictions_per_second": NO_LIMIT,
    "prediction_burst": NO_LIMIT,
    "bytes_per_second": 1e9,
    "byte_burst": 1e9,
}
"""The same for all that a session may send."""
SPARE_FILES: Final = 64
"""Open files of a process besides its connections: a validator has less than half of that."""


class BenchmarkFailed(BettensorError):
    """A measurement failed, because a condition of the benchmark is not met."""


def require_files(connections: int) -> None:
    """
    Raises:
        BenchmarkFailed: so many connections are more than a process may have.
    """
    needed, most = connections + SPARE_FILES, most_open_files()
    if most < needed:
        raise BenchmarkFailed(
            f"bench: {connections:,} connections need {needed:,} open files, and the hard limit is {most:,}: raise it "
            f"(as root `ulimit -n {needed}`, docker --ulimit nofile={needed}), or set a lower --miners or --clients"
        )


@dataclass
class Server:
    """A process that listens on a port of loopback, on the first core."""

    command: list[str]
    port: int
    log: Path
    process: "subprocess.Popen[bytes]" = field(init=False)
    start_seconds: float = field(init=False)
    """Seconds from the command to the open port."""

    def start(self) -> None:
        """
        Raises:
            BenchmarkFailed: it does not listen.
        """
        begin = time.perf_counter()
        self.process = spawn(self.command, self.log)
        pin(self.process.pid, 0)
        self._wait_for_port()
        self.start_seconds = time.perf_counter() - begin

    def stop(self) -> None:
        """Stop gracefully."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def spread(self) -> None:
        """Let its child processes run on all cores but its own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for child in map(int, children.split()):
            os.sched_setaffinity(child, CORES[1:] or CORES)

    def cpu_seconds(self) -> float:
        """Its user and system time, without that of its child processes."""
        usage = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(usage[11]) + int(usage[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of memory that it uses now."""
        return self._status("VmRSS")

    def peak_memory(self) -> int:
        """The most bytes of memory that it has used."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
        raise BenchmarkFailed(f"process {self.process.pid} has no {name}: has it ended?")

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        else:
            self.process.kill()
        raise BenchmarkFailed(f"{' '.join(self.command)} does not listen:\n{self.log.read_text()[-2000:]}")


@dataclass
class BenchValidator(Server):
    """A validator, and the keys of its registered miners."""

    folder: Path
    hotkey: Hotkey
    keypairs: list[Keypair]
    tls: ssl.SSLContext | None = None
    """For its clients; None: they come plainly."""

    def write_games(self, games: Sequence[Mapping[str, Any]]) -> None:
        """Replace its slate."""
        replace(self.folder / "games.json", json.dumps({"games": list(games)}).encode())


@contextmanager
def running(server: Server) -> Iterator[None]:
    """Run the server while the block runs; this process uses the second core meanwhile."""
    pin(0, 1)
    try:
        server.start()
        try:
            yield
        finally:
            server.stop()
    finally:
        os.sched_setaffinity(0, CORES)


@contextmanager
def running_validator(
    miners: int,
    changes: Mapping[str, Any] | None = None,
    *,
    slate: Sequence[Mapping[str, Any]] | None = None,
    module: str = "bettensor.neurons.validator",
    tls: bool = False,
    before: Callable[[BenchValidator], None] | None = None,
) -> Iterator[BenchValidator]:
    """A validator in a new folder.

    Args:
        miners: number of registered miners.
        changes: changes of its configuration.
        slate: its games; by default one.
        module: the Python module to run.
        tls: whether it has a certificate, and its clients use TLS.
        before: called with it before it starts.
    """
    with scratch_folder("bench") as folder:
        validator = _prepare(folder, miners, module, changes or {}, tls=tls)
        validator.write_games([make_game()] if slate is None else slate)
        if before is not None:
            before(validator)
        with running(validator):
            yield validator


def _prepare(folder: Path, miners: int, module: str, changes: Mapping[str, Any], *, tls: bool) -> BenchValidator:
    """Write wallet, metagraph, slate and configuration of a validator, without starting it."""
    hotkey = new_wallet("bench", "validator", str(folder / "wallets"), "sr25519")
    keypairs = [Keypair.create_from_uri(f"//Miner{i}") for i in range(miners)]
    neurons: list[dict[str, Any]] = [{"hotkey": hotkey, "validator_permit": True}]
    neurons += [{"hotkey": keypair.ss58_address} for keypair in keypairs]
    (folder / "metagraph.yaml").write_text(yaml.safe_dump({"neurons": neurons}))
    port, config = free_port(), folder / "validator.yaml"
    axon: dict[str, Any] = {"ip": "127.0.0.1", "port": port}
    if tls:
        certificate, key = folder / "tls.pem", folder / "tls.key"
        make_certificate(certificate, key, Hotkey(hotkey), None, days=1)
        axon["tls"] = {"certificate": str(certificate), "key": str(key)}
    settings = {
        "role": "validator",
        "netuid": NETUID,
        "state_dir": "state",
        "wallet": {"name": "bench", "hotkey": "validator", "path": str(folder / "wallets")},
        "metagraph": {"static": "metagraph.yaml"},
        "axon": axon,
        "games": {"path": "games.json"},
        "metrics": {"port": 0},
        "recorder": {"record": "off"},
        "actors": {
            "prediction": {"daily_wager_limit": 1e9},
            "connection": _UNLIMITED,
            "auth": {"requests_per_second": NO_LIMIT, "request_burst": NO_LIMIT},
        },
    }
    config.write_text(yaml.safe_dump({**settings, **changes}))
    command = [sys.executable, "-m", module, "--config", str(config)]
    context = any_context() if tls else None
    return BenchValidator(command, port, folder / "log", folder, hotkey, keypairs, context)


def make_game(number: int = 0, odds: tuple[float, float] = ODDS) -> dict[str, Any]:
    """A game for a games file."""
    return {
        "game_id": f"bench-{number}",
        "team_a": "Home",
        "team_b": "Away",
        "sport": "baseball",
        "league": "MLB",
        "event_start_date": "P1D",
        "active": True,
        "team_a_odds": odds[0],
        "team_b_odds": odds[1],
        "can_tie": False,
    }


def pin(process: int, core: int) -> None:
    """Keep ``process`` (0: this one) on one core; with only one core, all processes share it."""
    os.sched_setaffinity(process, {CORES[core % len(CORES)]})
