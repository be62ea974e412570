"""What every outbox keeps: run against the real one, on disk, and the simulated one."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    GamesUpdated,
    KnownSlate,
    LedgerRecognised,
    OutboxEntry,
    OutboxOpened,
    PredictionExpired,
    PredictionsSaved,
    SaveFailed,
    SaveRequested,
    VerdictReceived,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, Hotkey, LedgerId, Micros, Offset, PredictionId
from bettensor.bus.timestamps import DAY
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.outbox import _MIGRATIONS, Outbox, OutboxDatabase
from bettensor.neurons.simulation import SimulatedOutbox
from tests.support import NOW, Injected, make_game, make_hotkey, make_prediction

VALIDATOR, OTHER = make_hotkey("validator"), make_hotkey("other")
EPOCH = Epoch("e" * 32)


def entry(validator: Hotkey = VALIDATOR, **changes: Any) -> OutboxEntry:
    return OutboxEntry(validator, make_prediction(**changes))


def accepted(entry: OutboxEntry) -> VerdictReceived:
    return VerdictReceived(entry.validator, entry.prediction, True, "accepted", "né 'x'", Micros(0))


def verdict_on(entry: OutboxEntry) -> tuple[Hotkey, PredictionId, str]:
    return entry.validator, entry.prediction.prediction_id, "accepted"


class Bench:
    """An outbox on a bus of its own; ``reopen`` is a restart."""

    def __init__(self, real: bool, folder: Path) -> None:
        self.real, self.path = real, folder / "outbox.sqlite3"
        self.clock = ManualClock(NOW)
        self.database: OutboxDatabase | None = None
        self.outbox: Any = SimulatedOutbox()
        self.events: list[Any] = []

    async def open(self) -> OutboxOpened:
        self.events.clear()
        self.bus = EventBus(self.clock, record=lambda envelope: self.events.append(envelope.event))
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        if self.real:
            self.database = OutboxDatabase(StateDir(self.path.parent))
            self.database.attach(self.bus)
            await self.database.open()
            self.outbox = Outbox(self.database, self.clock)
        self.outbox.attach(self.bus)
        await self.outbox.open()
        opened: OutboxOpened = self.events[-1]
        return opened

    async def close(self) -> None:
        await self.outbox.close()
        if self.database is not None:
            await self.database.close()

    async def reopen(self) -> OutboxOpened:
        await self.close()
        return await self.open()

    async def decide(self, *decisions: Any) -> None:
        for decision in decisions:
            self.bus.publish(Injected(decision))
        if self.database is not None:
            await self.database.settle()

    async def save(self, *entries: OutboxEntry) -> None:
        await self.decide(SaveRequested(entries))
        assert isinstance(self.events[-1], PredictionsSaved), self.events[-1]

    async def update(self, offset: int, *games: TeamGame, snapshot: bool = False) -> None:
        await self.decide(GamesUpdated(VALIDATOR, EPOCH, Offset(offset), games, snapshot))


@pytest.fixture(params=["real", "simulated"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(request.param == "real", tmp_path)
    assert await bench.open() == OutboxOpened((), ())
    yield bench
    await bench.close()


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(real=True, folder=tmp_path)
    await bench.open()
    yield bench
    await bench.close()


async def test_what_is_saved_is_there_after_a_restart_in_its_order(bench: Bench) -> None:
    entries = [
        entry(),
        entry(OTHER),
        entry(team_a='Ümläut 🏈 "quoted" \\ \u2028', model_name=None),
        entry(wager=0.1 + 0.2),
    ]
    await bench.save(*entries[:1])
    await bench.save(*entries[1:])
    assert (await bench.reopen()).entries == tuple(entries)


async def test_what_has_its_verdict_or_has_expired_is_not_sent_again(bench: Bench) -> None:
    entries = [entry() for _ in range(3)]
    await bench.save(*entries)
    await bench.decide(accepted(entries[0]), PredictionExpired(VALIDATOR, entries[1].prediction))
    assert (await bench.reopen()).entries == (entries[2],)


async def test_what_expires_while_it_is_saved_is_not_sent_again(bench: Bench) -> None:
    one = entry()
    if not bench.real:
        bench.outbox.held = True
    await bench.decide(SaveRequested((one,)), PredictionExpired(VALIDATOR, one.prediction))
    if not bench.real:
        bench.outbox.held = False
        bench.outbox.release()
    assert isinstance(bench.events[-1], PredictionsSaved)
    assert (await bench.reopen()).entries == ()


async def test_one_id_for_two_validators_is_two_predictions(bench: Bench) -> None:
    one = entry()
    two = OutboxEntry(OTHER, one.prediction)
    await bench.save(one, two)
    await bench.decide(accepted(one))
    assert (await bench.reopen()).entries == (two,)


async def test_saved_twice_is_saved_once(bench: Bench) -> None:
    one = entry()
    await bench.save(one, one)
    await bench.save(one)
    assert (await bench.reopen()).entries == (one,)


async def test_what_has_its_verdict_is_named_when_it_is_saved_again(bench: Bench) -> None:
    one, two = entry(), entry()
    await bench.save(one)
    await bench.decide(accepted(one))
    await bench.reopen()
    await bench.save(one, two)
    saved = bench.events[-1]
    assert saved.settled == ((VALIDATOR, one.prediction.prediction_id),)
    assert (await bench.reopen()).entries == (two,)


async def test_the_slate_and_the_position_are_there_after_a_restart(bench: Bench) -> None:
    await bench.update(3, make_game("a"), make_game("b"), make_game("c"), snapshot=True)
    await bench.update(5, make_game("a", team_a_odds=1.5), make_game("b", active=False), make_game("d"))
    games = (make_game("a", team_a_odds=1.5), make_game("c"), make_game("d"))
    assert (await bench.reopen()).slates == (KnownSlate(VALIDATOR, EPOCH, Offset(5), games),)
    await bench.update(1, make_game("z"), snapshot=True)
    assert (await bench.reopen()).slates == (KnownSlate(VALIDATOR, EPOCH, Offset(1), (make_game("z"),)),)


async def test_the_last_verdicts_are_there_after_a_restart(bench: Bench) -> None:
    one, expired, other, waits = entry(), entry(), entry(OTHER), entry()
    await bench.save(one, expired, other, waits)
    await bench.decide(accepted(one))
    await bench.decide(PredictionExpired(VALIDATOR, expired.prediction))
    await bench.decide(accepted(other))
    assert (await bench.reopen()).settled == (verdict_on(one), verdict_on(other))


# --- the file


async def test_the_ledgers_are_there_after_a_restart(bench: Bench) -> None:
    first, second = LedgerId("1" * 32), LedgerId("2" * 32)
    await bench.decide(LedgerRecognised(VALIDATOR, first, None), LedgerRecognised(OTHER, first, None))
    await bench.decide(LedgerRecognised(VALIDATOR, second, first))
    assert sorted((await bench.reopen()).ledgers) == sorted([(VALIDATOR, second), (OTHER, first)])


async def test_an_outbox_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    waits, done = entry(), entry()
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite3")) as old, old:
        for statement in _MIGRATIONS[0]:
            old.execute(str(statement))
        old.execute("PRAGMA user_version = 1")
        rows = [(number.prediction.prediction_id, number.prediction.to_json()) for number in (waits, done)]
        old.executemany(
            f"INSERT INTO predictions (validator, prediction_id, content, made_at) VALUES ('{VALIDATOR}', ?, ?, 1)",  # noqa: S608
            rows,
        )
        old.execute("UPDATE predictions SET code = 'accepted', settled_at = ? WHERE id = 2", (NOW,))
        old.execute("INSERT INTO streams VALUES (?, ?, 7)", (VALIDATOR, EPOCH))
    bench = Bench(real=True, folder=tmp_path)
    opened = await bench.open()
    assert opened == OutboxOpened((waits,), (KnownSlate(VALIDATOR, EPOCH, Offset(7), ()),), (), (verdict_on(done),))
    await bench.decide(LedgerRecognised(VALIDATOR, LedgerId("1" * 32), None))
    assert (await bench.reopen()).ledgers == ((VALIDATOR, LedgerId("1" * 32)),)
    await bench.close()


async def test_the_verdict_is_kept_for_a_month_and_the_first_one_counts(real: Bench) -> None:
    one = entry()
    await real.save(one)
    await real.decide(accepted(one), VerdictReceived(VALIDATOR, one.prediction, False, "conflict", "", Micros(0)))
    await real.close()

    def rows() -> list[Any]:
        with sqlite3.connect(real.path) as database:
            found = database.execute("SELECT code, message FROM predictions").fetchall()
        database.close()
        return found

    assert rows() == [("accepted", "né 'x'")]
    await real.open()
    assert rows() == [("accepted", "né 'x'")]
    real.clock.advance(Micros(31 * DAY))
    await real.reopen()
    assert rows() == []


async def test_a_disk_that_fails_is_said_and_verdicts_and_slates_are_written_later(
    real: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.database.BUSY_TIMEOUT", 0.02)
    monkeypatch.setattr("bettensor.neurons.edges.outbox.RETRY", 0.02)
    await real.reopen()
    known, fresh = entry(), entry()
    await real.save(known)
    other = sqlite3.connect(real.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for decision in (
        SaveRequested((fresh,)),
        accepted(known),
        GamesUpdated(VALIDATOR, EPOCH, Offset(1), (make_game("a"), make_game("b")), True),
        GamesUpdated(VALIDATOR, EPOCH, Offset(2), (make_game("b", active=False),), False),
    ):
        real.bus.publish(Injected(decision))
    async with asyncio.timeout(10):
        while not isinstance(real.events[-1], SaveFailed):  # noqa: ASYNC110 - the record has no event
            await asyncio.sleep(0.01)
    assert "locked" in real.events[-1].reason
    real.bus.publish(Injected(GamesUpdated(VALIDATOR, EPOCH, Offset(3), (make_game("c"),), False)))
    await asyncio.sleep(0.1)
    other.execute("ROLLBACK")
    other.close()
    assert real.database is not None
    await asyncio.wait_for(real.database.settle(), 10)
    opened = await real.reopen()
    assert opened.entries == ()
    assert opened.slates == (KnownSlate(VALIDATOR, EPOCH, Offset(3), (make_game("a"), make_game("c"))),)


async def test_closing_does_not_wait_for_a_disk_that_fails(real: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.database.BUSY_TIMEOUT", 0.02)
    await real.reopen()
    one = entry()
    await real.save(one)
    other = sqlite3.connect(real.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    real.bus.publish(Injected(accepted(one)))
    await asyncio.wait_for(real.close(), 10)
    other.execute("ROLLBACK")
    other.close()
    assert (await real.open()).entries == (one,)  # and is asked about again


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    bench = Bench(real=True, folder=tmp_path)
    bench.path.write_bytes(b"precious" * 1000)
    with pytest.raises(ConfigurationError, match="cannot be opened as an outbox: file is not a database"):
        await bench.open()
    assert bench.path.read_bytes() == b"precious" * 1000
    assert bench.database is not None
    await bench.database.close()
