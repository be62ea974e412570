"""Snapshots: the newest usable one of a game counts, and a wrong one takes no other along."""

from typing import Any

import pytest

from bettensor.neurons.odds.snapshots import read_snapshots
from tests.neurons.odds.feeds import CUBS, GIANTS, make_snapshot


def test_a_snapshot_is_a_game_between_home_and_away() -> None:
    (listing,) = read_snapshots([make_snapshot()], "decimal").listings
    assert listing.entry() == {
        "game_id": "154313",
        "team_a": CUBS,
        "team_b": GIANTS,
        "sport": "baseball",
        "league": "MLB",
        "create_date": "2027-06-17T15:31:05.000000Z",
        "last_update_date": "2027-06-17T15:31:05.000000Z",
        "event_start_date": "2027-06-18T00:05:00.000000Z",
        "active": True,
        "team_a_odds": 1.79,
        "team_b_odds": 2.05,
        "tie_odds": None,
        "can_tie": False,
    }


def test_the_newest_usable_snapshot_of_a_game_counts() -> None:
    rows = [
        make_snapshot(captured="2027-06-17T12:00:00Z", odds={"average_home_odds": 1.8, "average_away_odds": 2.04}),
        make_snapshot(captured="2027-06-17T13:00:00Z", odds={"average_home_odds": 0.0, "average_away_odds": 1.01}),
        make_snapshot(captured="2027-06-17T04:59:59-07:00"),
    ]
    reading = read_snapshots(rows, "decimal")
    assert [listing.entry()["team_a_odds"] for listing in reading.listings] == [1.8]
    assert [str(omission) for omission in reading.skipped] == [
        "row 1 (game '154313'): odds.average_home_odds: expected a number above 1, not 0.0"
    ]


def test_two_games_of_the_same_teams_on_one_day_are_two_games() -> None:
    rows = [make_snapshot(), make_snapshot(game_id=154400, date="2027-06-18T03:30:00Z")]
    assert [listing.game_id for listing in read_snapshots(rows, "decimal").listings] == ["154313", "154400"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({}, "row 1: captured: this field is required"),
        ("game", "row 1: expected object, got str"),
        (make_snapshot(home=7), "row 1 (game '154313'): home: expected str, got int"),
        (make_snapshot(home=""), "home: expected str of length >= 1"),
        (make_snapshot(away=CUBS), "away: 'Chicago Cubs' cannot play against itself"),
        (make_snapshot(date="2027-06-18T00:05:00"), "date: expected datetime with a timezone component"),
        (make_snapshot(date=1718668800), "date: expected datetime, got int"),
        (make_snapshot(odds={"average_home_odds": 1.8}), "odds.average_away_odds: this field is required"),
        (
            make_snapshot(odds={"average_home_odds": "cheap", "average_away_odds": 2}),
            "odds.average_home_odds: expected",
        ),
    ],
)
def test_a_wrong_row_is_skipped_with_row_field_and_expectation(row: Any, fault: str) -> None:
    reading = read_snapshots([make_snapshot(game_id="good"), row], "decimal")
    assert [listing.game_id for listing in reading.listings] == ["good"]
    assert fault in str(reading.skipped[0])
    assert reading.rows == 2


def test_prices_may_have_other_formats() -> None:
    row = make_snapshot(odds={"average_home_odds": "+120", "average_away_odds": "-140"})
    (listing,) = read_snapshots([row], "american").listings
    assert (listing.entry()["team_a_odds"], listing.entry()["team_b_odds"]) == (2.2, 1.714286)
