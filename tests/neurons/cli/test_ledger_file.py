"""A ledger as a file: checked, copied and put back. What ends a copy half-way is tried in ``tests/loopback``."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from bettensor.bus.codes import VerdictCode
from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.cli.ledger_file import LedgerReport, backup_ledger, check_ledger, restore_ledger
from tests.neurons.disk import write_ledger
from tests.support import make_proposal


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Two verdicts, of which one is an acceptance."""
    return write_ledger(tmp_path, make_proposal(), make_proposal(code=VerdictCode.GAME_STARTED))


def test_a_ledger_that_is_whole_says_what_it_holds(ledger: Path) -> None:
    report = check_ledger(ledger)
    assert report == LedgerReport(report.ledger_id, 4, predictions=2, accepted=1)
    assert len(bytes.fromhex(report.ledger_id)) == 16


def test_a_ledger_without_verdicts_is_whole_too(tmp_path: Path) -> None:
    new = write_ledger(tmp_path)
    assert (check_ledger(new).predictions, check_ledger(new).accepted) == (
        0,
        0,
    )


def damaged(file: Path) -> None:
    """One page of the verdicts is overwritten."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'predictions'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    file.write_bytes(content)


def cut(file: Path) -> None:
    """The second half is missing."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def another_database(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
        database.commit()


def no_database(file: Path) -> None:
    file.write_bytes(b"precious" * 1000)


@pytest.mark.parametrize("spoil", [damaged, cut, another_database, no_database])
def test_what_is_no_whole_ledger_is_neither_copied_nor_put_back(
    ledger: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    target = write_ledger(tmp_path / "target")
    before = check_ledger(target)
    spoil(ledger)
    spoilt = ledger.read_bytes()
    uses: tuple[Callable[[], object], ...] = (
        lambda: check_ledger(ledger),
        lambda: backup_ledger(ledger, tmp_path / "copy"),
        lambda: restore_ledger(ledger, target, tmp_path / "kept"),
    )
    for use in uses:
        with pytest.raises(ConfigurationError, match=r"ledger\.sqlite3 is (damaged|not a ledger, or it is damaged): "):
            use()
    assert ledger.read_bytes() == spoilt
    assert check_ledger(target) == before
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "kept").exists()


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        check_ledger(tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        backup_ledger(tmp_path / "absent", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_one_file_with_all_that_the_ledger_has(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "copy.sqlite3"
    copy.parent.mkdir()
    assert backup_ledger(ledger, copy) == check_ledger(copy) == check_ledger(ledger)
    assert list(copy.parent.iterdir()) == [copy]


def test_a_copy_overwrites_nothing(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    copy.write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already; name a new file"):
        backup_ledger(ledger, copy)
    assert copy.read_text() == "mine"


def test_where_no_copy_can_be_written_that_is_said(ledger: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(ConfigurationError, match=rf"there is no folder {absent}; make it first"):
        backup_ledger(ledger, absent / "copy.sqlite3")
    (tmp_path / "copy.unfinished").mkdir()
    with pytest.raises(ConfigurationError, match=rf"^{tmp_path / 'copy'} cannot be written: "):
        backup_ledger(ledger, tmp_path / "copy")


def test_a_ledger_that_was_put_back_is_another_one_and_what_was_there_is_kept(ledger: Path, tmp_path: Path) -> None:
    copy, keep = tmp_path / "copy.sqlite3", tmp_path / "kept.sqlite3"
    then = backup_ledger(ledger, copy)
    write_ledger(tmp_path, make_proposal())
    restored = restore_ledger(copy, ledger, keep)
    assert restored == check_ledger(ledger)
    assert (restored.predictions, restored.accepted) == (then.predictions, then.accepted)
    assert restored.ledger_id != then.ledger_id
    assert check_ledger(keep) == LedgerReport(then.ledger_id, then.schema, predictions=3, accepted=2)
    assert check_ledger(copy) == then


def test_the_game_stream_of_a_ledger_that_was_put_back_begins_anew(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute("INSERT INTO stream VALUES ('validator', 30, ?, 7)", ("e" * 32,))
    backup_ledger(ledger, copy)
    restore_ledger(copy, ledger, tmp_path / "kept")
    with closing(sqlite3.connect(ledger)) as database:
        assert database.execute("SELECT count(*) FROM stream").fetchone() == (0,)


def test_where_no_ledger_was_nothing_is_kept(ledger: Path, tmp_path: Path) -> None:
    file, keep = tmp_path / "new.sqlite3", tmp_path / "kept"
    assert restore_ledger(ledger, file, keep).predictions == 2
    assert not keep.exists()


def test_a_ledger_that_another_process_reads_is_not_replaced(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, keep = tmp_path / "copy.sqlite3", tmp_path / "kept"
    backup_ledger(ledger, copy)
    with closing(sqlite3.connect(ledger)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM predictions").fetchone()
        write_ledger(tmp_path, make_proposal())  # so that the reader's page is in the log
        impatient = partial(sqlite3.connect, timeout=0.05)
        monkeypatch.setattr(sqlite3, "connect", lambda *where, **how: impatient(*where, **(how | impatient.keywords)))
        with pytest.raises(ConfigurationError, match="cannot be restored: another process has it open"):
            restore_ledger(copy, ledger, keep)
    assert check_ledger(ledger).predictions == 3
    assert not keep.exists()


def test_a_copy_is_its_owner_s_alone_and_so_is_a_restored_ledger(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    before = os.umask(0)
    try:
        backup_ledger(ledger, copy)
        restore_ledger(copy, ledger, ledger.with_name("kept"))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (copy, ledger)} == {0o600}


@pytest.mark.parametrize("name", ["copy.sqlite3", "copy.sqlite3.unfinished"])
def test_a_copy_follows_no_link(ledger: Path, tmp_path: Path, name: str) -> None:
    victim, copy = tmp_path / "victim", tmp_path / "copy.sqlite3"
    (tmp_path / name).symlink_to(victim)
    if name == copy.name:
        with pytest.raises(ConfigurationError, match="exists already; name a new file"):
            backup_ledger(ledger, copy)
    else:
        backup_ledger(ledger, copy)
        assert not copy.is_symlink()
    assert not victim.exists()
