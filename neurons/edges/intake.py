"""Hands what validators say to the bus, one validator after the other.

Each frame waits for its turn, in which nothing else is read from the socket that it came from. So a validator that
floods waits for itself, and the verdicts of the others do not.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from bettensor.actors.budget import Budget
from bettensor.actors.settings import IntakeSettings
from bettensor.bus.clock import Clock
from bettensor.bus.errors import BettensorError
from bettensor.bus.identifiers import SECOND, Hotkey, Micros, micros
from bettensor.neurons.edges.edge import Edge

LEAST: Final = 1024
"""Bytes that a frame counts for at least: to verify and deliver the smallest costs as much as parsing so many."""
TURN: Final = 16 * 1024
"""Bytes that are handed over in one turn of the event loop, or else one frame: about 1 ms of work."""


class Flooded(BettensorError):
    """A validator goes on sending more than this miner takes."""


@dataclass(slots=True)
class _Lane:
    """The frames of one validator."""

    budget: Budget
    waiting: "deque[tuple[asyncio.Future[None], int]]" = field(default_factory=deque)
    """The readers whose frame waits for its turn, with its bytes."""
    slowed_at: Micros | None = None
    """When it began to send too much; None if half of its burst is there again."""


class Intake(Edge):
    """Gives each validator's frames their turns, and slows one that sends too much."""

    name = "intake"

    def __init__(self, settings: IntakeSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lanes: dict[Hotkey, _Lane] = {}
        self._queue: deque[_Lane] = deque()
        """The lanes with waiting frames, in the order of their turns."""
        self._scheduled = False

    async def turn(self, validator: Hotkey, size: int) -> None:
        """Wait until a frame of ``validator`` may be published, at once after this returns. Safe to cancel.

        Args:
            validator: the one that sent it.
            size: bytes of the frame.

        Raises:
            Flooded: it has sent too much for too long.
        """
        lane = self._lane(validator)
        cost = max(LEAST, size)
        await self._afford(lane, cost)
        ready = asyncio.get_running_loop().create_future()
        if not lane.waiting:
            self._queue.append(lane)
        lane.waiting.append((ready, cost))
        self._schedule()
        await ready

    def _lane(self, validator: Hotkey) -> _Lane:
        lane = self._lanes.get(validator)
        if lane is None:
            lane = self._lanes[validator] = _Lane(Budget(self._settings.burst_bytes, self._clock.mono()))
        return lane

    async def _afford(self, lane: _Lane, cost: int) -> None:
        """Take ``cost`` from the validator's budget, and wait until it is paid."""
        settings, now = self._settings, self._clock.mono()
        if lane.budget.refill(now, settings.bytes_per_second, settings.burst_bytes) >= settings.burst_bytes / 2:
            lane.slowed_at = None
        lane.budget.tokens -= cost
        if lane.budget.tokens >= 0:
            return
        lane.slowed_at = now if lane.slowed_at is None else lane.slowed_at
        if now - lane.slowed_at > micros(settings.patience):
            rate = settings.bytes_per_second / 1e6
            raise Flooded(f"more than {rate:g} MB a second for {(now - lane.slowed_at) // SECOND} s")
        await asyncio.sleep(-lane.budget.tokens / settings.bytes_per_second)

    def _schedule(self) -> None:
        if self._queue and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._give_turns)

    def _give_turns(self) -> None:
        """Let the next frames through, one of each lane after the other; the rest waits for the loop's next turn."""
        self._scheduled = False
        given = 0
        while self._queue and given < TURN:
            lane = self._queue.popleft()
            ready, cost = lane.waiting.popleft()
            if not ready.cancelled():
                ready.set_result(None)
                given += cost
            if lane.waiting:
                self._queue.append(lane)
        self._schedule()
