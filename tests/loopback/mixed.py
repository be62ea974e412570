"""A subnet of our neurons and of existing ones, each in a process: the latter run with bittensor 10 or 9 from PyPI."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import pytest

from bettensor.bus.synapse import stats_form
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.existing.environment import RELEASES, Environment, requirements_of
from bettensor.neurons.existing.process import ExistingProcess, Role
from tests.loopback.processes import NeuronProcess, free_port
from tests.loopback.rig import starting_soon, write
from tests.support import NETUID

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 40.0
"""Seconds that a test waits for what must come, on a machine that has other things to do."""
WALLET: Final = "test"
STRANGER: Final = "stranger"

Json = dict[str, Any]

of_each_release = pytest.mark.parametrize("release", RELEASES)


def python_of(release: int) -> Path:
    """The Python of an environment; the test is skipped on a machine where it could not be made."""
    folder = ROOT / ".venv" / f"existing-{release}"
    environment = Environment(folder, requirements_of(release))
    if not environment.is_made():
        why = environment.reason() or f"not installed; make {folder.relative_to(ROOT)} does it"
        pytest.skip(f"bittensor {release}: {why}")
    return environment.python


class Mixed:
    """Neurons by name; a name stands for a hotkey, and its place for a uid. A stranger is not registered."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.names = names
        self.ports = {name: free_port() for name in names}
        self.hotkeys = {name: new_wallet(WALLET, name, str(folder / "wallets"), "sr25519") for name in names}
        self.ours: dict[str, NeuronProcess] = {}
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.ours.values():
            process.kill()
            process.wait()
        self._running.close()

    def register(self, *, validators: tuple[str, ...], axons: tuple[str, ...]) -> None:
        """Write the metagraph: which neurons have a permit, and which an axon."""
        neurons = []
        for name in self.names:
            if name == STRANGER:
                continue
            neuron: Json = {"hotkey": self.hotkeys[name], "validator_permit": name in validators}
            neurons.append(neuron | ({"axon": f"127.0.0.1:{self.ports[name]}"} if name in axons else {}))
        write(self.folder / "metagraph.yaml", {"neurons": neurons})

    # --- ours

    def start(self, role: str, **changes: Any) -> None:
        """Start our validator or miner; its name is its role."""
        settings: Json = {
            "role": role,
            "netuid": NETUID,
            "state_dir": f"{role}-state",
            "wallet": {"name": WALLET, "hotkey": role, "path": str(self.folder / "wallets")},
            "metagraph": {"static": "metagraph.yaml"},
            "websocket": {"reconnect_base_interval": 0.2, "max_reconnect_interval": 1.0},
            "metrics": {"enabled": False},
            "recorder": {"record": "all"},
        }
        if role == "validator":
            games = [starting_soon(game_id=str(10_000 + number)) for number in range(3)]
            (self.folder / "games.json").write_text(json.dumps({"games": games}))
            settings |= {"axon": {"ip": "127.0.0.1", "port": self.ports[role]}, "games": {"path": "games.json"}}
        else:
            settings["actors"] = {
                "predictor": {"class": "bettensor.models:FilePredictor", "path": str(self.folder / "bets.csv")}
            }
        write(self.folder / f"{role}.yaml", settings | changes)
        self.ours[role] = NeuronProcess(role, self.folder / f"{role}.yaml", self.folder / f"{role}.log")

    def bet(self, *lines: str) -> None:
        """Write the bets of our miner: game, outcome, wager."""
        (self.folder / "bets.csv").write_text("\n".join(["game_id,outcome,wager", *lines, ""]))

    async def stop(self, role: str) -> None:
        self.ours[role].send_signal(15)
        assert await asyncio.to_thread(self.ours[role].wait, PATIENCE) == 0, self.log(role)

    def log(self, role: str) -> str:
        file = self.folder / f"{role}.log"
        return file.read_text() if file.exists() else ""

    async def says(self, role: str, text: str) -> None:
        await self.until(lambda: text in self.log(role), f"{role} says {text!r}")

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():  # noqa: ASYNC110 - files have no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logs = "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in self.folder.glob("*.log"))
            raise AssertionError(f"not within {PATIENCE:g} s: {what}\n{logs}") from None

    def rows(self, file: str, query: str) -> list[Any]:
        """What a database has; nothing while it is being made."""
        path = self.folder / file
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
            try:
                return database.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []

    async def settled(self, file: str) -> None:
        """Wait until each prediction in a database has its verdict on disk: a confirmation is answered before."""
        waiting = "SELECT 1 FROM predictions WHERE code IS NULL"
        await self.until(lambda: not self.rows(file, waiting), f"each prediction in {file} has its verdict")

    # --- existing ones

    def start_miner(self, release: int, name: str = "old-miner", *, validators: tuple[str, ...]) -> ExistingProcess:
        """Start an existing miner, and wait until it listens; it answers only these validators."""
        return self._start(
            release,
            "miner",
            name,
            "listening",
            port=self.ports[name],
            validators=[self.hotkeys[validator] for validator in validators],
            file=str(self.folder / f"{name}.sqlite3"),
        )

    def start_validator(self, release: int, name: str = "old-validator", *, asks: tuple[str, ...]) -> ExistingProcess:
        """Start an existing validator, which has the axons of these neurons."""
        axons = [
            {
                "uid": self.names.index(asked),
                "hotkey": self.hotkeys[asked],
                "ip": "127.0.0.1",
                "port": self.ports[asked],
            }
            for asked in asks
        ]
        return self._start(release, "validator", name, "ready", neurons=axons)

    def _start(self, release: int, role: Role, name: str, sign: str, **settings: Any) -> ExistingProcess:
        wallet = {"name": WALLET, "hotkey": name, "path": str(self.folder / "wallets")}
        settings |= {"wallet": wallet, "uid": self.names.index(name)}
        neuron = ExistingProcess(python_of(release), role, settings, self.folder / f"{name}.log")
        self._running.enter_context(neuron)
        neuron.await_news(sign, timeout=PATIENCE)
        return neuron


def old_game(game_id: str, **changes: Any) -> Json:
    """A game as an existing validator sends it: its dates have a space, and where no tie can be its odds are 0."""
    begin = datetime.now(UTC) + timedelta(days=1)
    return {
        "game_id": game_id,
        "team_a": "Boston",
        "team_b": "New York",
        "sport": "baseball",
        "league": "MLB",
        "create_date": "2026-01-01 00:00:00+00:00",
        "last_update_date": "2026-01-01 00:00:00",
        "event_start_date": f"{begin:%Y-%m-%d %H:%M:%S}+00:00",
        "active": True,
        "outcome": "3",
        "team_a_odds": 1.9,
        "team_b_odds": 2.1,
        "tie_odds": 0.0,
        "can_tie": False,
        **changes,
    }


async def news(neuron: ExistingProcess, what: str, count: int = 1) -> Any:
    """The last of so many things that an existing neuron must have told since its start."""
    told = await asyncio.to_thread(neuron.await_news, what, count, PATIENCE)
    return told[count - 1]


class Rounds:
    """An existing validator's rounds, one after the other."""

    def __init__(self, validator: ExistingProcess) -> None:
        self._validator = validator
        self._count = 0

    async def ask(self, games: list[Json], **changes: Any) -> Json:
        """One round with these games; returns what the validator tells of it."""
        self._count += 1
        command = {"games": {game["game_id"]: game for game in games}, "stats": stats_form(None)}
        self._validator.tell(command | changes)
        outcome: Json = await news(self._validator, "round", self._count)
        return outcome
