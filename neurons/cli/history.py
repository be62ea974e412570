"""Reads the predictions in a ledger or an outbox, also while its neuron runs. Never writes."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import Micros
from bettensor.bus.timestamps import rfc3339

LEDGER: Final = "ledger.sqlite3"
OUTBOX: Final = "outbox.sqlite3"
_PEERS: Final = {LEDGER: "received_at AS at, hotkey AS peer", OUTBOX: "made_at AS at, validator AS peer"}
_PROOFS: Final = {LEDGER: "'signature' AS proof", OUTBOX: "NULL AS proof"}
"""In files without a column ``proof``: in earlier ledgers, whose predictions were all signed, and in outboxes."""
COLUMNS: Final = (
    "at",
    "peer",
    "prediction_id",
    "code",
    "message",
    "game_id",
    "outcome",
    "odds",
    "wager",
    "model",
    "proof",
)
"""Of one prediction; ``peer`` is the miner in a ledger, and the validator in an outbox, where ``proof`` is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictFilter:
    """Which predictions are wanted; None means no restriction."""

    peer: str | None = None
    code: str | None = None
    """``none`` for predictions without a verdict."""
    proof: str | None = None
    game: str | None = None
    since: Micros | None = None
    limit: int | None = None
    """Only the newest ``limit``."""


def history_file(state_dir: Path) -> Path:
    """The ledger or the outbox in ``state_dir``.

    Raises:
        ConfigurationError: the folder has neither.
    """
    for name in _PEERS:
        if (state_dir / name).exists():
            return state_dir / name
    raise ConfigurationError(f"{state_dir} has neither {LEDGER} nor {OUTBOX}; is it a neuron's state_dir?")


def verdicts(file: Path, wanted: VerdictFilter) -> list[dict[str, Any]]:
    """The verdicts in a ledger or an outbox, the oldest first; each with ``COLUMNS``.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    conditions = {
        "peer = :peer": wanted.peer,
        "coalesce(code, 'none') = :code": wanted.code,
        "proof = :proof": wanted.proof,
        "json_extract(content, '$.game_id') = :game": wanted.game,
        "at >= :since": wanted.since,
    }
    where = " AND ".join(condition for condition, value in conditions.items() if value is not None) or "true"
    values = {"peer": wanted.peer, "code": wanted.code, "game": wanted.game, "since": wanted.since}
    values |= {"proof": wanted.proof}
    with _reading(file) as database:
        database.row_factory = sqlite3.Row
        query = f"SELECT * FROM ({_source(database, file)}) WHERE {where} ORDER BY at DESC, id DESC LIMIT :limit"  # noqa: S608 - our own text
        rows = database.execute(query, values | {"limit": -1 if wanted.limit is None else wanted.limit}).fetchall()
    return [_verdict(row) for row in reversed(rows)]


def history_codes(file: Path) -> "Counter[str | None]":
    """The number of predictions by verdict in a ledger or an outbox; None counts those without a verdict.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    with _reading(file) as database:
        return Counter(dict(database.execute("SELECT code, count(*) FROM predictions GROUP BY code").fetchall()))


def history_peers(file: Path) -> list[str]:
    """The miners of a ledger, or the validators of an outbox.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    with _reading(file) as database:
        query = f"SELECT DISTINCT peer FROM ({_source(database, file)}) ORDER BY peer"  # noqa: S608 - our own text
        return [peer for (peer,) in database.execute(query)]


def _source(database: sqlite3.Connection, file: Path) -> str:
    """The query for all predictions in ``file``, which may have the schema of an earlier release."""
    has_proof = database.execute("SELECT 1 FROM pragma_table_info('predictions') WHERE name = 'proof'").fetchone()
    proof = "proof" if has_proof else _PROOFS[file.name]
    return f"SELECT id, {_PEERS[file.name]}, prediction_id, code, message, content, {proof} FROM predictions"  # noqa: S608 - our own text


def _verdict(row: sqlite3.Row) -> dict[str, Any]:
    content = json.loads(row["content"])
    content |= content.get("content", {})  # an entry that could not be read as a prediction is stored as received
    return {
        "at": rfc3339(Micros(row["at"])),
        "peer": row["peer"],
        "prediction_id": row["prediction_id"],
        "code": row["code"] or "none",
        "message": row["message"] or "",
        "game_id": content.get("game_id"),
        "outcome": content.get("predicted_outcome"),
        "odds": content.get("predicted_odds"),
        "wager": content.get("wager"),
        "model": content.get("model_name"),
        "proof": row["proof"],
    }


def history_proofs(file: Path, peer: str) -> list[str]:
    """What proves in a ledger that the predictions of a miner are its own.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    with _reading(file) as database:
        query = "SELECT DISTINCT proof FROM predictions WHERE hotkey = ? ORDER BY proof"
        return [proof for (proof,) in database.execute(query, (peer,))]


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
