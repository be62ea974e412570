"""Turns of the event loop: a few take theirs in each, so that nobody else waits long."""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Lets ``most`` go on in each turn of the event loop, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._steps: deque[Callable[[], bool]] = deque()
        self._is_due = False

    def join(self, step: Callable[[], bool]) -> None:
        """Have ``step`` called in turns with all others, soon, as long as it returns True."""
        self._steps.append(step)
        self._schedule()

    async def next(self) -> None:
        """Wait for a turn. Safe to cancel."""
        its_turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def step() -> bool:
            if not its_turn.done():
                its_turn.set_result(None)
            return False

        self.join(step)
        await its_turn

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        try:
            for _ in range(min(self._most, len(self._steps))):
                step = self._steps.popleft()
                if step():
                    self._steps.append(step)
        finally:
            if self._steps:
                self._schedule()
