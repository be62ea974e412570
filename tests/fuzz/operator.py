"""A miner's control socket without the socket: its answers to any line."""

import asyncio
from pathlib import Path
from typing import Final
from unittest import mock

from bettensor.bus.events import Position
from bettensor.bus.identifiers import Epoch, Offset
from bettensor.neurons.edges import control
from bettensor.neurons.edges.control import Control
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.handlers import UserHandlers
from bettensor.neurons.simulation import SimulatedMiner, make_game, make_hotkey

FRESH_AFTER: Final = 1_000
"""Questions that one miner is asked: it keeps each prediction that it was told to make."""


class Socket:
    """Answers one line after the other, with a game on its slate."""

    def __init__(self) -> None:
        self.stopped = 0
        """How often it was asked to stop."""
        self._asked = 0

    def request_stop(self, reason: str) -> None:
        assert reason
        self.stopped += 1

    async def ask(self, line: bytes) -> bytes:
        """All that is answered to ``line``."""
        if not self._asked % FRESH_AFTER:
            self._begin()
        self._asked += 1
        self._miner.envelopes.clear()
        with mock.patch.object(control, "PATIENCE", 0):  # no verdict will come
            answers = [part async for part in self._control._answers(line)]  # noqa: SLF001 - what its server calls
        await asyncio.sleep(0)
        return b"".join(answers)

    def _begin(self) -> None:
        self._miner = SimulatedMiner()
        validator, game = make_hotkey("validator"), make_game("a")
        self._miner.outbox.slates[validator] = {game.game_id: game}
        self._miner.outbox.positions[validator] = Position(Epoch("e" * 32), Offset(1))
        self._control = Control(StateDir(Path("unused")), UserHandlers(), self, self._miner.clock)
        self._control.attach(self._miner.bus)
        self._miner.start()
