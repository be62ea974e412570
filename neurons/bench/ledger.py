"""``ledger``: verdicts that a ledger alone stores per second, if it is empty and if it is long."""

import asyncio
import time
from pathlib import Path
from typing import Final

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import CommitFailed, CommitRequested, PredictionsStored, ProposedVerdict, TimerFired
from bettensor.bus.games import content_digest
from bettensor.bus.identifiers import Hotkey, Micros, Millionths
from bettensor.bus.timestamps import DAY
from bettensor.neurons.bench.figures import Figures
from bettensor.neurons.bench.load import prediction_message
from bettensor.neurons.bench.rig import BenchmarkFailed
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.ledger import Ledger, LedgerDatabase
from bettensor.neurons.system.scratch import scratch_folder

FILL_COMMIT: Final = 2_000
"""Verdicts in one commit that fills the ledger: the most that a validator commits at once."""
MEASURED_COMMIT: Final = 250
"""Verdicts in one measured commit: about as many as wait together under full load."""
MEASURED: Final = 40_000
"""Number of measured verdicts."""
HOTKEYS: Final = 256


class BenchLedger:
    """A ledger without a validator; commits one portion after the other."""

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self._clock = SystemClock()
        self._bus = EventBus(self._clock)
        self._database = LedgerDatabase(StateDir(state_dir))
        self._ledger = Ledger(self._database, self._clock)
        for edge in (self._database, self._ledger):
            edge.attach(self._bus)
        self._portion: tuple[ProposedVerdict, ...] = ()
        self._bus.subscribe(TimerFired, self._ask, "bench")
        self._bus.subscribe(PredictionsStored, self._stored, "bench")
        self._bus.subscribe(CommitFailed, self._failed, "bench")

    async def __aenter__(self) -> "BenchLedger":
        await self._database.open()
        await self._ledger.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ledger.close()
        await self._database.close()

    async def commit(self, portion: tuple[ProposedVerdict, ...]) -> None:
        """
        Raises:
            BenchmarkFailed: the portion could not be stored.
        """
        self._portion = portion
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bus.publish(TimerFired("bench", "commit", None))
        await self._answer

    def _ask(self, _: TimerFired, __: Envelope) -> None:
        self._bus.publish(CommitRequested(self._portion))

    def _stored(self, _: PredictionsStored, __: Envelope) -> None:
        self._answer.set_result(None)

    def _failed(self, event: CommitFailed, _: Envelope) -> None:
        self._answer.set_exception(BenchmarkFailed(event.reason))


async def fill(state_dir: Path, rows: int) -> None:
    """Write a ledger with ``rows`` verdicts."""
    async with BenchLedger(state_dir) as store:
        for stored in range(0, rows, FILL_COMMIT):
            await store.commit(_verdicts(min(FILL_COMMIT, rows - stored)))


def ledger(rows: int) -> Figures:
    """Verdicts stored per second in an empty ledger, and in one of ``rows``."""
    with scratch_folder("bench") as folder:
        new, long = folder / "new", folder / "long"
        in_new = asyncio.run(_measure(new))
        asyncio.run(fill(long, rows))
        in_long = asyncio.run(_measure(long))
    return {
        "rows": rows,
        "predictions_per_second": in_new["predictions_per_second"],
        "empty": in_new,
        "long": in_long,
        "ratio_of_cpu": in_long["cpu_us_per_prediction"] / in_new["cpu_us_per_prediction"],
    }


async def _measure(state_dir: Path) -> Figures:
    portions = [_verdicts(MEASURED_COMMIT) for _ in range(MEASURED // MEASURED_COMMIT)]
    async with BenchLedger(state_dir) as store:
        begin, cpu = time.perf_counter(), time.process_time()
        for portion in portions:
            await store.commit(portion)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return {
        "predictions_per_second": MEASURED / seconds,
        "commits_per_second": len(portions) / seconds,
        "cpu_us_per_prediction": 1e6 * cpu / MEASURED,
    }


def _verdicts(count: int) -> tuple[ProposedVerdict, ...]:
    now = SystemClock().wall()
    return tuple(
        ProposedVerdict(
            hotkey=Hotkey(f"5{number % HOTKEYS:047d}"),
            prediction=prediction,
            digest=content_digest(prediction),
            code=VerdictCode.ACCEPTED,
            message="",
            received_at=now,
            wager=Millionths(10_000),
            expires_at=Micros(now + 30 * DAY),
        )
        for number, prediction in enumerate(prediction_message(count).predictions)
    )
