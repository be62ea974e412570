"""Honest neurons beside an attack: their pace, and how long they wait."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bittensor_core import Keypair

from bettensor.bus.identifiers import Hotkey
from bettensor.bus.percentiles import percentile
from bettensor.neurons.bench.load import LoadPredictor, prediction_message
from bettensor.neurons.bench.rig import BenchmarkFailed
from tests.attacks.attack import Honest
from tests.attacks.target import LOOPBACK

PACE: Final = 0.1
"""Seconds between two predictions of one miner."""
NEWCOMING: Final = 0.4
"""Seconds between two handshakes of honest newcomers."""
WELCOMING: Final = 5.0
"""Seconds in which a newcomer must have its slate, and a prediction its verdict."""


class HonestMiner(LoadPredictor):
    """A session that sends a signed prediction every ``PACE``, whatever comes back, and times the verdicts."""

    def hear(self, payload: bytes) -> None:
        if b'"message_type":"game_update"' not in payload:  # a large slate comes in parts
            super().hear(payload)

    def send(self, due: float) -> None:
        """One prediction, which was due at this time of ``perf_counter``."""
        self.frames.append(self.frame(prediction_message(1)))
        self.push(due)

    def since(self, begun: float, ended: float) -> list[float]:
        """Seconds that each prediction of a phase waited, or has waited until now."""
        now = time.perf_counter()
        waits = [*self.latencies, *(now - due for due in self.due[len(self.latencies) :])]
        return [wait for due, wait in zip(self.due, waits, strict=True) if begun <= due < ended]

    def has_failed(self) -> str | None:
        """Why it is no longer served, if so."""
        if self.fault is None and self.rejected:
            return f"{self.rejected} predictions were rejected"
        return self.fault


async def join(keypair: Keypair, port: int, validator: Hotkey) -> HonestMiner:
    """
    Raises:
        BenchmarkFailed: it was refused.
        OSError: nothing listens.
        TimeoutError: it was not welcomed in time.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(WELCOMING):
        _, miner = await loop.create_connection(lambda: HonestMiner(keypair, validator), LOOPBACK, port)
        try:
            await miner.opened
        except BaseException:
            miner.leave()
            raise
    return miner


class HonestMiners:
    """Miners at work, and newcomers that come and go."""

    def __init__(self, miners: list[HonestMiner], newcomers: Sequence[Keypair], port: int, validator: Hotkey) -> None:
        self._miners = miners
        self._newcomers = newcomers
        self._port = port
        self._validator = validator
        self._turned_away: list[tuple[float, str]] = []

    async def work(self) -> None:
        """Send for ever, each miner at its own instant."""
        begun = time.perf_counter()
        number = 0
        while True:
            due = begun + number * PACE / len(self._miners)
            await asyncio.sleep(due - time.perf_counter())
            miner = self._miners[number % len(self._miners)]
            if not miner.transport.is_closing():
                miner.send(due)
            number += 1

    async def come_and_go(self) -> None:
        """Open one session after the other, for ever."""
        number = 0
        while True:
            at = time.perf_counter()
            try:
                (await join(self._newcomers[number % len(self._newcomers)], self._port, self._validator)).leave()
            except TimeoutError:
                self._turned_away.append((at, f"a newcomer was not welcomed within {WELCOMING:g} s"))
            except (OSError, BenchmarkFailed) as error:
                self._turned_away.append((at, f"a newcomer was turned away: {str(error).partition(chr(13))[0]}"))
            number += 1
            await asyncio.sleep(NEWCOMING)

    async def settle(self) -> None:
        """Wait until all have their verdicts, but no longer than they do themselves."""
        deadline = time.perf_counter() + WELCOMING
        while self._waits() and time.perf_counter() < deadline:  # noqa: ASYNC110 - a session has no event for it
            await asyncio.sleep(0.02)

    def _waits(self) -> bool:
        return any(miner.outstanding and not miner.fault for miner in self._miners)

    def fared(self, begun: float, ended: float) -> Honest:
        """How they fared from ``begun`` to ``ended``, times of ``perf_counter``."""
        waits = [wait for miner in self._miners for wait in miner.since(begun, ended)]
        failed = [f"a session: {reason}" for miner in self._miners if (reason := miner.has_failed()) is not None]
        failed += [reason for at, reason in self._turned_away if begun <= at < ended]
        missing = sum(miner.outstanding for miner in self._miners)
        failed += [f"{missing} predictions without a verdict after {WELCOMING:g} s"] if missing else []
        return summary(waits, failed)


@asynccontextmanager
async def working(
    keypairs: Sequence[Keypair], newcomers: Sequence[Keypair], port: int, validator: Hotkey
) -> AsyncIterator[HonestMiners]:
    """Honest miners at work while the block runs."""
    miners = [await join(keypair, port, validator) for keypair in keypairs]
    honest = HonestMiners(miners, newcomers, port, validator)
    tasks = [asyncio.create_task(honest.work()), asyncio.create_task(honest.come_and_go())]
    try:
        yield honest
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for miner in miners:
            miner.leave()


class HonestValidator:
    """The validator beside a lying one, as a miner's outbox has it: from a prediction to its verdict."""

    def __init__(self, outbox: Path, hotkey: Hotkey) -> None:
        self._outbox = outbox
        self._hotkey = hotkey

    async def settle(self) -> None:
        """Wait for the verdicts on what was predicted until now, but no longer than a miner does."""
        now = time.time()
        deadline = now + WELCOMING
        while time.time() < deadline and self._waits(now):  # noqa: ASYNC110 - files have no event
            await asyncio.sleep(0.05)

    def _waits(self, until: float) -> bool:
        return any(settled is None for _, settled in self._rows(0.0, until))

    def fared(self, begun: float, ended: float) -> Honest:
        """How the predictions fared that were made from ``begun`` to ``ended``, times of the wall clock."""
        rows = self._rows(begun, ended)
        now = time.time()
        missing = sum(settled is None for _, settled in rows)
        failed = [f"{missing} predictions without a verdict after {WELCOMING:g} s"] if missing else []
        failed += [] if rows else ["the miner predicted nothing"]
        return summary([(settled or now) - made for made, settled in rows], failed)

    def _rows(self, begun: float, ended: float) -> list[tuple[float, float | None]]:
        query = (
            "SELECT made_at / 1e6, settled_at / 1e6 FROM predictions WHERE validator = ? AND made_at BETWEEN ? AND ?"
        )
        with contextlib.closing(sqlite3.connect(f"file:{self._outbox}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(query, (self._hotkey, begun * 1e6, ended * 1e6)).fetchall()


def summary(waits: Iterable[float], failures: Iterable[str]) -> Honest:
    """Percentiles of ``waits``, in seconds, and what failed."""
    ordered = sorted(waits)
    if not ordered:
        return Honest(0.0, 0.0, 0, (*failures, "nothing was measured"))
    return Honest(
        1000 * percentile(ordered, 0.5), 1000 * percentile(ordered, 0.99), len(ordered), tuple(dict.fromkeys(failures))
    )
