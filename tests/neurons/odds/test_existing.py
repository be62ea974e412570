"""Games of an existing validator: the ids that open predictions name, dates and ties as it writes them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bettensor.neurons.odds.existing import read_games
from tests.neurons.odds.feeds import CUBS, GIANTS, make_game_row

NOW = datetime(2027, 6, 17, 21, 0, tzinfo=UTC)


def test_a_row_of_the_table_has_the_id_that_predictions_name() -> None:
    (listing,) = read_games([make_game_row()], "decimal", NOW).listings
    game = listing.game()
    assert (game.game_id, game.team_a, game.team_b) == ("154313", CUBS, GIANTS)
    assert (game.team_a_odds, game.team_b_odds, game.tie_odds, game.can_tie) == (1.91, 2.0, None, False)
    assert game.event_start_date == "2027-06-18T00:05:00.000000Z"
    assert game.last_update_date == "2027-06-17T20:00:00.000000Z"
    assert (game.sport, game.league, game.active) == ("baseball", "MLB", True)


def test_an_entry_of_a_gamedata_has_its_own_id() -> None:
    entry = make_game_row(
        game_id="101", external_id=..., outcome="3", active=True, event_start_date="2027-06-18T00:05:00", tie_odds=3.5
    )
    (listing,) = read_games([entry | {"can_tie": True}], "decimal", NOW).listings
    game = listing.game()
    assert (game.game_id, game.tie_odds, game.can_tie) == ("101", 3.5, True)
    assert game.event_start_date == "2027-06-18T00:05:00.000000Z", "without an offset it is UTC"


@pytest.mark.parametrize("tie_odds", [None, 0, 0.0, "", "0.0"])
def test_tie_odds_of_0_are_of_a_game_that_cannot_tie(tie_odds: Any) -> None:
    (listing,) = read_games([make_game_row(tie_odds=tie_odds, can_tie=1)], "decimal", NOW).listings
    assert not listing.game().can_tie


def test_a_game_without_a_date_of_its_odds_has_the_present_one() -> None:
    (listing,) = read_games([make_game_row(last_update_date=None)], "decimal", NOW).listings
    assert listing.updated == NOW


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outcome": 1}, "outcome: it is over: 1"),
        ({"outcome": "0"}, 'outcome: it is over: "0"'),
        ({"active": 0}, "active: it is off the slate"),
        ({"active": "false"}, "active: it is off the slate"),
        ({"team_b": CUBS}, f"team_b: {CUBS!r} cannot play against itself"),
        ({"team_a": None}, "team_a: expected"),
        ({"league": ...}, "league: expected"),
        ({"team_a_odds": 1.0}, "team_a_odds: expected a number above 1"),
        ({"team_a_odds": 0.0}, "team_a_odds: expected a number above 1"),
        ({"event_start_date": "soon"}, 'event_start_date: expected a date, not "soon"'),
        ({"event_start_date": None}, "event_start_date: expected a date, not null"),
        ({"last_update_date": "x"}, 'last_update_date: expected a date, not "x"'),
        ({"external_id": ..., "game_id": ...}, "expected str"),
        ({"external_id": 1.5}, "expected str"),
    ],
)
def test_a_game_that_cannot_be_offered_is_skipped_alone(changes: dict[str, Any], reason: str) -> None:
    reading = read_games([make_game_row(**changes), make_game_row(external_id=2)], "decimal", NOW)
    (omission,) = reading.skipped
    assert (omission.row, reason in omission.reason) == (0, True), omission.reason
    assert [listing.game_id for listing in reading.listings] == ["2"]


def test_what_is_no_game_at_all_is_skipped() -> None:
    reading = read_games([7, make_game_row(), make_game_row(team_a="other")], "decimal", NOW)
    assert [omission.reason for omission in reading.skipped] == [
        "expected a game with its fields, not 7",
        'external_id: "154313" is there twice; the first one counts',
    ]
