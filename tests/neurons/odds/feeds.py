"""Rows as services give them."""

from typing import Any

CUBS, GIANTS = "Chicago Cubs", "San Francisco Giants"


def make_event(**changes: Any) -> dict[str, Any]:
    """An event of The Odds API: a game of baseball with one bookmaker."""
    event: dict[str, Any] = {
        "id": "e912304de2b2ce35b473ce2ecd3d1502",
        "sport_key": "baseball_mlb",
        "sport_title": "MLB",
        "commence_time": "2027-06-18T00:05:00Z",
        "home_team": CUBS,
        "away_team": GIANTS,
        "bookmakers": [make_bookmaker()],
    }
    return {name: value for name, value in (event | changes).items() if value is not ...}


def make_bookmaker(
    key: str = "fanduel", prices: dict[str, Any] | None = None, updated: str = "2027-06-17T20:00:00Z", **changes: Any
) -> dict[str, Any]:
    """A bookmaker with the market h2h."""
    outcomes = [{"name": name, "price": price} for name, price in (prices or {CUBS: 1.91, GIANTS: 2.0}).items()]
    market = {"key": "h2h", "last_update": updated, "outcomes": outcomes}
    return {"key": key, "title": key.title(), "last_update": updated, "markets": [market]} | changes


def make_snapshot(**changes: Any) -> dict[str, Any]:
    """A snapshot of this subnet's first odds service."""
    snapshot: dict[str, Any] = {
        "captured": "2027-06-17T08:31:05-07:00",
        "home": CUBS,
        "away": GIANTS,
        "game_id": 154313,
        "date": "2027-06-18T00:05:00+00:00",
        "odds": {"average_home_odds": 1.79, "average_away_odds": 2.05},
    }
    return {name: value for name, value in (snapshot | changes).items() if value is not ...}


def make_game_row(**changes: Any) -> dict[str, Any]:
    """A row of an existing validator's table ``game_data``, as ``sqlite3 -json`` prints it."""
    row: dict[str, Any] = {
        "game_id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        "external_id": 154313,
        "team_a": CUBS,
        "team_b": GIANTS,
        "team_a_odds": 1.91,
        "team_b_odds": 2.0,
        "tie_odds": 0.0,
        "can_tie": 0,
        "event_start_date": "2027-06-18 00:05:00+00:00",
        "create_date": "2027-06-10 00:00:00",
        "last_update_date": "2027-06-17 20:00:00",
        "sport": "baseball",
        "league": "MLB",
        "outcome": 3,
        "active": 1,
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}
