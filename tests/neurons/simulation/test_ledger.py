"""A simulated ledger on demand: a disk that takes its time, and one that fails. See ``tests/contracts`` too."""

from bettensor.bus.events import CommitFailed, CommitRequested, LedgerOpened, PredictionsStored
from bettensor.neurons.simulation import SimulatedLedger, at_once
from tests.support import Harness, make_proposal


class Bench(Harness):
    def __init__(self, ledger: SimulatedLedger | None = None) -> None:
        super().__init__()
        self.ledger = ledger or SimulatedLedger(self.clock)
        self.ledger.attach(self.bus)
        at_once(self.ledger.open())

    def commit(self) -> None:
        self.observe(CommitRequested((make_proposal(),)))


def test_while_it_is_held_nothing_is_answered_and_then_all_in_order() -> None:
    bench = Bench()
    bench.ledger.held = True
    for _ in range(3):
        bench.commit()
    assert bench.all(PredictionsStored) == []
    bench.ledger.release(1)
    assert len(bench.all(PredictionsStored)) == 1
    bench.ledger.release()
    requests = [envelope.seq for envelope in bench.envelopes if isinstance(envelope.event, CommitRequested)]
    assert [stored.request for stored in bench.all(PredictionsStored)] == requests


def test_while_it_fails_nothing_is_kept() -> None:
    bench = Bench()
    bench.ledger.failing = "disk full"
    bench.commit()
    assert [failed.reason for failed in bench.all(CommitFailed)] == ["disk full"]
    assert bench.ledger.rows == {}
    bench.ledger.failing = None
    bench.commit()
    assert len(bench.ledger.rows) == 1


def test_what_a_run_asked_for_is_lost_with_it_and_what_it_stored_is_not() -> None:
    bench = Bench()
    bench.commit()
    bench.ledger.held = True
    bench.commit()
    bench.ledger.held = False
    after = Bench(bench.ledger)
    after.ledger.release()
    assert after.all(PredictionsStored) == []
    assert [day.accepted for day in after.last(LedgerOpened).days] == [1]
