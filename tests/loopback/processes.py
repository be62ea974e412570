"""Neurons as processes of their own, with a wire between them that can be cut in more ways than one."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Self

from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.wallets import new_wallet
from tests.loopback.rig import starting_soon, write
from tests.support import NETUID

PATIENCE = 40.0
"""Seconds that a test waits for what must come, on a machine that has other things to do."""
_RESET = struct.pack("ii", 1, 0)

Wire = Literal["open", "refused", "half-open"]

PRELOADED = [
    "pytest",
    "uvloop",
    "sqlalchemy.dialects.sqlite",
    "bettensor.neurons.launch",
    *(f"bettensor.neurons.edges.{name}" for name in ("ledger", "listener", "game_feed", "game_stream", "verifiers")),
    *(f"bettensor.neurons.edges.{name}" for name in ("recorder", "dialer", "http_client", "outbox")),
    "bettensor.neurons.edges.predictor",
    "tests.loopback.processes",
]
"""Modules that the process imports from which neurons are forked."""
_nursery = multiprocessing.get_context("forkserver")
_nursery.set_forkserver_preload(PRELOADED)


class NeuronProcess:
    """A neuron in a process of its own, forked from one that has imported all: most of a start is imports."""

    def __init__(self, role: str, config: Path, log: Path, *flags: str) -> None:
        arguments = (role, "--config", str(config), *flags)
        self._process = _nursery.Process(target=_be_neuron, args=(log, arguments), daemon=True)
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def send_signal(self, number: int) -> None:
        if self.poll() is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            TimeoutExpired: it still runs after so many seconds.
        """
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a neuron", timeout or 0)
        return code


def _be_neuron(log: Path, arguments: tuple[str, ...]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    sys.exit(main(arguments))


class Proxy:
    """A TCP port through which miners reach the validator, or do not."""

    def __init__(self) -> None:
        self.target = free_port()
        self.port = free_port()
        self.carried = 0
        """Connections so far."""
        self._wire: Wire = "open"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reset = asyncio.Event()

    async def set(self, wire: Wire) -> None:
        """Open; or every connection reset and new ones refused; or taken, and every byte swallowed for ever."""
        self._wire = wire
        if wire == "refused":
            await self.close()
        elif self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()
        await asyncio.gather(*self._tasks)

    def reset(self) -> None:
        """End every connection as a crash would: at once, with RST."""
        for writer in self._writers:
            reset(writer)
        self._writers.clear()
        self._reset.set()
        self._reset = asyncio.Event()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.carried += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            if self._wire == "half-open":
                await self._reset.wait()
                return
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(back)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self._wire == "half-open":
                await self._reset.wait()  # what was open when the wire went dead stays dead
            sink.write(data)
            await sink.drain()
        sink.close()


class Subnet:
    """One validator and its miners, in processes; and what each of them has on disk."""

    def __init__(self, folder: Path, miners: tuple[str, ...], interval: float = 0.1) -> None:
        self.folder = folder
        self.miners = miners
        self.interval = interval
        """Seconds after which a miner bets on all games again."""
        self.proxy = Proxy()
        self.processes: dict[str, NeuronProcess] = {}
        self.hotkeys: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self._configure()
        await self.proxy.set("open")
        for name in ("validator", *self.miners):
            self.start(name)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        await self.proxy.close()

    def _configure(self) -> None:
        wallets = str(self.folder / "wallets")
        for name in ("validator", *self.miners):
            self.hotkeys[name] = new_wallet("test", name, wallets, "ed25519" if name == "bob" else "sr25519")
        neurons: list[dict[str, Any]] = [
            {"hotkey": hotkey, "crypto": "ed25519" if name == "bob" else "sr25519"}
            for name, hotkey in self.hotkeys.items()
        ]
        neurons[0] |= {"validator_permit": True, "axon": f"127.0.0.1:{self.proxy.port}"}
        write(self.folder / "metagraph.yaml", {"neurons": neurons})
        self.offer(4)
        quick = {
            "heartbeat_interval": 0.5,
            "connection_timeout": 2.0,
            "reconnect_base_interval": 0.2,
            "max_reconnect_interval": 1.0,
        }
        for number, name in enumerate(self.hotkeys):
            settings: dict[str, Any] = {
                "role": "miner",
                "netuid": NETUID,
                "state_dir": f"{name}-state",
                "wallet": {"name": "test", "hotkey": name, "path": wallets},
                "metagraph": {"static": "metagraph.yaml"},
                "websocket": quick,
                "metrics": {"enabled": False},
                "recorder": {"record": "all"},
            }
            if name == "validator":
                settings |= {
                    "role": "validator",
                    "axon": {"ip": "127.0.0.1", "port": self.proxy.target},
                    "games": {"path": "games.json"},
                    "actors": {"prediction": {"daily_wager_limit": 1_000_000, "odds_grace": 3600}},
                }
            else:
                settings["actors"] = {
                    "predictor": {"edge": 1.0, "bankroll": 10.0, "seed": number},
                    "model": {"interval": self.interval},
                    "http_fallback": {"poll_interval": 0.5},
                }
            write(self.folder / f"{name}.yaml", settings)

    def offer(self, games: int, **changes: Any) -> None:
        """Put this many games on the slate, as an operator does: a new file in the place of the old one."""
        slate = [starting_soon(game_id=f"game-{number}", **changes) for number in range(games)]
        fresh = self.folder / "games.new"
        fresh.write_text(json.dumps({"games": slate}))
        fresh.replace(self.folder / "games.json")

    # --- the processes

    def start(self, name: str, *flags: str) -> None:
        role = "validator" if name == "validator" else "miner"
        self.processes[name] = NeuronProcess(role, self.folder / f"{name}.yaml", self.folder / f"{name}.log", *flags)

    async def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """End a process, and wait for that; returns its exit code."""
        self.processes[name].send_signal(number)
        return await asyncio.to_thread(self.processes[name].wait, 30)

    def freeze(self, name: str, *, frozen: bool = True) -> None:
        self.processes[name].send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def log(self, name: str) -> str:
        file = self.folder / f"{name}.log"
        return file.read_text() if file.exists() else ""

    async def says(self, name: str, text: str, since: int = 0) -> None:
        """Wait for a line in a neuron's log, at or after the character ``since``."""
        await self.until(lambda: text in self.log(name)[since:], f"{name} says {text!r}")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():  # noqa: ASYNC110 - files have no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.processes)
            raise AssertionError(f"not within {PATIENCE:g} s: {what}\n{logs}") from None

    # --- what is on disk

    def rows(self, name: str, query: str) -> list[Any]:
        file = "ledger" if name == "validator" else "outbox"
        path = self.folder / f"{name}-state" / f"{file}.sqlite3"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
            try:
                return database.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []  # it is being made

    def verdicts(self, name: str) -> int:
        return int((self.rows(name, "SELECT count(*) FROM predictions WHERE code IS NOT NULL") or [(0,)])[0][0])

    async def predict(self, name: str, more: int = 5) -> None:
        """Wait until a miner has more verdicts than it had."""
        goal = self.verdicts(name) + more
        await self.until(lambda: self.verdicts(name) >= goal, f"{name} has {more} more verdicts")

    def waiting(self, name: str) -> list[Any]:
        """Predictions of a miner that have no verdict."""
        return self.rows(name, "SELECT prediction_id FROM predictions WHERE code IS NULL")

    def slate(self, name: str) -> list[Any]:
        table = "slate" if name == "validator" else "games"
        return self.rows(name, f"SELECT game_id, content FROM {table} ORDER BY game_id")  # noqa: S608 - one of two

    async def whole(self, games: int) -> None:
        """Wait until every miner has the validator's whole slate of so many games."""
        for name in self.miners:
            await self.until(
                lambda name=name: len(self.slate("validator")) == games and self.slate(name) == self.slate("validator"),  # type: ignore[misc]
                f"{name} has the slate of {games} games",
            )

    async def settle(self, games: int, codes: Collection[str] = ("accepted",)) -> None:
        """All goes on, and then stops: every prediction has its verdict, one of ``codes``, as it is in the ledger."""
        for name in self.miners:
            await self.predict(name)
        await self.whole(games)
        for name in self.miners:
            # the model may have been asked a second after the last change: what it bet then is under way
            await self.until(lambda name=name: not self.waiting(name), f"{name} waits for no verdict")  # type: ignore[misc]
            assert await self.stop(name) == 0
            told = self.rows(name, "SELECT prediction_id, code FROM predictions ORDER BY 1")
            stored = self.rows("validator", "SELECT hotkey, prediction_id, code FROM predictions ORDER BY 2")
            of_it = [(prediction, code) for hotkey, prediction, code in stored if hotkey == self.hotkeys[name]]
            assert told == of_it, f"{name}: {set(told) ^ set(of_it)}"
            found = {code for _, code in told}
            assert "accepted" in found <= set(codes), f"{name}: {found}"
        assert await self.stop("validator") == 0


@asynccontextmanager
async def running_subnet(folder: Path, *miners: str, interval: float = 0.1) -> AsyncIterator[Subnet]:
    """A subnet whose miners have sessions, predict and have verdicts.

    A miner may have verdicts before its session: it posts them if the validator was not there yet when it dialled.
    """
    async with Subnet(folder, miners, interval) as subnet:
        for name in miners:
            await subnet.says(name, "WebSocket connection established with validator")
            await subnet.predict(name)
        yield subnet


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash would: at once, with RST."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
