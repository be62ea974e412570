"""One neuron of the demo: its process, and what it says and keeps."""

import contextlib
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bettensor.bus.errors import BettensorError
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.cli.demo_wire import Wire
from bettensor.neurons.cli.history import OUTBOX, history_codes, history_file
from bettensor.neurons.system.processes import spawn

VALIDATOR: Final = "validator"
FEW: Final = 50
"""Predictions without a verdict with which a miner may be stopped."""
STOP_TIMEOUT: Final = 15.0
"""Seconds for a process to stop; then it is killed."""


@dataclass(slots=True)
class Player:
    """One neuron of the demo."""

    name: str
    folder: Path
    process: "subprocess.Popen[Any] | None" = None
    wire: Wire | None = None
    status: dict[str, Any] | None = None
    """Its newest status; None while it does not answer."""
    last_status: dict[str, Any] | None = None
    codes: "Counter[str | None]" = field(default_factory=Counter)
    """Its predictions on disk by verdict, also those made before it was killed; None counts those without a verdict."""
    dead_since: float | None = None
    restarts: int = 0
    websocket: bool = True
    told: tuple[str, str] = ("", "")
    """The state and transport that the plain lines told last."""

    @property
    def state_dir(self) -> Path:
        return self.folder / f"{self.name}-state"

    def start(self) -> None:
        role = VALIDATOR if self.name == VALIDATOR else "miner"
        command = [
            sys.executable,
            "-m",
            f"bettensor.neurons.{role}",
            "--config",
            str(self.folder / f"{self.name}.yaml"),
        ]
        self.process = spawn(command, self.folder / f"{self.name}.log")
        self.dead_since = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def look(self) -> None:
        """Read its status and its predictions; of the validator the games too."""
        question = {"ask": "status", "slates": self.name == VALIDATOR}
        try:
            self.status = self.last_status = ask(self.state_dir, question, 0.5)
        except BettensorError:
            self.status = None
        with contextlib.suppress(BettensorError):  # it has no file yet
            self.codes = history_codes(history_file(self.state_dir))

    def has_begun(self) -> bool:
        """Whether a miner has come so far that it keeps its predictions."""
        return (self.state_dir / OUTBOX).exists()

    def is_settled(self) -> bool:
        """Whether it may be stopped: a miner waits for its last verdicts, but not for ever."""
        return self.status is not None and bool(self.describe()[1]) and self.status["predictions"]["waiting"] < FEW

    def judged(self) -> "Counter[str]":
        """The number of its predictions by verdict."""
        return Counter({code: count for code, count in self.codes.items() if code is not None})

    def end_of_log(self) -> str:
        log = self.folder / f"{self.name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    def works(self) -> bool:
        """Whether it answers, and is connected if it is a miner."""
        if self.status is None or self.dead_since is not None or (self.wire is not None and self.wire.cut):
            return False
        return self.name == VALIDATOR or bool(self.describe()[1])

    def describe(self) -> tuple[str, str]:
        """State and transport, one word each."""
        if self.process is None or self.process.poll() is not None:
            return "down", ""
        if self.status is None:
            return "starting", ""
        if self.name == VALIDATOR:
            return str(self.status["health"]), ""
        peer = next(iter(self.status["peers"]), None)
        if peer is None:
            return "starting", ""
        return peer["state"], {"websocket": "WebSocket", "http": "HTTP"}.get(peer["transport"], "")


def await_end(players: list[Player]) -> None:
    """Wait until their processes have ended; kill those that take longer than ``STOP_TIMEOUT``."""
    deadline = time.monotonic() + STOP_TIMEOUT
    for player in players:
        if player.process is not None:
            try:
                player.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                player.process.kill()
