"""One SQLite file, and the thread that does all work on it, one piece after the other.

WAL mode with ``synchronous=FULL``: when a transaction returns, it is on the disk. For each statement SQLite releases
Python's lock, and then has to win it back from a busy event loop, which can take milliseconds; so many rows are
written in one statement.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.events import UpgradeBegun
from bettensor.neurons.edges.edge import Edge, Store
from bettensor.neurons.system.private import NotPrivate, open_private, refuse_foreign, tighten

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process (a backup, an operator's query) that locks the database."""
CHECKPOINT_PAGES: Final = 8_000
"""WAL pages (4 KiB) between checkpoints: a larger batch rewrites each hot page once."""

_LOCAL_DISK: Final = (
    "Set state_dir to a folder on a local disk: this file system has no shared memory, which SQLite's WAL needs"
)
_FREE_SPACE: Final = "Free some space on the disk of state_dir"
_CURES: Final = {
    sqlite3.SQLITE_IOERR_SHMMAP: _LOCAL_DISK,
    sqlite3.SQLITE_IOERR_SHMOPEN: _LOCAL_DISK,
    sqlite3.SQLITE_IOERR_SHMLOCK: _LOCAL_DISK,
    sqlite3.SQLITE_IOERR_SHMSIZE: _FREE_SPACE,
    sqlite3.SQLITE_FULL: _FREE_SPACE,
    sqlite3.SQLITE_CANTOPEN: "Make the file and its folder readable and writable for this user",
    sqlite3.SQLITE_READONLY: "Make the file and its folder writable for this user",
    sqlite3.SQLITE_BUSY: "End the other process that uses it",
}
"""By SQLite's error code, extended or primary; any other error may be of a damaged file."""

Migration = str | Callable[[Connection], object]
"""A statement, or a function if a statement cannot do it."""
Migrations = tuple[tuple[Migration, ...], ...]
"""The steps from schema version n to n + 1; ``PRAGMA user_version`` is a database's version."""
Result = TypeVar("Result")

_encoder: Final = msgspec.json.Encoder()


class Database(Edge, Store):
    """One database file and the thread that owns its connection.

    If ``run`` raises ``SQLAlchemyError``, nothing has changed, and the work may be tried again.
    """

    name = "database"
    connection: Connection
    """Only for work inside ``run`` or ``fill``."""

    def __init__(self, path: Path, kind: str, migrations: Migrations, repair: str) -> None:
        """
        Args:
            path: the file.
            kind: a name for the database, for messages.
            migrations: from an empty file to the newest schema.
            repair: the cure if the file may be damaged.
        """
        self._path = path
        self._kind = kind
        self._migrations = migrations
        self._repair = repair
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=kind)
        self._engine: Engine | None = None

    async def open(self) -> None:
        """Open or create the file, and bring its schema up to date.

        Raises:
            ConfigurationError: the file is not such a database, has a newer schema, cannot be written, or is not this
                user's alone.
        """
        schema, newest = await self.load(self._open), len(self._migrations)
        if 0 < schema < newest:
            self._bus.publish(UpgradeBegun(self._path.name, schema, newest, self._path.stat().st_size))
        await self.load(lambda: self._migrate(schema))

    async def load(self, work: Callable[[], Result]) -> Result:
        """Like ``run``, for work without which a neuron cannot start.

        Raises:
            ConfigurationError: the database cannot be read; the message says what to do.
        """
        try:
            return await self.run(work)
        except DBAPIError as error:
            raise ConfigurationError(
                f"{self._path} cannot be opened as {self._kind}: {cause(error)}. {_cure(error) or self._repair}"
            ) from None

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do ``work`` in the database's thread. Cancelling the caller does not stop work that has begun.

        Raises:
            SQLAlchemyError: the database cannot be read or written now.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Begin a task that uses ``run``; ``settle`` waits for it."""
        self._tasks.start(work, name)

    async def settle(self) -> None:
        """Wait until no task is running, including tasks that follow from others. Safe to cancel."""
        await self._tasks.settle()

    async def close(self) -> None:
        """Finish the running work, and close the file."""
        await self.settle()
        await self.run(self._close)
        self._thread.shutdown()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit everything done in the block, or nothing."""
        self.connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.exec_driver_sql("COMMIT")
        except BaseException:
            if self.connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                self.connection.exec_driver_sql("ROLLBACK")
            raise

    def fill(self, work: Callable[[], None]) -> None:
        """For a command: open the file, do ``work`` in one transaction, and close it. No neuron may use the file.

        Raises:
            ConfigurationError: as ``open``, or ``work`` raised it; the file has nothing of ``work`` then.
            BettensorError: the file cannot be written now; as before.
        """
        self.attach(EventBus(SystemClock()))
        try:
            asyncio.run(self.open())
            with self.transaction():  # in this thread, so that Ctrl-C takes it back
                work()
        except SQLAlchemyError as error:
            raise BettensorError(f"{self._path}: cannot be written, and stays as it was: {cause(error)}") from None
        finally:
            asyncio.run(self.close())

    def _open(self) -> int:
        """Open the connection; returns the schema's version, 0 for an empty file."""
        try:
            make_private(self._path)
        except NotPrivate as error:
            raise ConfigurationError(str(error)) from None
        except OSError:
            pass  # SQLite tells what is wrong
        engine = _engine(self._path)
        self.connection = engine.connect()
        self._engine = engine
        faults = self.connection.scalars(text("PRAGMA quick_check(1)")).all()
        if faults != ["ok"]:
            raise ConfigurationError(f"{self._path} is damaged: {faults[0]}. {self._repair}")
        version: int = self.connection.scalar(text("PRAGMA user_version")) or 0
        newest = len(self._migrations)
        if version > newest:
            raise ConfigurationError(
                f"{self._path} has schema version {version}, which is newer than version {newest} of this release: "
                "install the release that wrote it, or a newer one"
            )
        return version

    def _migrate(self, version: int) -> None:
        for number, steps in enumerate(self._migrations[version:], start=version + 1):
            with self.transaction() as connection:
                for step in steps:
                    if isinstance(step, str):
                        connection.execute(text(step))
                    else:
                        step(connection)
                connection.execute(text(f"PRAGMA user_version = {number}"))

    def _close(self) -> None:
        if self._engine is not None:
            self.connection.close()
            self._engine.dispose()


def make_private(path: Path) -> None:
    """Make an empty file, unless there is one, and let only its owner read it, its log and its index.

    SQLite gives the log and the index, which are files beside it, the permissions of the database.

    Raises:
        OSError: it cannot be made, or one of them is a link or belongs to another user.
    """
    os.close(open_private(path))
    for beside in BESIDE:
        file = path.with_name(path.name + beside)
        refuse_foreign(file)
        if file.exists():
            tighten(file)


BESIDE: Final = ("-wal", "-shm", "-journal")
"""Ends of the names of SQLite's files beside a database."""


def _engine(path: Path) -> Engine:
    # autocommit: each statement is a transaction by itself, unless Database.transaction says otherwise
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        ((mode,),) = connection.execute("PRAGMA journal_mode=WAL")
        if mode != "wal":
            raise ConfigurationError(f"{path} cannot have a write-ahead log. {_LOCAL_DISK}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")

    return engine


def to_json(value: object) -> str:
    """The JSON parameter of a statement that reads its rows from one document."""
    return _encoder.encode(value).decode()


def cause(error: SQLAlchemyError) -> str:
    """SQLite's own message, without SQLAlchemy's explanations."""
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)


def _cure(error: DBAPIError) -> str:
    code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return _CURES.get(code) or _CURES.get(code & 0xFF, "")


def check_folder(folder: Path) -> None:
    """Open a database in ``folder`` as a neuron does; nothing of it is left there.

    Raises:
        ConfigurationError: a database cannot work there; the message says why, and what to do.
    """
    try:
        with TemporaryDirectory(prefix=".bettensor-", dir=folder, ignore_cleanup_errors=True) as probe:
            engine = _engine(Path(probe) / "probe.sqlite3")
            try:
                with engine.connect() as connection:
                    connection.execute(text("CREATE TABLE probe (value)"))
            finally:
                engine.dispose()
    except DBAPIError as error:
        raise ConfigurationError(f"a database cannot work in {folder}: {cause(error)}. {_cure(error)}") from None
    except OSError as error:
        raise ConfigurationError(f"nothing can be written to {folder}: {error.strerror}") from None
