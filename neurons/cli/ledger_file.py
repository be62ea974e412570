"""The ledger as a file: check it, back it up while its validator runs, and restore a copy.

With SQLite's backup API (https://www.sqlite.org/backup.html): a copy of the file alone would lack its write-ahead log.
"""

import contextlib
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.system.files import temporary_file

PAGES: int = 1000
"""Pages copied at a time, about 4 MB; a commit waits meanwhile."""


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """The contents of a ledger in numbers."""

    ledger_id: str
    schema: int
    predictions: int
    accepted: int


def check_ledger(file: Path) -> LedgerReport:
    """Read every page and index of a ledger.

    Raises:
        ConfigurationError: it is not a ledger, or it is damaged; the message has SQLite's finding.
    """
    if not file.exists():
        raise ConfigurationError(f"{file}: there is no such file")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            faults = [row[0] for row in database.execute("PRAGMA integrity_check(5)")]
            if faults != ["ok"]:
                raise ConfigurationError(f"{file} is damaged: {'; '.join(faults)}")
            (schema,) = database.execute("PRAGMA user_version").fetchone()
            (ledger_id,) = database.execute("SELECT ledger_id FROM ledger").fetchone()
            count = "SELECT count(*), coalesce(sum(code = 'accepted'), 0) FROM predictions"
            predictions, accepted = database.execute(count).fetchone()
    except sqlite3.Error as error:
        raise ConfigurationError(f"{file} is not a ledger, or it is damaged: {error}") from None
    return LedgerReport(ledger_id, schema, predictions, accepted)


def backup_ledger(file: Path, copy: Path) -> LedgerReport:
    """Copy a ledger, also while its validator runs, and check the copy. It has all verdicts confirmed before.

    Raises:
        ConfigurationError: the ledger cannot be read, or the copy exists already or cannot be written.
    """
    if os.path.lexists(copy):
        raise ConfigurationError(f"{copy} exists already; name a new file")
    if not copy.parent.is_dir():
        raise ConfigurationError(f"{copy} cannot be written: there is no folder {copy.parent}; make it first")
    check_ledger(file)
    try:
        with temporary_file(copy.with_name(f"{copy.name}.unfinished")) as fresh:
            _copy(file, fresh)
            report = check_ledger(fresh)
            fresh.rename(copy)
    except (sqlite3.Error, OSError) as error:
        raise ConfigurationError(f"{copy} cannot be written: {error}") from None
    return report


def restore_ledger(copy: Path, file: Path, keep: Path) -> LedgerReport:
    """Replace ``file`` by ``copy``, and keep the replaced ledger as ``keep``. The validator must not run.

    The restored ledger gets a new ledger_id, and its game stream a new epoch: miners may know verdicts and updates that
    the copy lacks. If this is interrupted, ``file`` is either the old or the new ledger.

    Raises:
        ConfigurationError: the copy is damaged, or the files cannot be written.
    """
    check_ledger(copy)
    try:
        with temporary_file(file.with_name(f"{file.name}.restoring")) as fresh:
            _copy(copy, fresh)
            with closing(sqlite3.connect(fresh)) as database, database:
                if database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'stream'").fetchone() == (1,):
                    database.execute("DELETE FROM stream")
                database.execute("UPDATE ledger SET ledger_id = lower(hex(randomblob(16)))")
            _keep(file, keep)
            fresh.replace(file)
    except (sqlite3.Error, OSError) as error:
        raise ConfigurationError(f"{file} cannot be restored: {error}") from None
    return check_ledger(file)


def _keep(file: Path, keep: Path) -> None:
    """Give ``file`` a second name, so that it can be replaced in one step.

    Its write-ahead log is written into it first: SQLite would take the log for that of the new file. If the ledger is
    damaged, its log is kept beside it.

    Raises:
        OSError, sqlite3.Error: another process has it open, or the disk is full.
    """
    if file.exists():
        with contextlib.suppress(ConfigurationError):
            check_ledger(file)
            with closing(sqlite3.connect(file, timeout=10)) as database:
                (is_busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise OSError("another process has it open")
        keep.hardlink_to(file)
    for suffix in ("-wal", "-shm"):
        beside = file.with_name(file.name + suffix)
        if beside.exists():
            beside.rename(keep.with_name(keep.name + suffix))


def _copy(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as database,
        closing(sqlite3.connect(target)) as copy,
    ):
        database.backup(copy, pages=PAGES)
        copy.execute("PRAGMA journal_mode=DELETE")  # a single file, without a write-ahead log
