"""A simulated outbox on demand: a disk that takes its time, and one that fails. See ``tests/contracts`` too."""

from bettensor.bus.events import OutboxEntry, OutboxOpened, PredictionsSaved, SaveFailed, SaveRequested
from bettensor.neurons.simulation import SimulatedOutbox, at_once
from tests.support import Harness, make_hotkey, make_prediction


class Bench(Harness):
    def __init__(self, outbox: SimulatedOutbox | None = None) -> None:
        super().__init__()
        self.outbox = outbox or SimulatedOutbox()
        self.outbox.attach(self.bus)
        at_once(self.outbox.open())

    def save(self) -> OutboxEntry:
        entry = OutboxEntry(make_hotkey("validator"), make_prediction())
        self.observe(SaveRequested((entry,)))
        return entry


def test_while_it_is_held_nothing_is_saved() -> None:
    bench = Bench()
    bench.outbox.held = True
    entry = bench.save()
    assert (bench.all(PredictionsSaved), bench.outbox.entries) == ([], {})
    bench.outbox.release()
    assert len(bench.all(PredictionsSaved)) == 1
    assert list(bench.outbox.entries.values()) == [entry]


def test_while_it_fails_nothing_is_kept() -> None:
    bench = Bench()
    bench.outbox.failing = "disk full"
    bench.save()
    assert [failed.reason for failed in bench.all(SaveFailed)] == ["disk full"]
    assert bench.outbox.entries == {}


def test_what_a_run_asked_for_is_lost_with_it_and_what_it_saved_is_not() -> None:
    bench = Bench()
    saved = bench.save()
    bench.outbox.held = True
    bench.save()
    after = Bench(bench.outbox)
    after.outbox.release()
    assert after.last(OutboxOpened).entries == (saved,)
    assert after.all(PredictionsSaved) == []
