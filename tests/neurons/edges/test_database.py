"""One SQLite file and its thread: durable, brought up to date in whole steps, and never opened if it is not ours."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.events import UpgradeBegun
from bettensor.neurons.edges import database as module
from bettensor.neurons.edges.database import Database, Migrations, cause, check_folder, to_json
from bettensor.neurons.simulation import EventLog
from tests.loopback.rig import write_configuration

FIRST = ("CREATE TABLE rows (value TEXT NOT NULL)",)


def double(connection: Connection) -> None:
    """What no statement can do."""
    for (value,) in connection.execute(text("SELECT value FROM rows")).all():
        connection.execute(text("INSERT INTO rows VALUES (:value)"), {"value": f"{value} {value}"})


SECOND = (double, "CREATE INDEX by_value ON rows (value)")


@asynccontextmanager
async def opened(path: Path, *migrations: Any, log: EventLog | None = None) -> AsyncIterator[Database]:
    """The database at ``path``, which is closed whether or not it could be opened."""
    steps: Migrations = migrations or (FIRST,)
    database = Database(path, "a notebook", steps, "Buy another one")
    database.attach(EventBus(ManualClock(), record=(log or EventLog()).append))
    try:
        await database.open()
        yield database
    finally:
        await database.close()


def insert(database: Database, *values: str) -> None:
    with database.transaction() as connection:
        for value in values:
            connection.execute(text("INSERT INTO rows VALUES (:value)"), {"value": value})


def stored(path: Path) -> list[str]:
    """As another process reads them."""
    with closing(sqlite3.connect(path)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM rows ORDER BY rowid")]


# --- opening


async def test_a_new_file_gets_every_step_and_is_no_upgrade(tmp_path: Path) -> None:
    log = EventLog()
    async with opened(tmp_path / "x.sqlite3", FIRST, SECOND, log=log) as database:
        assert await database.run(lambda: database.connection.scalar(text("PRAGMA user_version"))) == 2
    assert log.envelopes == []


async def test_an_older_file_gets_the_steps_that_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    path, log = tmp_path / "x.sqlite3", EventLog()
    async with opened(path) as database:
        await database.run(lambda: insert(database, "a"))
    async with opened(path, FIRST, SECOND, log=log):
        pass
    assert stored(path) == ["a", "a a"]
    (upgrade,) = log.all(UpgradeBegun)
    assert (upgrade.file, upgrade.schema, upgrade.newest) == ("x.sqlite3", 1, 2)
    async with opened(path, FIRST, SECOND):
        pass
    assert stored(path) == ["a", "a a"]


async def test_a_step_that_fails_changes_nothing_and_is_tried_again_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    async with opened(path) as database:
        await database.run(lambda: insert(database, "a"))
    with pytest.raises(ConfigurationError, match=r"cannot be opened as a notebook: no such table: absent. Buy another"):
        async with opened(path, FIRST, (double, "DELETE FROM absent")):
            raise AssertionError
    assert stored(path) == ["a"]
    async with opened(path, FIRST, SECOND):
        pass
    assert stored(path) == ["a", "a a"]


async def test_a_file_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    async with opened(path, FIRST, SECOND):
        pass
    with pytest.raises(ConfigurationError, match="newer than version 1 of this release: install"):
        async with opened(path):
            raise AssertionError


@pytest.mark.parametrize("content", [b"precious" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_what_is_no_database_is_refused_with_its_repair_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.sqlite3"
    path.write_bytes(content)
    with pytest.raises(
        ConfigurationError, match=r"x\.sqlite3 (cannot be opened as a notebook|is damaged).*Buy another"
    ):
        async with opened(path):
            raise AssertionError
    assert path.read_bytes() == content


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unable to open database file"):
        async with opened(tmp_path / "absent" / "x.sqlite3"):
            raise AssertionError


async def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a?b=c#d%20"
    folder.mkdir()
    async with opened(folder / "x.sqlite3"):
        assert (folder / "x.sqlite3").exists()


def lock(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


async def test_a_file_that_another_process_locks_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.05)
    path = tmp_path / "x.sqlite3"
    words = r"cannot be opened as a notebook: database is locked\. End the other process"
    with closing(lock(path)), pytest.raises(ConfigurationError, match=words) as refused:
        async with opened(path):
            raise AssertionError
    assert "Buy another one" not in str(refused.value)


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
async def test_a_file_that_is_not_ours_is_refused_before_sqlite_opens_it(tmp_path: Path, end: str, kind: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "x.sqlite3"
    victim.write_text("precious")
    file = tmp_path / f"x.sqlite3{end}"
    if kind == "link":
        file.symlink_to(victim)
    else:
        os.mkfifo(file)
    with pytest.raises(ConfigurationError, match=rf"x\.sqlite3{end}: it is (a symbolic link|no regular file)"):
        async with opened(path):
            raise AssertionError
    assert victim.read_text() == "precious"


def modes(folder: Path, pattern: str = "*") -> dict[str, int]:
    """The permissions of the files in ``folder``."""
    return {file.name: stat.S_IMODE(file.lstat().st_mode) for file in folder.glob(pattern)}


async def test_only_its_owner_may_read_a_database_its_log_and_its_index(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    before = os.umask(0)
    try:
        async with opened(path) as database:
            await database.run(lambda: insert(database, "secret"))
            found = modes(tmp_path)
        assert found == dict.fromkeys(("x.sqlite3", "x.sqlite3-wal", "x.sqlite3-shm"), 0o600)
        path.chmod(0o644)  # as release 0.1.0 made it
        async with opened(path):
            assert modes(tmp_path)[path.name] == 0o600
    finally:
        os.umask(before)


async def test_a_file_that_cannot_have_a_write_ahead_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"write-ahead log\. Set state_dir to a folder on a local disk"):
        async with opened(Path(":memory:")):
            raise AssertionError


def test_a_folder_for_a_database_is_checked_and_left_as_it_was(tmp_path: Path) -> None:
    check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match=r"nothing can be written to .*: No such file or directory"):
        check_folder(tmp_path / "absent")


NO_MAPS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define REFUSE(name) \\
    void *name(void *at, size_t size, int mode, int flags, int fd, off_t offset) { \\
        char link[64], path[4096]; \\
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd); \\
        ssize_t end = flags & MAP_SHARED ? readlink(link, path, sizeof path) : 0; \\
        if (end > 4 && !memcmp(path + end - 4, "-shm", 4)) { errno = ENODEV; return MAP_FAILED; } \\
        return ((void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, #name))( \\
            at, size, mode, flags, fd, offset); \\
    }
REFUSE(mmap)
REFUSE(mmap64)
"""
"""mmap(2) of a file system without shared memory, for the files that need it."""


def test_a_file_system_without_shared_memory_is_called_so(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs a C compiler, to take shared memory away from SQLite")
    (tmp_path / "no_maps.c").write_text(NO_MAPS)
    library = tmp_path / "no_maps.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "no_maps.c", "-ldl"], check=True)
    command = [sys.executable, "-m", "bettensor", "validator", "--config", str(write_configuration(tmp_path))]
    environment = os.environ | {"LD_PRELOAD": str(library)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "disk I/O error. Set state_dir to a folder on a local disk: this file system has no shared" in done.stderr
    assert "damaged" not in done.stderr
    command[2:4] = ["bettensor", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "this file system has no shared memory" in " ".join(done.stdout.split())


# --- work


async def test_all_work_is_done_in_one_thread_one_piece_after_the_other(tmp_path: Path) -> None:
    order: list[tuple[int, int]] = []
    async with opened(tmp_path / "x.sqlite3") as database:

        def work(number: int) -> None:
            order.append((number, threading.get_ident()))

        await asyncio.gather(*(database.run(lambda n=n: work(n)) for n in range(20)))  # type: ignore[misc]
    assert [number for number, _ in order] == list(range(20))
    assert {thread for _, thread in order} != {threading.get_ident()}
    assert len({thread for _, thread in order}) == 1


async def test_a_transaction_is_on_the_disk_when_it_ends_and_no_part_of_it_before(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    async with opened(path) as database:
        assert database.connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert database.connection.scalar(text("PRAGMA synchronous")) == 2
        await database.run(lambda: insert(database, "a", "b"))
        assert stored(path) == ["a", "b"]

        def begin() -> list[str]:
            with database.transaction() as connection:
                connection.execute(text("INSERT INTO rows VALUES ('c')"))
                return stored(path)

        assert await database.run(begin) == ["a", "b"]
    assert stored(path) == ["a", "b", "c"]


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt])
async def test_a_transaction_that_does_not_come_to_its_end_changes_nothing(
    tmp_path: Path, end: type[BaseException]
) -> None:
    async with opened(tmp_path / "x.sqlite3") as database:

        def begin() -> None:
            with database.transaction() as connection:
                connection.execute(text("INSERT INTO rows VALUES ('a')"))
                raise end

        with pytest.raises(end):
            begin()
        insert(database, "b")
    assert stored(tmp_path / "x.sqlite3") == ["b"]


async def test_a_database_that_another_process_holds_fails_after_a_while_and_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.05)
    path = tmp_path / "x.sqlite3"
    async with opened(path) as database:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OperationalError) as failed:
                await database.run(lambda: insert(database, "a"))
            assert cause(failed.value) == "database is locked"
        await database.run(lambda: insert(database, "a"))
    assert stored(path) == ["a"]


async def test_what_has_begun_is_finished_though_nobody_waits_for_it(tmp_path: Path) -> None:
    path, begun, goes_on = tmp_path / "x.sqlite3", threading.Event(), threading.Event()
    async with opened(path) as database:

        def slowly() -> None:
            begun.set()
            goes_on.wait(10)
            insert(database, "a")

        waiting = asyncio.create_task(database.run(slowly))
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        goes_on.set()
    assert stored(path) == ["a"]


async def test_to_settle_is_to_wait_for_what_was_started_and_to_close_is_to_settle(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.sqlite3") as database:

        async def work(value: str) -> None:
            await database.run(lambda: insert(database, value))

        database.start(work("a"), "first")
        await database.settle()
        assert stored(tmp_path / "x.sqlite3") == ["a"]
        database.start(work("b"), "second")
    assert stored(tmp_path / "x.sqlite3") == ["a", "b"]


def test_parameters_are_json_that_sqlite_reads() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        (rows,) = connection.execute("SELECT json_array_length(?)", (to_json([("ü \u2028", 1), (None, 2)]),)).fetchone()
    assert rows == 2


# --- filling one for a command


def filling(path: Path, work: Callable[[Database], None]) -> None:
    database = Database(path, "a notebook", (FIRST,), "Buy another one")
    database.fill(lambda: work(database))


def write(database: Database) -> None:
    database.connection.execute(text("INSERT INTO rows VALUES ('a')"))


def test_a_command_fills_a_database_that_is_new_or_there(tmp_path: Path) -> None:
    for _ in range(2):
        filling(tmp_path / "x.sqlite3", write)
    assert stored(tmp_path / "x.sqlite3") == ["a", "a"]
    assert [file.name for file in tmp_path.iterdir()] == ["x.sqlite3"], "it is closed"


@pytest.mark.parametrize("end", [KeyboardInterrupt, ConfigurationError("the source is damaged")])
def test_work_that_ends_half_way_leaves_nothing(tmp_path: Path, end: Any) -> None:
    filling(tmp_path / "x.sqlite3", write)

    def work(database: Database) -> None:
        write(database)
        raise end

    with pytest.raises(type(end) if isinstance(end, Exception) else end):
        filling(tmp_path / "x.sqlite3", work)
    assert stored(tmp_path / "x.sqlite3") == ["a"]


def test_a_database_that_takes_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.02)
    path = tmp_path / "x.sqlite3"
    filling(path, write)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            BettensorError, match=f"^{path}: cannot be written, and stays as it was: database is locked"
        ):
            filling(path, write)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigurationError, match="cannot be opened as a notebook"):
        filling(path, write)
