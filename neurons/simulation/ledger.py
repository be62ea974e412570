"""A ledger in memory, on a simulated disk."""

from bettensor.bus.clock import Clock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CommitFailed,
    CommitRequested,
    DayTotal,
    LedgerOpened,
    PredictionsStored,
    ProposedVerdict,
    StoredVerdict,
)
from bettensor.bus.games import TeamGamePrediction, is_same_wager
from bettensor.bus.identifiers import Hotkey, LedgerId, Micros, Millionths, PredictionId
from bettensor.bus.timestamps import utc_day
from bettensor.neurons.edges.edge import on
from bettensor.neurons.simulation.disk import SimulatedDisk


class SimulatedLedger(SimulatedDisk[CommitRequested]):
    """Stores what the real edge stores, for the duration of the test."""

    name = "ledger"

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.rows: dict[tuple[Hotkey, PredictionId], ProposedVerdict] = {}
        self.ledger_id = LedgerId("0" * 32)
        self._clock = clock

    async def open(self) -> None:
        """Publish ``LedgerOpened``."""
        self._bus.publish(LedgerOpened(self.ledger_id, self._totals()))

    @on(CommitRequested)
    def commit(self, event: CommitRequested, envelope: Envelope) -> None:
        """Answered by ``PredictionsStored`` or ``CommitFailed``."""
        self._take(event, envelope)

    async def sweep(self) -> int:
        """Delete expired verdicts; returns their number."""
        past = [key for key, row in self.rows.items() if row.expires_at < self._clock.wall()]
        for key in past:
            del self.rows[key]
        return len(past)

    def _write(self, event: CommitRequested, request: int) -> PredictionsStored:
        return PredictionsStored(request, tuple(map(self._store, event.proposals)))

    def _refuse(self, request: int, reason: str) -> CommitFailed:
        return CommitFailed(request, reason)

    def _store(self, proposal: ProposedVerdict) -> StoredVerdict:
        key = proposal.hotkey, proposal.prediction.prediction_id
        known = self.rows.get(key)
        if known is None:
            self.rows[key] = proposal
            return StoredVerdict(*key, proposal.code, proposal.message, fresh=True)
        if known.digest == proposal.digest or _is_imported_wager(known, proposal):
            return StoredVerdict(*key, known.code, known.message, fresh=False)
        message = f"this id has its verdict ({known.code}) with other content; a new prediction needs a new id"
        return StoredVerdict(*key, VerdictCode.CONFLICT, message, fresh=False)

    def _totals(self) -> tuple[DayTotal, ...]:
        totals: dict[tuple[int, Hotkey], list[int]] = {}
        yesterday = utc_day(self._clock.wall()) - 1
        for row in self.rows.values():
            day = utc_day(Micros(row.received_at))
            if day >= yesterday:
                total = totals.setdefault((day, row.hotkey), [0, 0, 0])
                accepted = row.code is VerdictCode.ACCEPTED
                total[0 if accepted else 1] += 1
                total[2] += row.wager if accepted else 0
        return tuple(
            DayTotal(day, hotkey, accepted, rejected, Millionths(wagered))
            for (day, hotkey), (accepted, rejected, wagered) in sorted(totals.items())
        )


def _is_imported_wager(known: ProposedVerdict, proposal: ProposedVerdict) -> bool:
    imported = known.prediction
    return (
        known.proof == "imported"
        and isinstance(imported, TeamGamePrediction)
        and is_same_wager(imported, proposal.prediction)
    )
