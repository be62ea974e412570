"""The miner's outbox on disk: what waits goes into one transaction, and is answered each by itself.

What it has in common with the simulated one is in ``tests/contracts/test_outbox.py``.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import (
    GamesUpdated,
    LedgerRecognised,
    OutboxEntry,
    OutboxOpened,
    PredictionExpired,
    PredictionsSaved,
    SaveRequested,
    VerdictReceived,
)
from bettensor.bus.identifiers import Epoch, LedgerId, Micros, Offset
from bettensor.bus.timestamps import DAY
from bettensor.neurons.edges import outbox as module
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.outbox import Outbox, OutboxDatabase
from bettensor.neurons.simulation import EventLog
from tests.neurons.disk import opened
from tests.support import NOW, Injected, make_game, make_hotkey, make_prediction

VALIDATOR = make_hotkey("validator")


class Bench(EventLog):
    """An outbox in a folder; each time that it is opened is a restart."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.clock = ManualClock(NOW)
        self.transactions = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OutboxOpened]:
        self.envelopes.clear()
        self.bus = EventBus(self.clock, record=self.append)
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        self.database = OutboxDatabase(StateDir(self.folder))
        transaction = self.database.transaction

        def counted() -> Any:
            self.transactions += 1
            return transaction()

        async with opened(self.bus, self.database, Outbox(self.database, self.clock)):
            self.database.transaction = counted  # type: ignore[method-assign]
            yield self.last(OutboxOpened)

    def decide(self, *decisions: Any) -> None:
        for decision in decisions:
            self.bus.publish(Injected(decision))

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "outbox.sqlite3")) as database:
            return database.execute(query).fetchall()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def entry() -> OutboxEntry:
    return OutboxEntry(VALIDATOR, make_prediction())


def accepted(entry: OutboxEntry, code: str = "accepted") -> VerdictReceived:
    return VerdictReceived(entry.validator, entry.prediction, code == "accepted", code, "", Micros(0))


async def test_what_comes_while_one_save_runs_goes_into_the_next_together(bench: Bench) -> None:
    async with bench.open():
        bench.decide(*(SaveRequested((entry(),)) for _ in range(20)))
        await bench.database.settle()
        assert len(bench.all(PredictionsSaved)) == 20
        assert [saved.request for saved in bench.all(PredictionsSaved)] == sorted(
            saved.request for saved in bench.all(PredictionsSaved)
        )
        assert bench.transactions <= 2


async def test_a_save_and_the_verdict_on_it_may_go_into_one_transaction(bench: Bench) -> None:
    async with bench.open():
        waiting = entry()
        bench.decide(SaveRequested((waiting,)), accepted(waiting))
        await bench.database.settle()
    async with bench.open() as known:
        assert known.entries == ()
        assert [verdict[2] for verdict in known.settled] == ["accepted"]


async def test_of_two_verdicts_the_first_counts_also_within_one_transaction(bench: Bench) -> None:
    async with bench.open():
        waiting = entry()
        bench.decide(SaveRequested((waiting,)), accepted(waiting), accepted(waiting, "conflict"))
        await bench.database.settle()
        bench.decide(PredictionExpired(VALIDATOR, waiting.prediction))
        await bench.database.settle()
    assert bench.rows("SELECT code FROM predictions") == [("accepted",)]


async def test_a_slate_is_what_its_snapshot_and_the_updates_after_it_say(bench: Bench) -> None:
    def update(offset: int, *games: Any, snapshot: bool = False, epoch: str = "e") -> GamesUpdated:
        return GamesUpdated(VALIDATOR, Epoch(epoch * 32), Offset(offset), games, snapshot)

    async with bench.open():
        bench.decide(
            update(1, make_game("a"), make_game("b"), snapshot=True),
            update(2, make_game("a", active=False), make_game("c")),
        )
        await bench.database.settle()
        bench.decide(update(3, make_game("b", team_a_odds=9.0)))
        bench.decide(update(1, make_game("d"), snapshot=True, epoch="f"), update(2, make_game("e"), epoch="f"))
        await bench.database.settle()
    async with bench.open() as known:
        (slate,) = known.slates
        assert (slate.epoch, slate.offset, [game.game_id for game in slate.games]) == ("f" * 32, 2, ["d", "e"])


async def test_the_last_ledger_of_a_validator_counts(bench: Bench) -> None:
    async with bench.open():
        for number in "12":
            bench.decide(LedgerRecognised(VALIDATOR, LedgerId(number * 32), None))
            await bench.database.settle()
    async with bench.open() as known:
        assert known.ledgers == ((VALIDATOR, "2" * 32),)


async def test_what_was_settled_long_ago_is_forgotten_and_what_waits_is_not(bench: Bench) -> None:
    async with bench.open():
        settled, waiting = entry(), entry()
        bench.decide(SaveRequested((settled, waiting)), accepted(settled))
        await bench.database.settle()
    bench.clock.advance(Micros(module.RETENTION + DAY))
    async with bench.open() as known:
        assert known.entries == (waiting,)
        assert known.settled == ()
    assert len(bench.rows("SELECT * FROM predictions")) == 1


async def test_the_newest_verdicts_are_recalled_in_their_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECALLED", 2)
    async with bench.open():
        entries = [entry() for _ in range(4)]
        bench.decide(SaveRequested(tuple(entries)), *(accepted(one) for one in entries))
        await bench.database.settle()
    async with bench.open() as known:
        assert [verdict[1] for verdict in known.settled] == [one.prediction.prediction_id for one in entries[2:]]


async def test_what_waits_when_it_is_closed_is_written_first(bench: Bench) -> None:
    async with bench.open():
        bench.decide(SaveRequested((entry(),)))
        await asyncio.sleep(0)
    assert len(bench.rows("SELECT * FROM predictions")) == 1
