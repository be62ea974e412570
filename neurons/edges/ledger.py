"""Verdicts on disk: here a prediction becomes final.

A commit inserts the new verdicts, and answers every proposal with the verdict that is stored.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.exc import SQLAlchemyError

from bettensor.bus.clock import Clock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CommitFailed,
    CommitRequested,
    DayTotal,
    LedgerOpened,
    PredictionsStored,
    ProposedVerdict,
    StoredVerdict,
)
from bettensor.bus.games import TeamGamePrediction, is_same_wager
from bettensor.bus.identifiers import Hotkey, LedgerId, Micros, Millionths
from bettensor.bus.timestamps import DAY, utc_day
from bettensor.neurons.edges.database import Database, Migrations, cause, to_json
from bettensor.neurons.edges.edge import Edge, StateDir, on

SWEEP_STEP: Final = 500
"""Rows that one step of a sweep deletes: commits wait a few milliseconds for a step."""
SWEEP_INTERVAL: Final = 3600.0
"""Seconds between two sweeps."""


def key_of(hotkey: str, prediction_id: str) -> bytes:
    """The key of a verdict: 128 bits of SHA-256. An index of these is a quarter as large, and halves a commit's writes.

    Finding two ids with the same key takes 2^64 tries; the second id would be answered with ``conflict``.
    """
    return sha256(f"{hotkey}\n{prediction_id}".encode()).digest()[:16]


def key_of_proposal(proposal: ProposedVerdict) -> bytes:
    """The key of the verdict that it proposes."""
    return key_of(proposal.hotkey, proposal.prediction.prediction_id)


def _copy_with_keys(connection: Connection) -> None:
    connection.connection.driver_connection.create_function("key_of", 2, key_of)  # type: ignore[union-attr]
    connection.execute(
        text(
            f"INSERT INTO predictions (id, key, {', '.join(_FIRST_CONTENT)}) "  # noqa: S608 - only our own column names
            f"SELECT id, key_of(hotkey, prediction_id), {', '.join(_FIRST_CONTENT)} FROM predictions_without_keys"
        )
    )


_FIRST_CONTENT: Final = (
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
_INDEXES: Final = (
    "CREATE INDEX predictions_by_receipt ON predictions (received_at)",
    "CREATE INDEX predictions_by_expiry ON predictions (expires_at)",
)
"""For the day's totals at start, and for the sweep. There are no others, because each index costs every commit."""
_MIGRATIONS: Final[Migrations] = (
    (
        "CREATE TABLE ledger (ledger_id TEXT NOT NULL)",
        "INSERT INTO ledger VALUES (lower(hex(randomblob(16))))",
        # AUTOINCREMENT: ids only grow, even after a sweep, so the rows of a commit are those with larger ids
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
        *_INDEXES,
    ),
    (
        "CREATE TABLE stream (validator TEXT NOT NULL, netuid INTEGER NOT NULL, epoch TEXT NOT NULL, "
        "position INTEGER NOT NULL)",
        "CREATE TABLE slate (game_id TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE updates (position INTEGER NOT NULL, part INTEGER NOT NULL, frame BLOB NOT NULL, "
        "PRIMARY KEY (position, part)) WITHOUT ROWID",
    ),
    (
        "ALTER TABLE predictions RENAME TO predictions_without_keys",
        """
        CREATE TABLE predictions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            key BLOB NOT NULL UNIQUE,
            hotkey TEXT NOT NULL,
            prediction_id TEXT NOT NULL,
            digest TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            received_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            wager INTEGER NOT NULL,
            content TEXT NOT NULL
        )
        """,
        _copy_with_keys,
        # the next id, which may be beyond the largest remaining one after a sweep
        "DELETE FROM sqlite_sequence WHERE name = 'predictions'",
        "UPDATE sqlite_sequence SET name = 'predictions' WHERE name = 'predictions_without_keys'",
        "DROP TABLE predictions_without_keys",
        *_INDEXES,
    ),
    ("ALTER TABLE predictions ADD COLUMN proof TEXT NOT NULL DEFAULT 'signature'",),
)

FIRST_WITH_KEYS: Final = 3
"""The schema since which a verdict is found by ``key``."""
_COLUMNS: Final = ("key", *_FIRST_CONTENT, "proof")
_ROW: Final = f"({', '.join('?' * len(_COLUMNS))})"
_TOTALS: Final = text(
    "SELECT received_at / :day AS day, hotkey, "
    "SUM(code = 'accepted') AS accepted, SUM(code <> 'accepted') AS rejected, "
    "SUM(CASE code WHEN 'accepted' THEN wager ELSE 0 END) AS wagered "
    "FROM predictions WHERE received_at >= :since GROUP BY 1, 2 ORDER BY 1, 2"
)
_SWEEP: Final = text(
    "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions WHERE expires_at < :now LIMIT :step)"
)


_REPAIR: Final = (
    "If it is damaged, keep it, and start with a backup or, where there is none, with another state_dir: "
    "its verdicts are then unknown"
)


class _Row(NamedTuple):
    """The stored verdict of one key."""

    id: int
    digest: str
    code: VerdictCode
    message: str
    imported: TeamGamePrediction | None
    """What an existing validator has kept of the prediction, if the verdict is from there."""


class LedgerDatabase(Database):
    """The validator's database file: its ledger, and its game stream (``game_stream.py``)."""

    def __init__(self, state_dir: StateDir) -> None:
        super().__init__(state_dir / "ledger.sqlite3", "a ledger", _MIGRATIONS, _REPAIR)

    def insert_new(self, proposals: Sequence[ProposedVerdict]) -> set[bytes]:
        """Store the verdicts whose keys are new, inside ``fill``; returns the keys that were known."""
        rows = self.connection.exec_driver_sql(_select(len(proposals)), tuple(map(key_of_proposal, proposals)))
        known = {row.key for row in rows}
        new = [proposal for proposal in proposals if key_of_proposal(proposal) not in known]
        if new:
            _insert(self.connection, new)
        return known


class Ledger(Edge):
    """Stores verdicts, and answers each proposal with the verdict that is stored. One commit at a time."""

    name = "ledger"

    def __init__(self, database: LedgerDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._last_id = 0

    async def open(self) -> None:
        """Publish ``LedgerOpened``, and answer commits from then on.

        Raises:
            ConfigurationError: the database cannot be read.
        """
        self._bus.publish(await self._database.load(self._load))
        self._tasks.start(self._sweep_forever(), "ledger sweep")

    @on(CommitRequested)
    def commit(self, event: CommitRequested, envelope: Envelope) -> None:
        """Answered later, by ``PredictionsStored`` or ``CommitFailed``."""
        self._database.start(self._commit(event.proposals, envelope.seq), "ledger commit")

    async def close(self) -> None:
        """Stop sweeping. The database is a separate edge, and is closed later."""
        await self._tasks.cancel()

    async def sweep(self) -> int:
        """Delete expired verdicts, in small steps between commits; returns their number.

        Raises:
            SQLAlchemyError: the database cannot be written now.
        """
        swept = 0
        while True:
            step = await self._database.run(self._sweep_step)
            swept += step
            if step < SWEEP_STEP:
                return swept

    async def _commit(self, proposals: Sequence[ProposedVerdict], request: int) -> None:
        try:
            verdicts = await self._database.run(lambda: self._store(proposals))
        except SQLAlchemyError as error:
            self._bus.publish(CommitFailed(request, cause(error)), causes=(request,))
        else:
            self._bus.publish(PredictionsStored(request, verdicts), causes=(request,))

    async def _sweep_forever(self) -> None:
        while True:
            with contextlib.suppress(SQLAlchemyError):  # the next commit reports the fault; the next sweep tries again
                await self.sweep()
            await asyncio.sleep(SWEEP_INTERVAL)

    # --- in the database's thread

    def _load(self) -> LedgerOpened:
        connection = self._database.connection
        ledger_id = connection.scalar(text("SELECT ledger_id FROM ledger"))
        self._last_id = connection.scalar(text("SELECT coalesce(max(id), 0) FROM predictions")) or 0
        return LedgerOpened(LedgerId(ledger_id or ""), self._totals())

    def _totals(self) -> tuple[DayTotal, ...]:
        yesterday = Micros((utc_day(self._clock.wall()) - 1) * DAY)
        rows = self._database.connection.execute(_TOTALS, {"day": DAY, "since": yesterday})
        return tuple(
            DayTotal(row.day, Hotkey(row.hotkey), row.accepted, row.rejected, Millionths(row.wagered)) for row in rows
        )

    def _store(self, proposals: Sequence[ProposedVerdict]) -> tuple[StoredVerdict, ...]:
        result = _insert(self._database.connection, proposals)
        before, self._last_id = self._last_id, result.lastrowid if result.rowcount else self._last_id
        if result.rowcount == len(proposals):
            return tuple(
                StoredVerdict(p.hotkey, p.prediction.prediction_id, p.code, p.message, fresh=True) for p in proposals
            )
        return self._known(proposals, before)

    def _known(self, proposals: Sequence[ProposedVerdict], before: int) -> tuple[StoredVerdict, ...]:
        """The stored verdict of each key, if some keys were stored before this commit or occur twice in it."""
        keys = list(map(key_of_proposal, proposals))
        rows = {
            row.key: _Row(row.id, row.digest, VerdictCode(row.code), row.message, _imported(row.imported))
            for row in self._database.connection.exec_driver_sql(_select(len(keys)), tuple(keys))
        }
        answered: set[bytes] = set()
        verdicts = []
        for key, proposal in zip(keys, proposals, strict=True):
            fresh = rows[key].id > before and key not in answered
            answered.add(key)
            verdicts.append(_verdict(proposal, rows[key], fresh=fresh))
        return tuple(verdicts)

    def _sweep_step(self) -> int:
        return self._database.connection.execute(_SWEEP, {"now": self._clock.wall(), "step": SWEEP_STEP}).rowcount


def _insert(connection: Connection, proposals: Sequence[ProposedVerdict]) -> CursorResult[Any]:
    """Store the verdicts whose keys are new, in order; ``rowcount`` of the result is their number."""
    values = tuple(value for proposal in proposals for value in _values(proposal))
    return connection.exec_driver_sql(_insertion(len(proposals)), values)


def _insertion(rows: int) -> str:
    """One statement for all rows: see ``database.py``. SQLite takes 32,766 values in one, and a commit is smaller."""
    return (
        f"INSERT INTO predictions ({', '.join(_COLUMNS)}) "  # noqa: S608 - only our own column names
        f"VALUES {', '.join([_ROW] * rows)} ON CONFLICT (key) DO NOTHING"
    )


def _select(keys: int) -> str:
    columns = "id, key, digest, code, message, CASE proof WHEN 'imported' THEN content END AS imported"
    return f"SELECT {columns} FROM predictions WHERE key IN ({', '.join('?' * keys)})"  # noqa: S608


def _imported(content: str | None) -> TeamGamePrediction | None:
    return None if content is None else msgspec.json.decode(content, type=TeamGamePrediction)


def _values(proposal: ProposedVerdict) -> tuple[object, ...]:
    return (
        key_of_proposal(proposal),
        proposal.hotkey,
        proposal.prediction.prediction_id,
        proposal.digest,
        proposal.code,
        proposal.message,
        proposal.received_at,
        proposal.expires_at,
        proposal.wager,
        to_json(proposal.prediction),
        proposal.proof,
    )


def _verdict(proposal: ProposedVerdict, row: _Row, *, fresh: bool) -> StoredVerdict:
    key = proposal.hotkey, proposal.prediction.prediction_id
    is_repetition = row.digest == proposal.digest or (
        row.imported is not None and is_same_wager(row.imported, proposal.prediction)
    )
    if is_repetition:
        return StoredVerdict(*key, row.code, row.message, fresh=fresh)
    message = f"this id has its verdict ({row.code}) with other content; a new prediction needs a new id"
    return StoredVerdict(*key, VerdictCode.CONFLICT, message, fresh=False)
