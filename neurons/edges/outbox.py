"""A miner's memory across restarts: predictions with their verdicts, and slates.

Verdicts and slates are written with the next save, or soon: if a crash loses the newest ones, the miner asks the
validator again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError

from bettensor.bus.clock import Clock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.envelope import Envelope
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
from bettensor.bus.games import TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import Epoch, GameId, Hotkey, LedgerId, Micros, Offset, PredictionId
from bettensor.bus.timestamps import DAY
from bettensor.neurons.edges.database import Database, Migrations, cause, to_json
from bettensor.neurons.edges.edge import Edge, StateDir, on

RETENTION: Final = 30 * DAY
"""Age at which predictions with a verdict are deleted."""
RECALLED: Final = 64 * 64
"""Verdicts that a restarted miner remembers: as many as a validator keeps for an absent miner."""
RETRY: Final = 1.0
"""Seconds until a failed write is tried again."""
EXPIRED: Final = "expired"
"""Stored in place of a verdict's code."""

_MIGRATIONS: Final[Migrations] = (
    (
        """
        CREATE TABLE predictions (
            id INTEGER PRIMARY KEY,
            validator TEXT NOT NULL,
            prediction_id TEXT NOT NULL,
            content TEXT NOT NULL,
            made_at INTEGER NOT NULL,
            code TEXT,
            message TEXT,
            settled_at INTEGER,
            UNIQUE (validator, prediction_id)
        )
        """,
        "CREATE INDEX predictions_unsettled ON predictions (id) WHERE code IS NULL",
        "CREATE INDEX predictions_settled ON predictions (settled_at)",
        "CREATE TABLE streams (validator TEXT PRIMARY KEY, epoch TEXT NOT NULL, position INTEGER NOT NULL)",
        "CREATE TABLE games (validator TEXT NOT NULL, game_id TEXT NOT NULL, content TEXT NOT NULL, "
        "PRIMARY KEY (validator, game_id)) WITHOUT ROWID",
    ),
    ("CREATE TABLE ledgers (validator TEXT PRIMARY KEY, ledger_id TEXT NOT NULL)",),
    (
        "ALTER TABLE predictions ADD COLUMN imported INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX predictions_imported ON predictions (validator) WHERE imported",
    ),
)

_SAVE: Final = text(
    "INSERT INTO predictions (validator, prediction_id, content, made_at) "
    "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), :now "
    "FROM json_each(:rows) WHERE true ON CONFLICT (validator, prediction_id) DO NOTHING"
)
_VALUES: Final = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(7))
_IMPORT: Final = text(
    "INSERT INTO predictions (validator, prediction_id, content, made_at, code, message, settled_at, imported) "  # noqa: S608 - our own text
    f"SELECT {_VALUES}, 1 "
    "FROM json_each(:rows) WHERE true ON CONFLICT (validator, prediction_id) DO NOTHING"
)
_IMPORTED: Final = text(
    "SELECT DISTINCT validator, json_extract(content, '$.game_id') AS game_id FROM predictions WHERE imported "
    "ORDER BY validator, game_id"
)
_SETTLED: Final = text(
    "SELECT p.validator, p.prediction_id FROM json_each(:rows) AS r JOIN predictions AS p "
    "ON p.validator = json_extract(r.value, '$[0]') AND p.prediction_id = json_extract(r.value, '$[1]') "
    "WHERE p.code IS NOT NULL"
)
_SETTLE: Final = text(
    "UPDATE predictions SET code = json_extract(value, '$[2]'), message = json_extract(value, '$[3]'), "
    "settled_at = :now FROM json_each(:rows) WHERE validator = json_extract(value, '$[0]') "
    "AND prediction_id = json_extract(value, '$[1]') AND code IS NULL"
)
_LAST_VERDICTS: Final = text(
    "SELECT validator, prediction_id, code FROM predictions WHERE settled_at IS NOT NULL AND code != :expired "
    "ORDER BY settled_at DESC, id DESC LIMIT :most"
)
_LEAVE_SLATE: Final = text(
    "DELETE FROM games WHERE validator = :validator AND (:snapshot OR game_id IN "
    "(SELECT json_extract(value, '$.game_id') FROM json_each(:games)))"
)
_JOIN_SLATE: Final = text(
    "INSERT INTO games SELECT :validator, json_extract(value, '$.game_id'), json(value) FROM json_each(:games) "
    "WHERE json_extract(value, '$.active')"
)
_MOVE_ON: Final = text(
    "INSERT INTO streams VALUES (:validator, :epoch, :position) "
    "ON CONFLICT (validator) DO UPDATE SET epoch = excluded.epoch, position = excluded.position"
)
_RECOGNISE: Final = text(
    "INSERT INTO ledgers VALUES (:validator, :ledger_id) "
    "ON CONFLICT (validator) DO UPDATE SET ledger_id = excluded.ledger_id"
)


_REPAIR: Final = (
    "If it is damaged, move it away: the miner then starts without its slate, and predictions in it that have no "
    "verdict are not sent again"
)


class ImportedEntry(NamedTuple):
    """A prediction that an existing miner has made, for one validator."""

    validator: Hotkey
    prediction: TeamGamePrediction
    made_at: Micros
    confirmed_at: Micros | None
    """When the import learned that the validator had confirmed it; None if it waits for its verdict."""


CONFIRMED: Final = "confirmed to the existing miner"
"""The message of the verdict on a prediction that was confirmed before it was imported."""


class OutboxDatabase(Database):
    """The miner's database file."""

    def __init__(self, state_dir: StateDir) -> None:
        super().__init__(state_dir / "outbox.sqlite3", "an outbox", _MIGRATIONS, _REPAIR)

    def insert_imported(self, entries: Sequence[ImportedEntry]) -> int:
        """Save the predictions that are new, inside ``fill``; returns their number."""
        rows = [
            (
                entry.validator,
                entry.prediction.prediction_id,
                to_json(entry.prediction),
                entry.made_at,
                VerdictCode.ACCEPTED if entry.confirmed_at else None,
                CONFIRMED if entry.confirmed_at else None,
                entry.confirmed_at,
            )
            for entry in entries
        ]
        return self.connection.execute(_IMPORT, {"rows": to_json(rows)}).rowcount


@dataclass(slots=True)
class _Change:
    """The unwritten changes of one validator's slate."""

    epoch: Epoch
    offset: Offset
    snapshot: bool
    games: dict[GameId, TeamGame] = field(default_factory=dict)


@dataclass(slots=True)
class _Work:
    """The content of one transaction."""

    saves: dict[int, tuple[OutboxEntry, ...]] = field(default_factory=dict)
    """By the ``seq`` of the request."""
    verdicts: dict[tuple[Hotkey, PredictionId], tuple[str, str]] = field(default_factory=dict)
    """Code and message; the first verdict counts."""
    slates: dict[Hotkey, _Change] = field(default_factory=dict)
    ledgers: dict[Hotkey, LedgerId] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.saves or self.verdicts or self.slates or self.ledgers)

    def without_saves(self) -> "_Work":
        """The part that may be written at any time, because no save waits for it."""
        return _Work(verdicts=self.verdicts, slates=self.slates, ledgers=self.ledgers)

    def followed_by(self, later: "_Work") -> "_Work":
        """Both, with ``later`` after this."""
        both = _Work(
            self.saves | later.saves, later.verdicts | self.verdicts, self.slates, self.ledgers | later.ledgers
        )
        for validator, change in later.slates.items():
            both.change(validator, change)
        return both

    def change(self, validator: Hotkey, later: _Change) -> None:
        """Apply ``later`` on top of the earlier change."""
        earlier = self.slates.get(validator)
        if earlier is not None and not later.snapshot:
            later = _Change(later.epoch, later.offset, earlier.snapshot, earlier.games | later.games)
        self.slates[validator] = later


class Outbox(Edge):
    """Stores requested saves, and the verdicts and slates that it hears; one transaction takes all that waits."""

    name = "outbox_store"

    def __init__(self, database: OutboxDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._work = _Work()
        self._writing = False
        self._closing = asyncio.Event()

    async def open(self) -> None:
        """Publish ``OutboxOpened``, and answer saves from then on.

        Raises:
            ConfigurationError: the database cannot be read.
        """
        self._bus.publish(await self._database.load(self._load))

    @on(SaveRequested)
    def save(self, event: SaveRequested, envelope: Envelope) -> None:
        """Answered later, by ``PredictionsSaved`` or ``SaveFailed``."""
        self._work.saves[envelope.seq] = event.entries
        self._write_soon()

    async def close(self) -> None:
        """Write the waiting changes once more, without another attempt if that fails. The database is closed later."""
        self._closing.set()

    @on(VerdictReceived, PredictionExpired)
    def end(self, event: VerdictReceived | PredictionExpired, _: Envelope) -> None:
        verdict = (event.code, event.message) if isinstance(event, VerdictReceived) else (EXPIRED, "")
        self._work.verdicts.setdefault((event.validator, event.prediction.prediction_id), verdict)
        self._write_soon()

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, _: Envelope) -> None:
        games = {game.game_id: game for game in event.games}
        self._work.change(event.validator, _Change(event.epoch, event.offset, event.snapshot, games))
        self._write_soon()

    @on(LedgerRecognised)
    def recognise(self, event: LedgerRecognised, _: Envelope) -> None:
        self._work.ledgers[event.validator] = event.ledger_id
        self._write_soon()

    def _write_soon(self) -> None:
        if not self._writing:
            self._writing = True
            self._database.start(self._write_all(), "outbox")

    async def _write_all(self) -> None:
        try:
            while work := self._work:
                self._work = _Work()
                if not await self._write(work) and self._closing.is_set():
                    return
        finally:
            self._writing = False

    async def _write(self, work: _Work) -> bool:
        try:
            settled = await self._database.run(lambda: self._transact(work))
        except SQLAlchemyError as error:
            for request in work.saves:
                self._bus.publish(SaveFailed(request, cause(error)), causes=(request,))
            self._work = work.without_saves().followed_by(self._work)
            await self._rest()
            return False
        for request in work.saves:
            self._bus.publish(PredictionsSaved(request, settled), causes=(request,))
        return True

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), RETRY)
        except TimeoutError:
            return

    # --- in the database's thread

    def _load(self) -> OutboxOpened:
        connection = self._database.connection
        connection.execute(
            text("DELETE FROM predictions WHERE settled_at < :oldest"), {"oldest": self._clock.wall() - RETENTION}
        )
        unsettled = connection.execute(
            text("SELECT validator, content FROM predictions WHERE code IS NULL ORDER BY id")
        ).all()
        settled = connection.execute(_LAST_VERDICTS, {"most": RECALLED, "expired": EXPIRED}).all()
        streams = connection.execute(text("SELECT validator, epoch, position FROM streams ORDER BY validator")).all()
        return OutboxOpened(
            tuple(OutboxEntry(Hotkey(row.validator), _read(row.content, TeamGamePrediction)) for row in unsettled),
            tuple(self._slate(row) for row in streams),
            tuple(
                (Hotkey(row.validator), LedgerId(row.ledger_id))
                for row in connection.execute(text("SELECT validator, ledger_id FROM ledgers ORDER BY validator"))
            ),
            tuple((Hotkey(row.validator), PredictionId(row.prediction_id), row.code) for row in reversed(settled)),
            tuple((Hotkey(row.validator), GameId(row.game_id)) for row in connection.execute(_IMPORTED)),
        )

    def _slate(self, stream: Row[Any]) -> KnownSlate:
        games = self._database.connection.scalars(
            text("SELECT content FROM games WHERE validator = :validator ORDER BY game_id"),
            {"validator": stream.validator},
        )
        slate = tuple(_read(content, TeamGame) for content in games)
        return KnownSlate(Hotkey(stream.validator), Epoch(stream.epoch), Offset(stream.position), slate)

    def _transact(self, work: _Work) -> tuple[tuple[Hotkey, PredictionId], ...]:
        """Write all of it; returns the saved predictions that already had a verdict."""
        now = self._clock.wall()
        settled: tuple[tuple[Hotkey, PredictionId], ...] = ()
        with self._database.transaction() as connection:
            entries = [entry for entries in work.saves.values() for entry in entries]
            if entries:
                rows = [
                    (entry.validator, entry.prediction.prediction_id, to_json(entry.prediction)) for entry in entries
                ]
                if connection.execute(_SAVE, {"rows": to_json(rows), "now": now}).rowcount < len(rows):
                    known = connection.execute(_SETTLED, {"rows": to_json([row[:2] for row in rows])})
                    settled = tuple((Hotkey(row.validator), PredictionId(row.prediction_id)) for row in known)
            if work.verdicts:
                verdicts = [(*key, *verdict) for key, verdict in work.verdicts.items()]
                connection.execute(_SETTLE, {"rows": to_json(verdicts), "now": now})
            for validator, change in work.slates.items():
                games = to_json(list(change.games.values()))
                slate = {"validator": validator, "snapshot": change.snapshot, "games": games}
                connection.execute(_LEAVE_SLATE, slate)
                connection.execute(_JOIN_SLATE, {"validator": validator, "games": games})
                position = {"validator": validator, "epoch": change.epoch, "position": change.offset}
                connection.execute(_MOVE_ON, position)
            for validator, ledger_id in work.ledgers.items():
                connection.execute(_RECOGNISE, {"validator": validator, "ledger_id": ledger_id})
        return settled


def _read(content: str, kind: Any) -> Any:
    return msgspec.json.decode(content, type=kind)
