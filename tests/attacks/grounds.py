"""The neurons that are attacked: real processes with their defaults, and honest neurons beside them."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bittensor_core import Keypair

from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.bench.rig import NETUID, make_game
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.system.ports import free_port
from tests.attacks.honest import HonestMiners, HonestValidator, working
from tests.attacks.probes import Probe
from tests.attacks.target import LOOPBACK, Target, key
from tests.loopback.processes import NeuronProcess
from tests.loopback.rig import write

HONEST: Final = tuple(f"//Honest{number}" for number in range(10))
NEWCOMERS: Final = tuple(f"//Newcomer{number}" for number in range(4))
ATTACKERS: Final = tuple(f"//Attacker{number}" for number in range(300))
LIAR: Final = "//Liar"
START: Final = 30.0
"""Seconds in which a neuron must listen, or have its first verdict."""
LONGEST: Final = 20.0
"""Seconds after SIGTERM until a neuron is killed."""


def keys(uris: tuple[str, ...]) -> list[Keypair]:
    """The key of each URI."""
    return [key(uri) for uri in uris]


class Neuron:
    """A neuron's process."""

    def __init__(self, role: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.log = folder / f"{role}.log"
        self.state = folder / f"{role}-state"
        base = {
            "role": role,
            "netuid": NETUID,
            "state_dir": str(self.state),
            "wallet": {"name": "test", "hotkey": role, "path": str(folder / "wallets")},
            "metagraph": {"static": "metagraph.yaml"},
            "metrics": {"port": 0},
        }
        self.process = NeuronProcess(role, write(folder / f"{role}.yaml", {**base, **settings}), self.log)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    async def until_it_listens(self, port: int) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.transport.abort()
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"it does not listen:\n{self.log.read_text()[-2000:]}")

    async def stop(self) -> tuple[float, int | None]:
        """Seconds from SIGTERM to the end, and the exit code; None if it had to be killed."""
        begun = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(self.process.wait, LONGEST)
        except subprocess.TimeoutExpired:
            self.kill()
            return LONGEST, None
        return time.perf_counter() - begun, code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@asynccontextmanager
async def running(role: str, folder: Path, settings: Mapping[str, Any]) -> AsyncIterator[Neuron]:
    """A neuron while the block runs."""
    neuron = Neuron(role, folder, settings)
    try:
        yield neuron
    finally:
        neuron.kill()


class Ground:
    """An attacked neuron, and the honest ones that it serves."""

    def __init__(self, neuron: Neuron, target: Target, probe: Probe, honest: HonestMiners | HonestValidator) -> None:
        self.neuron = neuron
        self.target = target
        self.probe = probe
        self.honest = honest

    def now(self) -> float:
        """The time on the clock of the honest neurons."""
        return time.perf_counter() if isinstance(self.honest, HonestMiners) else time.time()


@asynccontextmanager
async def validator_ground(folder: Path, games: int, changes: Mapping[str, Any]) -> AsyncIterator[Ground]:
    """A validator with ten honest miners at work."""
    hotkey = Hotkey(new_wallet("test", "validator", str(folder / "wallets"), "sr25519"))
    members = [keypair.ss58_address for keypair in keys((*HONEST, *NEWCOMERS, *ATTACKERS))]
    neurons = [{"hotkey": hotkey, "validator_permit": True}, *({"hotkey": member} for member in members)]
    write(folder / "metagraph.yaml", {"neurons": neurons})
    port = write_slate(folder, games)
    axon = {"ip": LOOPBACK, "port": port, **changes.get("axon", {})}
    settings = {"games": {"path": "games.json"}, **changes, "axon": axon}
    if "tls" in axon:
        await make_certificate(folder)
    async with running("validator", folder, settings) as neuron:
        await neuron.until_it_listens(port)
        async with working(keys(HONEST), keys(NEWCOMERS), port, hotkey) as honest:
            probe = Probe(neuron.pid, neuron.state, neuron.log, set(members[-len(ATTACKERS) :]), is_miner=False)
            yield Ground(neuron, Target(port, hotkey, ATTACKERS, str(neuron.state)), probe, honest)


@asynccontextmanager
async def miner_ground(folder: Path, games: int, changes: Mapping[str, Any]) -> AsyncIterator[Ground]:
    """A miner with an honest validator, and a place where it looks for a lying one."""
    wallets = str(folder / "wallets")
    validator, miner = (Hotkey(new_wallet("test", role, wallets, "sr25519")) for role in ("validator", "miner"))
    (liar,) = keys((LIAR,))
    port, place = write_slate(folder, max(games, 4)), free_port()
    write(
        folder / "metagraph.yaml",
        {
            "neurons": [
                {"hotkey": validator, "validator_permit": True, "axon": f"{LOOPBACK}:{port}"},
                {"hotkey": liar.ss58_address, "validator_permit": True, "axon": f"{LOOPBACK}:{place}"},
                {"hotkey": miner},
            ]
        },
    )
    of_validator = {
        "axon": {"ip": LOOPBACK, "port": port},
        "games": {"path": "games.json"},
        "actors": {"prediction": {"daily_wager_limit": 1e9}},
    }
    model = {"predictor": {"edge": 1.0, "bankroll": 10.0, "seed": 1}, "model": {"interval": 0.1}}
    quick = {"reconnect_base_interval": 0.1, "max_reconnect_interval": 0.3}
    fallback = {"http_fallback": {"poll_interval": 0.5}}
    of_miner = {"websocket": quick, "actors": model | fallback, **changes}
    async with running("validator", folder, of_validator) as beside:
        await beside.until_it_listens(port)
        async with running("miner", folder, of_miner) as neuron:
            honest = HonestValidator(neuron.state / "outbox.sqlite3", validator)
            await first_verdict(neuron, honest)
            probe = Probe(neuron.pid, neuron.state, neuron.log, {liar.ss58_address}, is_miner=True)
            yield Ground(neuron, Target(place, miner, (LIAR,), str(neuron.state)), probe, honest)


@asynccontextmanager
async def axon_ground(folder: Path, games: int, changes: Mapping[str, Any]) -> AsyncIterator[Ground]:
    """A miner at work that also listens, as for existing validators."""
    port = free_port()
    listening = {"synapse": {"enabled": True, "ip": LOOPBACK, "port": port}}
    async with miner_ground(folder, games, {**changes, **listening}) as ground:
        await ground.neuron.until_it_listens(port)
        target = replace(ground.target, port=port, members=ATTACKERS)
        yield Ground(ground.neuron, target, ground.probe, ground.honest)


async def make_certificate(folder: Path) -> None:
    """A certificate for this run, in the files that its settings name."""
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=attacked -days 1"
    files = ("-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.pem"))
    made = await asyncio.create_subprocess_exec("openssl", *options.split(), *files, stderr=subprocess.DEVNULL)
    assert await made.wait() == 0


def write_slate(folder: Path, games: int) -> int:
    """Write a validator's games; returns a free port for it."""
    (folder / "games.json").write_text(json.dumps({"games": [make_game(number) for number in range(games)]}))
    return free_port()


async def first_verdict(neuron: Neuron, honest: HonestValidator) -> None:
    begun = time.time()
    while time.time() < begun + START:
        with contextlib.suppress(sqlite3.Error):  # it is being made
            if honest.fared(begun, time.time()).confirmed:
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the miner has no verdict:\n{neuron.log.read_text()[-2000:]}")


GROUNDS: Final = {"validator": validator_ground, "miner": miner_ground, "axon": axon_ground}
