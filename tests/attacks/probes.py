"""Reads a process from outside: memory, descriptors, CPU time, what it wrote, and whether it says that it is well."""

import asyncio
import contextlib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.attacks.attack import Reading
from tests.attacks.target import LOOPBACK

SAMPLING: Final = 0.1
"""Seconds between two looks at a process."""
HEALTH_INTERVAL: Final = 0.5
"""Seconds between two questions for its health."""
HEALTH_PATIENCE: Final = 5.0
"""Seconds that an operator's health check waits."""
_WARNING: Final = re.compile(r"\| (?:WARNING|ERROR|CRITICAL) ")
MB: Final = 1024 * 1024


class Probe:
    """Looks at one neuron."""

    def __init__(self, process: int, state: Path, log: Path, strangers: Collection[str], *, is_miner: bool) -> None:
        """
        Args:
            process: its id.
            state: its folder.
            log: what it tells its operator.
            strangers: hotkeys whose rows in its database are counted.
            is_miner: its database is an outbox, and not a ledger.
        """
        self._process = Path(f"/proc/{process}")
        self._state = state
        self._log = log
        self._strangers = strangers
        self._query = (
            ("outbox.sqlite3", "SELECT validator, count(*) FROM predictions GROUP BY 1")
            if is_miner
            else ("ledger.sqlite3", "SELECT hotkey, count(*) FROM predictions GROUP BY 1")
        )
        self.most_descriptors = 0
        self._most_recorded = 0.0

    def read(self) -> Reading:
        """All of it, now."""
        status = dict(line.split(":", 1) for line in (self._process / "status").read_text().splitlines())
        times = (self._process / "stat").read_text().rpartition(")")[2].split()
        self.look()
        return Reading(
            memory_mb=int(status["VmRSS"].split()[0]) / 1024,
            peak_mb=int(status["VmHWM"].split()[0]) / 1024,
            descriptors=self._descriptors(),
            cpu_seconds=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
            recorded_mb=self._recorded(),
            stored=self._stored(),
            told=len(_WARNING.findall(self.log())),
        )

    def look(self) -> None:
        """Note what may be gone before the next reading."""
        self.most_descriptors = max(self.most_descriptors, self._descriptors())
        self._most_recorded = max(self._most_recorded, self._recorded())

    def recorded_since(self, reading: Reading) -> float:
        """Megabytes that the event log has grown by at most: old files may be compressed or deleted meanwhile."""
        return self._most_recorded - reading.recorded_mb

    def log(self) -> str:
        """All that it told its operator."""
        return self._log.read_text(errors="surrogateescape")

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look at it again and again while the block runs."""

        async def look_on() -> None:
            while True:
                self.look()
                await asyncio.sleep(SAMPLING)

        task = asyncio.create_task(look_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _descriptors(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return sum(1 for _ in (self._process / "fd").iterdir())
        return 0

    def _recorded(self) -> float:
        size = 0
        for file in self._state.glob("events*"):
            with contextlib.suppress(FileNotFoundError):  # it is being compressed
                size += file.stat().st_size
        return size / MB

    def _stored(self) -> int:
        name, query = self._query
        file = self._state / name
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
            return sum(rows for hotkey, rows in database.execute(query) if hotkey in self._strangers)


@asynccontextmanager
async def asking_for_health(port: int) -> AsyncIterator[Counter[str]]:
    """Ask a validator how it is, as an operator's monitoring does, while the block runs."""
    answers: Counter[str] = Counter()

    async def ask_on() -> None:
        while True:
            answers[await _health(port)] += 1
            await asyncio.sleep(HEALTH_INTERVAL)

    task = asyncio.create_task(ask_on())
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _health(port: int) -> str:
    try:
        async with asyncio.timeout(HEALTH_PATIENCE):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(b"GET /ws/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.transport.abort()
            return f"{head.split(b' ')[1].decode()} {json.loads(body)['status']}"
    except TimeoutError:
        return f"no answer within {HEALTH_PATIENCE:g} s"
    except (OSError, ValueError, LookupError) as error:
        return f"no answer: {type(error).__name__}"
