"""A ledger in memory. Commits are answered within the drain, later, or not at all."""

from collections import deque

from bettensor.bus.bus import EventBus
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
from bettensor.bus.identifiers import Hotkey, LedgerId, Micros, Millionths, PredictionId
from bettensor.bus.timestamps import utc_day
from bettensor.neurons.edges.edge import Edge, on


class SimulatedLedger(Edge):
    """Stores what the real edge stores, for the duration of the test.

    With ``held`` set, commits wait until ``release``, as on a slow disk.
    """

    name = "ledger"

    def __init__(self, clock: Clock) -> None:
        self.rows: dict[tuple[Hotkey, PredictionId], ProposedVerdict] = {}
        self.held = False
        self.failing: str | None = None
        """While set, each commit fails for this reason."""
        self.ledger_id = LedgerId("0" * 32)
        self._clock = clock
        self._waiting: deque[tuple[CommitRequested, int]] = deque()

    def attach(self, bus: EventBus) -> None:
        """Subscribe; a neuron's next run attaches the same disk to its own bus."""
        super().attach(bus)
        self._waiting.clear()  # requests of an earlier run were lost with it

    async def open(self) -> None:
        """Publish ``LedgerOpened``."""
        self._bus.publish(LedgerOpened(self.ledger_id, self._totals()))

    @on(CommitRequested)
    def commit(self, event: CommitRequested, envelope: Envelope) -> None:
        """Answered by ``PredictionsStored`` or ``CommitFailed``."""
        self._waiting.append((event, envelope.seq))
        if not self.held:
            self.release()

    def release(self, commits: int | None = None) -> None:
        """Answer the waiting commits, including commits that follow from them; at most ``commits`` if given."""
        while self._waiting and commits != 0:
            commits = None if commits is None else commits - 1
            event, request = self._waiting.popleft()
            if self.failing is None:
                verdicts = tuple(map(self._store, event.proposals))
                self._bus.publish(PredictionsStored(request, verdicts), causes=(request,))
            else:
                self._bus.publish(CommitFailed(request, self.failing), causes=(request,))

    async def sweep(self) -> int:
        """Delete expired verdicts; returns their number."""
        past = [key for key, row in self.rows.items() if row.expires_at < self._clock.wall()]
        for key in past:
            del self.rows[key]
        return len(past)

    def _store(self, proposal: ProposedVerdict) -> StoredVerdict:
        key = proposal.hotkey, proposal.prediction.prediction_id
        known = self.rows.get(key)
        if known is None:
            self.rows[key] = proposal
            return StoredVerdict(*key, proposal.code, proposal.message, fresh=True)
        if known.digest == proposal.digest:
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
