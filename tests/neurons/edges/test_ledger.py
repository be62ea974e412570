"""What only the real ledger can show: its file."""

import asyncio
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import CommitFailed, CommitRequested, PredictionsStored, UpgradeBegun
from bettensor.neurons.edges.database import Database
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.ledger import Ledger, LedgerDatabase
from tests.support import NOW, Injected, make_proposal


@dataclass
class Opened:
    database: Database
    ledger: Ledger
    bus: EventBus

    async def close(self) -> None:
        await self.ledger.close()
        await self.database.close()


async def opened(path: Path, events: list[object] | None = None) -> Opened:
    sink = [] if events is None else events
    bus = EventBus(ManualClock(NOW), record=lambda envelope: sink.append(envelope.event))
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    database = LedgerDatabase(StateDir(path.parent))
    database.attach(bus)
    try:
        await database.open()
    except ConfigurationError:
        await database.close()
        raise
    ledger = Ledger(database, ManualClock(NOW))
    ledger.attach(bus)
    await ledger.open()
    return Opened(database, ledger, bus)


async def test_commits_are_durable_by_wal_and_full_synchronisation(tmp_path: Path) -> None:
    ledger = await opened(tmp_path / "ledger.sqlite3")
    connection = ledger.database.connection
    from sqlalchemy import text

    assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    assert connection.scalar(text("PRAGMA synchronous")) == 2
    await ledger.close()


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(ConfigurationError, match="cannot be opened as a ledger: file is not a database"):
        await opened(path)
    assert path.read_bytes() == b"precious" * 1000


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="schema version 99, which is newer than version 4"):
        await opened(path)


async def test_an_older_schema_is_brought_up_to_date_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger as the second schema had it knows its verdicts, and in which order they came, under the third."""
    from bettensor.neurons.edges import ledger as module

    path = tmp_path / "ledger.sqlite3"
    known, other = make_proposal(), make_proposal(code=VerdictCode.DAILY_LIMIT_EXCEEDED)
    swept = make_proposal()
    with monkeypatch.context() as old:
        old.setattr(module, "_MIGRATIONS", module._MIGRATIONS[:2])  # noqa: SLF001
        database = LedgerDatabase(StateDir(tmp_path))
        database.attach(EventBus(ManualClock(NOW)))
        await database.open()
        await database.close()
    with sqlite3.connect(path) as file:
        for number, proposal in ((7, other), (5, known), (9, swept)):
            key = proposal.hotkey, proposal.prediction.prediction_id
            values = (number, *key, proposal.digest, proposal.code, NOW, proposal.expires_at)
            file.execute("INSERT INTO predictions VALUES (?, ?, ?, ?, ?, '', ?, ?, 3, '{}')", values)
        file.execute("DELETE FROM predictions WHERE id = 9")
    file.close()

    size = path.stat().st_size
    events: list[object] = []
    ledger = await opened(path, events)
    assert events[0] == UpgradeBegun("ledger.sqlite3", 2, 4, size)
    ledger.bus.publish(Injected(CommitRequested((known, make_proposal(), other))))
    await ledger.database.settle()
    await ledger.close()
    stored = events[-1]
    assert isinstance(stored, PredictionsStored)
    assert [(verdict.code, verdict.fresh) for verdict in stored.verdicts] == [
        (VerdictCode.ACCEPTED, False),
        (VerdictCode.ACCEPTED, True),
        (VerdictCode.DAILY_LIMIT_EXCEEDED, False),
    ]
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (4,)
        *former, new = (row[0] for row in file.execute("SELECT id FROM predictions ORDER BY id"))
        assert former == [5, 7]
        assert new > 9
        assert file.execute("SELECT name FROM sqlite_master WHERE name LIKE '%without_keys'").fetchall() == []
    file.close()


async def test_of_an_upgrade_is_told_only_where_there_is_one(tmp_path: Path) -> None:
    events: list[object] = []
    for _ in ("new", "up to date"):
        ledger = await opened(tmp_path / "ledger.sqlite3", events)
        await ledger.close()
    assert UpgradeBegun not in map(type, events)


async def test_a_database_that_another_process_locks_fails_the_commit_and_work_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.database.BUSY_TIMEOUT", 0.05)
    events: list[object] = []
    path = tmp_path / "ledger.sqlite3"
    ledger = await opened(path, events)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    proposal = make_proposal()
    ledger.bus.publish(Injected(CommitRequested((proposal,))))
    await ledger.database.settle()
    failed = events[-1]
    assert isinstance(failed, CommitFailed)
    assert "locked" in failed.reason
    other.execute("ROLLBACK")
    other.close()
    ledger.bus.publish(Injected(CommitRequested((proposal,))))
    await ledger.database.settle()
    stored = events[-1]
    assert isinstance(stored, PredictionsStored)
    assert stored.verdicts[0].fresh
    await ledger.close()


async def test_settle_waits_for_commits(tmp_path: Path) -> None:
    events: list[object] = []
    ledger = await opened(tmp_path / "ledger.sqlite3", events)
    for _ in range(3):
        ledger.bus.publish(Injected(CommitRequested((make_proposal(),))))
    await asyncio.wait_for(ledger.database.settle(), 10)
    assert sum(isinstance(event, PredictionsStored) for event in events) == 3
    await ledger.close()
    assert stat.S_ISREG((tmp_path / "ledger.sqlite3").stat().st_mode)
