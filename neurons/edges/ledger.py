"""Verdicts on disk: the one place where a prediction becomes final.

Inserts what is new, and answers for every key with the verdict that is stored. SQLite in WAL mode with
``synchronous=FULL``: when a commit returns, it is on the disk. One worker thread owns the connection.

A commit is one SQL statement over one JSON document, because each statement that SQLite runs lets go of Python's lock
and has to win it back from a busy event loop, which can take milliseconds; a hundred statements would take a hundred
times that.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bus.bus import EventBus
from bus.clock import Clock
from bus.codes import VerdictCode
from bus.envelope import Envelope
from bus.errors import ConfigurationError
from bus.events import (
    CommitFailed,
    CommitRequested,
    DayTotal,
    LedgerOpened,
    PredictionsStored,
    ProposedVerdict,
    StoredVerdict,
)
from bus.identifiers import Hotkey, LedgerId, Micros, Millionths, PredictionId
from bus.timestamps import DAY, utc_day

SWEEP_STEP: Final = 500
"""Rows that one step of a sweep deletes: a few milliseconds in which commits wait."""
SWEEP_INTERVAL: Final = 3600.0
"""Seconds between two sweeps."""
_BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process (a backup, an operator's query) that locks the database."""

_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE ledger (ledger_id TEXT NOT NULL)",
        # AUTOINCREMENT: ids only grow, even after a sweep, so that what a commit added is what has a larger id
        """
        CREATE TABLE predictions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            hotkey TEXT NOT NULL,
            prediction_id TEXT NOT NULL,
            digest TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            received_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            wager INTEGER NOT NULL,
            content TEXT NOT NULL,
            UNIQUE (hotkey, prediction_id)
        )
        """,
        # for the day's totals at start, and for the sweep: no more, each index costs every commit
        "CREATE INDEX predictions_by_receipt ON predictions (received_at)",
        "CREATE INDEX predictions_by_expiry ON predictions (expires_at)",
    ),
)
"""What makes schema version n + 1 of version n; ``PRAGMA user_version`` says where a database is."""

_COLUMNS: Final = (
    "hotkey",
    "prediction_id",
    "digest",
    "code",
    "message",
    "received_at",
    "expires_at",
    "wager",
    "content",
)
_JSON_COLUMN: Final = "json_extract(value, '$[{}]')"
_INSERT: Final = text(
    f"INSERT INTO predictions ({', '.join(_COLUMNS)}) "  # noqa: S608 - only our own column names
    f"SELECT {', '.join(map(_JSON_COLUMN.format, range(len(_COLUMNS))))} FROM json_each(:rows) "
    "WHERE true ON CONFLICT (hotkey, prediction_id) DO NOTHING"
)
_STORED: Final = text(
    "SELECT p.id, p.hotkey, p.prediction_id, p.digest, p.code, p.message FROM json_each(:keys) AS k "
    "JOIN predictions AS p "
    "ON p.hotkey = json_extract(k.value, '$[0]') AND p.prediction_id = json_extract(k.value, '$[1]')"
)
_TOTALS: Final = text(
    "SELECT received_at / :day AS day, hotkey, "
    "SUM(code = 'accepted') AS accepted, SUM(code <> 'accepted') AS rejected, "
    "SUM(CASE code WHEN 'accepted' THEN wager ELSE 0 END) AS wagered "
    "FROM predictions WHERE received_at >= :since GROUP BY 1, 2 ORDER BY 1, 2"
)
_SWEEP: Final = text(
    "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions WHERE expires_at < :now LIMIT :step)"
)

Result = TypeVar("Result")


class _Row(NamedTuple):
    id: int
    digest: str
    code: VerdictCode
    message: str


class Ledger:
    """One database file. All work on it is done in its own thread, one commit after the other."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._last_id = 0
        self._commits: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self, bus: EventBus) -> None:
        """Open or create the file, publish ``LedgerOpened``, and answer commits from then on.

        Raises:
            ConfigurationError: the file is not a ledger, or of a newer version, or cannot be opened.
        """
        self._bus = bus
        opened = await self._in_thread(self._open)
        bus.subscribe(CommitRequested, self.commit, "ledger")
        bus.publish(opened)
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="ledger sweep")

    def commit(self, event: CommitRequested, envelope: Envelope) -> None:
        """Answered later, by ``PredictionsStored`` or ``CommitFailed``."""
        task = asyncio.create_task(self._commit(event.proposals, envelope.seq), name="ledger commit")
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    async def settle(self) -> None:
        """Wait until no commit is under way, the ones that follow from those included. Safe to cancel."""
        while self._commits:
            await asyncio.wait(self._commits)

    async def close(self) -> None:
        """Finish what is under way, and close the file."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            await self.settle()
            await self._in_thread(self._close)
        self._thread.shutdown()

    async def sweep(self) -> int:
        """Delete verdicts past their time, in small steps between commits; returns how many.

        Raises:
            SQLAlchemyError: the database cannot be written now.
        """
        swept = 0
        while True:
            step = await self._in_thread(self._sweep_step)
            swept += step
            if step < SWEEP_STEP:
                return swept

    async def _commit(self, proposals: Sequence[ProposedVerdict], request: int) -> None:
        try:
            verdicts = await self._in_thread(lambda: self._store(proposals))
        except SQLAlchemyError as error:
            self._bus.publish(CommitFailed(request, _cause(error)), causes=(request,))
        else:
            self._bus.publish(PredictionsStored(request, verdicts), causes=(request,))

    async def _sweep_forever(self) -> None:
        while True:
            with contextlib.suppress(SQLAlchemyError):  # the next commit will say what is wrong; the next sweep, retry
                await self.sweep()
            await asyncio.sleep(SWEEP_INTERVAL)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # --- in the worker thread

    def _open(self) -> LedgerOpened:
        self._engine = _engine(self._path)
        try:
            self._connection = self._engine.connect()
            _migrate(self._connection, self._path)
            ledger_id = self._connection.scalar(text("SELECT ledger_id FROM ledger"))
            self._last_id = self._connection.scalar(text("SELECT coalesce(max(id), 0) FROM predictions")) or 0
            days = self._totals()
        except DBAPIError as error:
            raise ConfigurationError(
                f"{self._path} cannot be opened as a ledger: {_cause(error)}. If it is damaged, keep it, and start "
                "with a backup or, where there is none, with another state_dir: its verdicts are then unknown"
            ) from None
        return LedgerOpened(LedgerId(ledger_id), days)

    def _totals(self) -> tuple[DayTotal, ...]:
        yesterday = Micros((utc_day(self._clock.wall()) - 1) * DAY)
        rows = self._connection.execute(_TOTALS, {"day": DAY, "since": yesterday})
        return tuple(
            DayTotal(row.day, Hotkey(row.hotkey), row.accepted, row.rejected, Millionths(row.wagered)) for row in rows
        )

    def _store(self, proposals: Sequence[ProposedVerdict]) -> tuple[StoredVerdict, ...]:
        result = self._connection.execute(_INSERT, {"rows": _json([_values(proposal) for proposal in proposals])})
        before, self._last_id = self._last_id, result.lastrowid if result.rowcount else self._last_id
        if result.rowcount == len(proposals):
            return tuple(
                StoredVerdict(p.hotkey, p.prediction.prediction_id, p.code, p.message, fresh=True) for p in proposals
            )
        return self._known(proposals, before)

    def _known(self, proposals: Sequence[ProposedVerdict], before: int) -> tuple[StoredVerdict, ...]:
        """What is stored for each key, where some were there before this commit, or twice in it."""
        keys = [(proposal.hotkey, proposal.prediction.prediction_id) for proposal in proposals]
        rows = {
            (Hotkey(row.hotkey), PredictionId(row.prediction_id)): _Row(
                row.id, row.digest, VerdictCode(row.code), row.message
            )
            for row in self._connection.execute(_STORED, {"keys": _json(keys)})
        }
        answered: set[tuple[Hotkey, PredictionId]] = set()
        verdicts = []
        for key, proposal in zip(keys, proposals, strict=True):
            fresh = rows[key].id > before and key not in answered
            answered.add(key)
            verdicts.append(_verdict(proposal, rows[key], fresh=fresh))
        return tuple(verdicts)

    def _sweep_step(self) -> int:
        return self._connection.execute(_SWEEP, {"now": self._clock.wall(), "step": SWEEP_STEP}).rowcount

    def _close(self) -> None:
        self._connection.close()
        self._engine.dispose()


def _engine(path: Path) -> Engine:
    # autocommit: each of our statements is a transaction by itself
    engine = create_engine(
        f"sqlite:///{path}",
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": _BUSY_TIMEOUT, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _migrate(connection: Connection, path: Path) -> None:
    version = connection.scalar(text("PRAGMA user_version")) or 0
    if version > len(_MIGRATIONS):
        raise ConfigurationError(
            f"{path} has schema version {version}, and this release knows {len(_MIGRATIONS)}: "
            "install the release that wrote it, or a newer one"
        )
    for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
        connection.execute(text("BEGIN IMMEDIATE"))
        for statement in statements:
            connection.execute(text(statement))
        if number == 1:
            connection.execute(text("INSERT INTO ledger VALUES (:id)"), {"id": token_hex(16)})
        connection.execute(text(f"PRAGMA user_version = {number}"))
        connection.execute(text("COMMIT"))


def _values(proposal: ProposedVerdict) -> tuple[object, ...]:
    return (
        proposal.hotkey,
        proposal.prediction.prediction_id,
        proposal.digest,
        proposal.code,
        proposal.message,
        proposal.received_at,
        proposal.expires_at,
        proposal.wager,
        _json(proposal.prediction),
    )


def _verdict(proposal: ProposedVerdict, row: _Row, *, fresh: bool) -> StoredVerdict:
    key = proposal.hotkey, proposal.prediction.prediction_id
    if row.digest == proposal.digest:
        return StoredVerdict(*key, row.code, row.message, fresh=fresh)
    message = f"this id has its verdict ({row.code}) with other content; a new prediction needs a new id"
    return StoredVerdict(*key, VerdictCode.CONFLICT, message, fresh=False)


_encoder: Final = msgspec.json.Encoder()


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


def _cause(error: SQLAlchemyError) -> str:
    """What SQLite said, without SQLAlchemy's explanations."""
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)
