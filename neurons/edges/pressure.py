"""Tells the bus which limits of a public port act: an operator learns the cause, and an attacker floods no log."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bettensor.bus.events import AcceptingFailed, AcceptingResumed, ConnectionsShed, Event

INTERVAL: Final = 60.0
"""Seconds between two events about one limit."""
CALM: Final = 5.0
"""Seconds without a shortage, after which it is over."""


@dataclass(slots=True)
class _Account:
    most: int
    network: str
    count: int = 0


class Pressure:
    """Counts the connections that had to leave, and tells each limit at once, and then at most once in ``INTERVAL``."""

    def __init__(self, publish: Callable[[Event], object]) -> None:
        """
        Args:
            publish: the bus's; it is called in turns of the event loop of their own.
        """
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._accounts: dict[str, _Account] = {}
        self._timers: dict[str, asyncio.Handle] = {}
        self._recovery: asyncio.Handle | None = None
        self._is_short = False

    def shed(self, limit: str, most: int, network: str) -> None:
        """A connection from ``network`` had to leave for ``limit``, which is ``most``."""
        account = self._accounts.setdefault(limit, _Account(most, network))
        account.most, account.network = most, network
        account.count += 1
        if limit not in self._timers:
            self._timers[limit] = self._loop.call_soon(self._tell, limit)

    def shortage(self, error: OSError | None) -> None:
        """The system has refused a connection by ``error``, or gives connections again."""
        if self._recovery is not None:
            self._recovery.cancel()
            self._recovery = None
        if error is None:
            self._recovery = self._loop.call_later(CALM, self._recover)
        elif not self._is_short:
            self._is_short = True
            self._publish(AcceptingFailed(error.strerror or os.strerror(error.errno or 0)))

    def close(self) -> None:
        """Tell nothing more."""
        for timer in (*self._timers.values(), self._recovery):
            if timer is not None:
                timer.cancel()

    def _tell(self, limit: str) -> None:
        account = self._accounts.pop(limit, None)
        if account is None:
            del self._timers[limit]
            return
        self._timers[limit] = self._loop.call_later(INTERVAL, self._tell, limit)
        self._publish(ConnectionsShed(limit, account.most, account.count, account.network))

    def _recover(self) -> None:
        self._is_short = False
        self._publish(AcceptingResumed())
