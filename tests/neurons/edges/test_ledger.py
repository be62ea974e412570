"""What only the real ledger can show: its file."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from bus.bus import EventBus
from bus.clock import ManualClock
from bus.errors import ConfigurationError
from bus.events import CommitFailed, CommitRequested, PredictionsStored
from neurons.edges.ledger import Ledger
from tests.support import NOW, Injected, make_proposal


async def opened(path: Path, events: list[object] | None = None) -> tuple[Ledger, EventBus]:
    sink = [] if events is None else events
    bus = EventBus(ManualClock(NOW), record=lambda envelope: sink.append(envelope.event))
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    ledger = Ledger(path, ManualClock(NOW))
    await ledger.open(bus)
    return ledger, bus


async def test_commits_are_durable_by_wal_and_full_synchronisation(tmp_path: Path) -> None:
    ledger, _ = await opened(tmp_path / "l.sqlite3")
    connection = ledger._connection  # noqa: SLF001 - the pragma is of this connection alone
    from sqlalchemy import text

    assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    assert connection.scalar(text("PRAGMA synchronous")) == 2
    await ledger.close()


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite3"
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(ConfigurationError, match="cannot be opened as a ledger: file is not a database"):
        await opened(path)
    assert path.read_bytes() == b"precious" * 1000


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="schema version 99, and this release knows 1"):
        await opened(path)


async def test_an_older_schema_is_brought_up_to_date_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path that later versions will take: version 1 with data in it, then one more migration."""
    from neurons.edges import ledger as module

    path = tmp_path / "l.sqlite3"
    ledger, bus = await opened(path)
    bus.publish(Injected(CommitRequested((make_proposal(),))))
    await ledger.settle()
    await ledger.close()
    monkeypatch.setattr(module, "_MIGRATIONS", (*module._MIGRATIONS, ("ALTER TABLE predictions ADD COLUMN note TEXT",)))  # noqa: SLF001
    ledger, _ = await opened(path)
    await ledger.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
        assert database.execute("SELECT count(*), max(note) FROM predictions").fetchone() == (1, None)
    database.close()


async def test_a_database_that_another_process_locks_fails_the_commit_and_work_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neurons.edges import ledger as module

    monkeypatch.setattr(module, "_BUSY_TIMEOUT", 0.05)
    events: list[object] = []
    path = tmp_path / "l.sqlite3"
    ledger, bus = await opened(path, events)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    proposal = make_proposal()
    bus.publish(Injected(CommitRequested((proposal,))))
    await ledger.settle()
    failed = events[-1]
    assert isinstance(failed, CommitFailed)
    assert "locked" in failed.reason
    other.execute("ROLLBACK")
    other.close()
    bus.publish(Injected(CommitRequested((proposal,))))
    await ledger.settle()
    stored = events[-1]
    assert isinstance(stored, PredictionsStored)
    assert stored.verdicts[0].fresh
    await ledger.close()


async def test_settle_waits_for_commits(tmp_path: Path) -> None:
    events: list[object] = []
    ledger, bus = await opened(tmp_path / "l.sqlite3", events)
    for _ in range(3):
        bus.publish(Injected(CommitRequested((make_proposal(),))))
    await asyncio.wait_for(ledger.settle(), 10)
    assert sum(isinstance(event, PredictionsStored) for event in events) == 3
    await ledger.close()
    assert stat.S_ISREG((tmp_path / "l.sqlite3").stat().st_mode)
