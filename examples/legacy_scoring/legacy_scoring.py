"""A durable handler: each accepted prediction exactly once in the table that an existing validator's scoring reads.

The truth is our ledger. An event only wakes the handler; it then copies the acceptances behind the last one that it has
copied, and notes its place in the same transaction of the target. So a crash, a full disk or a busy scoring loses
nothing and copies nothing twice. README.md beside this file has the steps.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bettensor.bus.games import outcome_number

LEDGER: Final = "LEGACY_SCORING_LEDGER"
"""The variable that names our ledger: ledger.sqlite3 in the validator's state_dir."""
DATABASE: Final = "LEGACY_SCORING_DATABASE"
"""The variable that names the existing validator's database, validator.db."""
BUSY_TIMEOUT: Final = 30.0
"""Seconds to wait for a scoring that writes."""
STEP: Final = 500
"""Rows of one transaction: scoring waits some milliseconds for one."""
UNFINISHED: Final = 3

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = (
    "prediction_id",
    "game_id",
    "miner_uid",
    "prediction_date",
    "predicted_outcome",
    "predicted_odds",
    "team_a",
    "team_b",
    "wager",
    "team_a_odds",
    "team_b_odds",
    "tie_odds",
    "outcome",
    "model_name",
    "confidence_score",
)
_OURS: Final = (
    "CREATE TABLE IF NOT EXISTS bettensor_copied (ledger_id TEXT PRIMARY KEY, last_id INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS bettensor_without_uid (ledger_id TEXT NOT NULL, id INTEGER NOT NULL, "
    "hotkey TEXT NOT NULL, PRIMARY KEY (ledger_id, id))",
)
"""Added to the target: how far each ledger is copied, and rows of miners whose UID is not known yet."""

_lock: Final = threading.Lock()


def copy(_: object) -> None:
    """The handler. Each topic has a thread of its own; they take turns.

    Raises:
        OSError, sqlite3.Error: the copy failed as a whole, and goes on at the next event.
    """
    with _lock:
        Copier(Path(os.environ[LEDGER]), Path(os.environ[DATABASE])).copy()


@dataclass(frozen=True)
class Copier:
    """Copies from one ledger into one existing validator's database."""

    ledger: Path
    database: Path
    step: int = STEP

    def copy(self) -> int:
        """Copy all that is new; returns the number of rows that were added.

        Raises:
            sqlite3.Error: the ledger or the database cannot be used now. What was added before stays, and is known.
        """
        with closing(_connected(self.ledger, "ro")) as ledger, closing(_connected(self.database, "rw")) as target:
            (ledger_id,) = ledger.execute("SELECT ledger_id FROM ledger").fetchone()
            added = 0
            while True:
                target.execute("BEGIN IMMEDIATE")
                with target:  # commits, or rolls back
                    for table in _OURS:
                        target.execute(table)
                    uids = self._uids(target)
                    late = _late(target, ledger_id, uids)[: self.step]
                    new = _new(ledger, target, ledger_id, self.step)
                    added += _add([*_rows(ledger, late), *new], target, uids)
                    _note(target, ledger_id, late, new, uids)
                if len(new) < self.step and len(late) < self.step:
                    return added

    def _uids(self, target: sqlite3.Connection) -> dict[str, int]:
        """The UID of each hotkey: as our validator's metagraph has it, else as scoring has it."""
        known = dict(target.execute("SELECT miner_hotkey, miner_uid FROM miner_stats").fetchall())
        kept = self.ledger.with_name("metagraph.json")
        if kept.exists():
            neurons = json.loads(kept.read_bytes())["metagraph"]["neurons"]
            known |= {neuron["hotkey"]: neuron["uid"] for neuron in neurons}
        return known


def _connected(file: Path, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
    )
    database.row_factory = sqlite3.Row
    return database


def _new(ledger: sqlite3.Connection, target: sqlite3.Connection, ledger_id: str, most: int) -> list[sqlite3.Row]:
    """The acceptances behind the last one that was copied. A ledger's ids only grow."""
    copied = target.execute("SELECT last_id FROM bettensor_copied WHERE ledger_id = ?", (ledger_id,)).fetchone()
    last_id = 0 if copied is None else copied["last_id"]
    query = f"{_ACCEPTED} AND id > ? ORDER BY id LIMIT ?"
    return ledger.execute(query, (last_id, most)).fetchall()


def _late(target: sqlite3.Connection, ledger_id: str, uids: Mapping[str, int]) -> list[int]:
    """The ids of acceptances that were passed over, and whose miner has a UID now."""
    passed_over = target.execute("SELECT id, hotkey FROM bettensor_without_uid WHERE ledger_id = ?", (ledger_id,))
    return [row["id"] for row in passed_over if row["hotkey"] in uids]


def _rows(ledger: sqlite3.Connection, ids: Sequence[int]) -> list[sqlite3.Row]:
    """Those that the ledger still has."""
    return ledger.execute(f"{_ACCEPTED} AND id IN ({', '.join('?' * len(ids))}) ORDER BY id", ids).fetchall()


_ACCEPTED: Final = "SELECT id, hotkey, received_at, content FROM predictions WHERE code = 'accepted'"


def _add(rows: Sequence[sqlite3.Row], target: sqlite3.Connection, uids: Mapping[str, int]) -> int:
    """Add the rows of miners with a UID; returns how many were not there."""
    marks = ", ".join("?" * len(_COLUMNS))
    insert = f"INSERT OR IGNORE INTO predictions ({', '.join(_COLUMNS)}) VALUES ({marks})"  # noqa: S608 - our own text
    values = [_values(row, uids[row["hotkey"]]) for row in rows if row["hotkey"] in uids]
    return max(0, target.executemany(insert, values).rowcount)


def _note(
    target: sqlite3.Connection,
    ledger_id: str,
    late: Sequence[int],
    new: Sequence[sqlite3.Row],
    uids: Mapping[str, int],
) -> None:
    """Note in the target how far the ledger is copied, and which rows were passed over."""
    target.executemany(
        "DELETE FROM bettensor_without_uid WHERE ledger_id = ? AND id = ?", [(ledger_id, number) for number in late]
    )
    passed_over = [(ledger_id, row["id"], row["hotkey"]) for row in new if row["hotkey"] not in uids]
    target.executemany("INSERT INTO bettensor_without_uid VALUES (?, ?, ?)", passed_over)
    if new:
        target.execute("INSERT OR REPLACE INTO bettensor_copied VALUES (?, ?)", (ledger_id, new[-1]["id"]))


def _values(row: sqlite3.Row, uid: int) -> tuple[object, ...]:
    """A row of the table, as an existing validator writes it for a prediction that it has accepted."""
    said = json.loads(row["content"])
    return (
        said["prediction_id"],
        said["game_id"],  # digits become an integer, as the column is one
        uid,
        (_EPOCH + timedelta(microseconds=row["received_at"])).isoformat(),
        outcome_number(said["predicted_outcome"], said["team_a"], said["team_b"]),
        said["predicted_odds"],
        said["team_a"],
        said["team_b"],
        said["wager"],
        said["team_a_odds"],
        said["team_b_odds"],
        said.get("tie_odds") or 0.0,
        UNFINISHED,
        said.get("model_name"),
        said.get("confidence_score"),
    )
