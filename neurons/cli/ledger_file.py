"""The ledger as a file: check it, copy it while its validator runs, and put a copy back.

By SQLite's own means (https://www.sqlite.org/backup.html): a copy of the file alone would lack what is in its log.
"""

import contextlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.system.files import unfinished

PAGES: int = 1000
"""Copied at a time: about 4 MB, during which a commit waits."""


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a ledger holds."""

    ledger_id: str
    schema: int
    predictions: int
    accepted: int


def check_ledger(file: Path) -> LedgerReport:
    """Read every page and index of a ledger.

    Raises:
        ConfigurationError: it is no ledger, or damaged; the message says what SQLite found.
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
        raise ConfigurationError(f"{file} is no ledger, or damaged: {error}") from None
    return LedgerReport(ledger_id, schema, predictions, accepted)


def backup_ledger(file: Path, copy: Path) -> LedgerReport:
    """Copy a ledger, also while its validator runs; what was confirmed before is in the copy. The copy is checked.

    Raises:
        ConfigurationError: the ledger cannot be read, or the copy cannot be written or is there already.
    """
    if copy.exists():
        raise ConfigurationError(f"{copy} is there already: name a new file")
    check_ledger(file)
    try:
        with unfinished(copy.with_name(f"{copy.name}.unfinished")) as fresh:
            _copy(file, fresh)
            report = check_ledger(fresh)
            fresh.rename(copy)
    except OSError as error:
        raise ConfigurationError(f"{copy} cannot be written: {error}") from None
    return report


def restore_ledger(copy: Path, file: Path, keep: Path) -> LedgerReport:
    """Put ``copy`` in the place of ``file``, which is kept as ``keep``. The validator must not run.

    It is another ledger from then on, and its game stream begins anew: miners may have been told of verdicts and
    updates that the copy does not know. Whatever ends this, there is a ledger: the old one or the new one.

    Raises:
        ConfigurationError: the copy is damaged, or the files cannot be written.
    """
    check_ledger(copy)
    try:
        with unfinished(file.with_name(f"{file.name}.restoring")) as fresh:
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
    """Give what is there a second name, so that ``file`` can be replaced in one step.

    What is in its log goes into it first: the log would be taken for the one of whatever has the file's name. Where it
    is damaged, its log is kept beside it.

    Raises:
        OSError, sqlite3.Error: another process has it open, or the disk does not take it.
    """
    if file.exists():
        with contextlib.suppress(ConfigurationError):
            check_ledger(file)
            with closing(sqlite3.connect(file, timeout=10)) as database:
                (is_busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise OSError("another process reads it")
        keep.hardlink_to(file)
    for suffix in ("-wal", "-shm"):
        beside = file.with_name(file.name + suffix)
        if beside.exists():
            beside.rename(keep.with_name(keep.name + suffix))


def _copy(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as database,
            closing(sqlite3.connect(target)) as copy,
        ):
            database.backup(copy, pages=PAGES)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    except sqlite3.Error as error:
        raise ConfigurationError(f"{target} cannot be written: {error}") from None
