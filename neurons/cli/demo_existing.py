"""An existing miner of the demo: the Axon of bittensor 10, in a process of another Python."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bettensor.neurons.cli.demo_player import Player
from bettensor.neurons.existing.process import ExistingProcess
from bettensor.neurons.system.ports import free_port

RELEASE: Final = 10
"""The release of bittensor that the demo's existing miners run with."""
EVERY: Final = 1.0
"""Seconds between two of their bets."""
_COUNTS: Final = "SELECT CASE confirmed WHEN 1 THEN message END, count(*) FROM predictions GROUP BY 1"


@dataclass(slots=True)
class ExistingPlayer(Player):
    """One existing miner; what it says of itself is in its database."""

    python: Path = Path()
    port: int = field(default_factory=free_port)
    hotkey: str = ""
    """Known once its wallet is made."""
    peer: Mapping[str, Any] | None = None
    """What the validator says of it."""
    was_asked: bool = False
    _neuron: ExistingProcess | None = None

    @property
    def file(self) -> Path:
        """Its database."""
        return self.folder / f"{self.name}.sqlite3"

    @property
    def settings(self) -> Path:
        return self.folder / f"{self.name}.json"

    def start(self) -> None:
        self.close()
        settings = json.loads(self.settings.read_text())
        self._neuron = ExistingProcess(self.python, "miner", settings, self.folder / f"{self.name}.log")
        self.process = self._neuron.process
        self.dead_since = None

    def rest(self) -> None:
        """Have it make no more bets; it goes on to answer."""
        if self._neuron is not None:
            self._neuron.tell({"rest": True})

    def close(self) -> None:
        if self._neuron is not None:
            self._neuron.process.kill()
            self._neuron.close()

    def look(self) -> None:
        """Read its predictions. A confirmed one has its verdict in the words of our validator: the code, and why."""
        if not self.file.exists():
            return
        with closing(sqlite3.connect(self.file, timeout=0.5)) as database:
            try:
                counts = database.execute(_COUNTS).fetchall()
            except sqlite3.OperationalError:  # it is being made
                return
        self.codes = Counter()
        for message, count in counts:
            self.codes[None if message is None else message.partition(":")[0]] += count
        self.status = self.last_status = {"latency_ms": None, "predictions": {"waiting": self.codes[None]}}

    def see(self, peer: Mapping[str, Any] | None) -> None:
        """Know what the validator says of it now."""
        self.peer = peer
        self.was_asked |= peer is not None and peer["transport"] == "synapse"

    def has_begun(self) -> bool:
        return self.was_asked

    def is_settled(self) -> bool:
        return self.status is not None and not self.codes[None]

    def describe(self) -> tuple[str, str]:
        if self.process is None or self.process.poll() is not None:
            return "down", ""
        if self.peer is None or self.peer["state"] == "not seen":
            return "not asked" if self.was_asked else "starting", ""
        return self.peer["state"], "Synapse" if self.peer["transport"] == "synapse" else ""
