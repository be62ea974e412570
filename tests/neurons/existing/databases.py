"""Databases as existing neurons write them: columns and types of the subnet's releases 2.2.0 and 2.4.1."""

import csv
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from bettensor.bus.identifiers import Hotkey

ALICE: Final = Hotkey("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")
BOB: Final = Hotkey("5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty")
CHARLIE: Final = Hotkey("5FLSigC9HGRKVhB9FiEo4Y3koPsNmBmLJbpXg2mp1hXcS59Y")
"""Addresses that are ones."""
PREDICTIONS: Final = """
CREATE TABLE predictions (
    prediction_id TEXT PRIMARY KEY, game_id INTEGER, miner_uid INTEGER, prediction_date TEXT,
    predicted_outcome INTEGER, predicted_odds REAL, team_a TEXT, team_b TEXT, wager REAL, team_a_odds REAL,
    team_b_odds REAL, tie_odds REAL, model_name TEXT, confidence_score REAL, outcome INTEGER, payout REAL,
    sent_to_site INTEGER DEFAULT 0, validators_sent_to INTEGER DEFAULT 0, validators_confirmed INTEGER DEFAULT 0
)
"""
GAMES: Final = """
CREATE TABLE game_data (
    game_id TEXT PRIMARY KEY UNIQUE, external_id INTEGER UNIQUE, team_a TEXT, team_b TEXT, team_a_odds REAL,
    team_b_odds REAL, tie_odds REAL, can_tie BOOLEAN, event_start_date TEXT, create_date TEXT, last_update_date TEXT,
    sport TEXT, league TEXT, outcome INTEGER DEFAULT 3, active INTEGER
)
"""
MINERS: Final = "CREATE TABLE miner_stats (miner_uid INTEGER PRIMARY KEY, miner_hotkey TEXT UNIQUE, miner_coldkey TEXT)"
CLEAN_UP: Final = """
CREATE TRIGGER delete_old_predictions AFTER INSERT ON predictions
BEGIN DELETE FROM predictions WHERE prediction_date < date('now', '-50 days'); END
"""
TABLES: Final = (PREDICTIONS, GAMES, MINERS)


def stored_prediction(prediction_id: str, **changes: Any) -> dict[str, Any]:
    """A row of ``predictions``: accepted, on game 101, not settled."""
    return {
        "prediction_id": prediction_id,
        "game_id": "101",
        "miner_uid": 7,
        "prediction_date": "2026-05-28T19:00:00.123456+00:00",
        "predicted_outcome": 0,
        "predicted_odds": 1.9,
        "team_a": "Boston",
        "team_b": "New York",
        "wager": 250.0,
        "team_a_odds": 1.9,
        "team_b_odds": 2.1,
        "tie_odds": 0.0,
        "model_name": "m",
        "confidence_score": 0.5,
        "outcome": 3,
        "payout": None,
    } | changes


def stored_game(external_id: Any, **changes: Any) -> dict[str, Any]:
    """A row of ``game_data``: open, two days after the tests' now."""
    return {
        "game_id": f"uuid-{external_id}",
        "external_id": external_id,
        "team_a": "Boston",
        "team_b": "New York",
        "team_a_odds": 1.9,
        "team_b_odds": 2.1,
        "tie_odds": 0.0,
        "can_tie": 0,
        "event_start_date": "2026-05-30 20:26:40+00:00",
        "create_date": "2026-05-20 00:00:00+00:00",
        "last_update_date": "2026-05-28 00:00:00",
        "sport": "baseball",
        "league": "MLB",
        "outcome": 3,
        "active": 1,
    } | changes


def write_database(
    file: Path,
    predictions: tuple[Mapping[str, Any], ...] = (),
    games: tuple[Mapping[str, Any], ...] = (),
    miners: Mapping[int, str] | None = None,
    tables: tuple[str, ...] = TABLES,
) -> Path:
    """A validator.db with these rows; more are added to one that is there."""
    with closing(sqlite3.connect(file)) as database, database:
        if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            database.execute("PRAGMA journal_mode=WAL")
            for table in tables:
                database.execute(table)
        insert_rows(database, "predictions", predictions)
        insert_rows(database, "game_data", games)
        rows = [{"miner_uid": uid, "miner_hotkey": hotkey} for uid, hotkey in (miners or {}).items()]
        insert_rows(database, "miner_stats", rows)
    return file


def insert_rows(database: sqlite3.Connection, table: str, rows: Any) -> None:
    """Insert rows, each with its own columns."""
    for row in rows:
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608


MADE: Final = {
    "prediction_id": "4d1b2f0c-9b0e-4c0e-8f5e-0d9a3c1e7a10",
    "game_id": "101",
    "miner_uid": "7",
    "prediction_date": "2026-05-28T19:00:00.123456+00:00",
    "predicted_outcome": "Boston",
    "predicted_odds": "1.91",
    "team_a": "Boston",
    "team_b": "New York",
    "wager": "250.5",
    "team_a_odds": "1.91",
    "team_b_odds": "2.1",
    "tie_odds": "0",
    "model_name": "Soccer Model",
    "confidence_score": "0.61",
    "outcome": "Unfinished",
    "payout": "0",
    "sent_to_site": "0",
    "validators_sent_to": "2",
    "validators_confirmed": "1",
    "confirmed_by": "\\N",
}
"""A row of an existing miner's CSV file, as PostgreSQL writes it."""


def write_csv(file: Path, *rows: Mapping[str, str | None]) -> Path:
    """The CSV file of an existing miner; a change to None takes its column out."""
    whole = [{name: value for name, value in {**MADE, **row}.items() if value is not None} for row in rows or (MADE,)]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, whole[0])
        writer.writeheader()
        writer.writerows(whole)
    return file
