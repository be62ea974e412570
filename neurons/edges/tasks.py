"""Runs the work of edges outside the drain: no failed task goes unnoticed."""

import asyncio
import math
from collections.abc import Coroutine

from bettensor.bus.bus import EventBus
from bettensor.bus.events import EdgeFailed
from bettensor.bus.redaction import traceback_of


class Tasks:
    """The tasks of one edge. An unexpected exception in one becomes ``EdgeFailed``."""

    def __init__(self, bus: EventBus, edge: str) -> None:
        self._bus = bus
        self._edge = edge
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether one is running; a task that has ended is forgotten only in the loop's next turn."""
        return not all(task.done() for task in self._tasks)

    def start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run ``work`` in a new task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def settle(self, patience: float | None = None) -> None:
        """Wait until no task is running, including tasks that follow from others, or ``patience`` seconds are over.

        Safe to cancel.
        """
        # not asyncio.timeout: in Python 3.11.2 it raises CancelledError if the task was cancelled before
        now = asyncio.get_running_loop().time
        deadline = math.inf if patience is None else now() + patience
        while self._tasks and (left := deadline - now()) > 0:
            await asyncio.wait(self._tasks, timeout=None if patience is None else left)

    async def cancel(self) -> None:
        """End all running tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bus.publish(EdgeFailed(self._edge, task.get_name(), traceback_of(error)))
