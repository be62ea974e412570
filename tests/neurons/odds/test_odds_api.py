"""Events of The Odds API: bookmakers are averaged, and each fault stays with its bookmaker or its event."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bettensor.neurons.odds.listing import ReadOdds
from bettensor.neurons.odds.odds_api import read_events
from bettensor.neurons.odds.prices import OddsFormat
from tests.neurons.odds.feeds import CUBS, GIANTS, make_bookmaker, make_event

NOW = datetime(2027, 6, 17, 21, 0, tzinfo=UTC)


def read(*rows: Any, form: OddsFormat = "decimal") -> ReadOdds:
    return read_events(rows, form, NOW)


def test_an_event_is_a_game_between_home_and_away() -> None:
    (listing,) = read(make_event()).listings
    assert listing.entry() == {
        "game_id": "e912304de2b2ce35b473ce2ecd3d1502",
        "team_a": CUBS,
        "team_b": GIANTS,
        "sport": "baseball",
        "league": "MLB",
        "create_date": "2027-06-17T20:00:00.000000Z",
        "last_update_date": "2027-06-17T20:00:00.000000Z",
        "event_start_date": "2027-06-18T00:05:00.000000Z",
        "active": True,
        "team_a_odds": 1.91,
        "team_b_odds": 2.0,
        "tie_odds": None,
        "can_tie": False,
    }


def test_the_odds_of_bookmakers_are_averaged_by_outcome_and_the_newest_update_counts() -> None:
    prices = [{CUBS: 1.9, GIANTS: 2.05}, {GIANTS: 2.0, CUBS: 2.0}, {CUBS: 1.95, GIANTS: 2.0}]
    bookmakers = [make_bookmaker(f"b{i}", each, f"2027-06-17T20:0{i}:00Z") for i, each in enumerate(prices)]
    (listing,) = read(make_event(bookmakers=bookmakers)).listings
    entry = listing.entry()
    assert (entry["team_a_odds"], entry["team_b_odds"]) == (1.95, 2.016667)
    assert entry["last_update_date"] == "2027-06-17T20:02:00.000000Z"


def test_a_draw_is_a_tie_and_bookmakers_without_it_offer_another_bet() -> None:
    with_draw = {CUBS: 2.5, "Draw": "3.30", GIANTS: 2.9}
    bookmakers = [make_bookmaker("one", with_draw), make_bookmaker("two", {CUBS: 1.8, GIANTS: 2.1})]
    reading = read(make_event(sport_key="soccer_epl", sport_title="EPL", bookmakers=bookmakers))
    entry = reading.listings[0].entry()
    assert (entry["can_tie"], entry["tie_odds"], entry["team_a_odds"]) == (True, 3.3, 2.5)
    assert (entry["sport"], entry["league"]) == ("soccer", "EPL")
    assert [omission.reason for omission in reading.left_out] == [
        "bookmakers.two: expected odds for 'Draw', which others have"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"bookmakers": []},
        {"bookmakers": ...},
        {"bookmakers": [make_bookmaker(markets=[{"key": "spreads", "outcomes": "anything"}, 7])]},
    ],
)
def test_an_event_without_odds_is_skipped_and_is_no_fault(changes: dict[str, Any]) -> None:
    reading = read(make_event(**changes), make_event(id="good"))
    assert [listing.game_id for listing in reading.listings] == ["good"]
    (skipped,) = reading.skipped
    assert skipped.unpriced
    assert skipped.reason == "bookmakers: none has odds (h2h)"


@pytest.mark.parametrize(
    ("bookmaker", "fault"),
    [
        ("fanduel", "bookmakers.1: expected object, got str"),
        (make_bookmaker("bad", {CUBS: 0.0, GIANTS: 1.01}), "bookmakers.bad: Chicago Cubs: expected a number above 1"),
        (make_bookmaker("bad", {CUBS: 120, GIANTS: 105}), "American odds? Then use --odds-format american"),
        (make_bookmaker("bad", {CUBS: 1.9, "Cubs": 2.0}), "outcomes: expected 'Chicago Cubs', 'San Francisco Giants'"),
        (make_bookmaker("bad", {CUBS: 1.9}), "outcomes: expected"),
        (make_bookmaker("bad", markets="none"), "bookmakers.bad: markets: expected array"),
        (make_bookmaker("bad", updated="yesterday"), "bookmakers.bad: last_update: invalid RFC3339"),
    ],
)
def test_a_wrong_bookmaker_is_left_out_alone(bookmaker: Any, fault: str) -> None:
    reading = read(make_event(bookmakers=[make_bookmaker(), bookmaker]))
    assert reading.listings[0].entry()["team_a_odds"] == 1.91
    assert reading.skipped == []
    assert fault in str(reading.left_out[0])
    alone = read(make_event(bookmakers=[bookmaker]))
    assert [omission.reason for omission in alone.skipped] == ["bookmakers: none of them has usable odds"]
    assert not alone.skipped[0].unpriced


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (7, "row 1: expected object, got int"),
        (make_event(id=...), "row 1: id: this field is required"),
        (make_event(id="outright", home_team=None, away_team=None), "(game 'outright'): home_team: expected str"),
        (make_event(id="x", commence_time="2027-06-18T00:05:00"), "commence_time: expected datetime with a timezone"),
        (
            make_event(id="x", commence_time="9999-12-31T23:59:59-14:00"),
            "commence_time: '9999-12-31T23:59:59-14:00' is not",
        ),
        (make_event(id="x", commence_time=1718668800), "commence_time: expected datetime, got int"),
        (make_event(id="x", away_team=CUBS), "away_team: 'Chicago Cubs' cannot play against itself"),
        (make_event(id="good"), "id: another event with this id stands before it"),
        (make_event(id="x" * 257), "id: expected str of length <= 256"),
    ],
)
def test_a_wrong_event_is_skipped_with_row_field_and_expectation(row: Any, fault: str) -> None:
    reading = read(make_event(id="good"), row)
    assert [listing.game_id for listing in reading.listings] == ["good"]
    assert fault in str(reading.skipped[0])
    assert not reading.skipped[0].unpriced


def test_a_doubleheader_is_two_games() -> None:
    reading = read(make_event(id="evening"), make_event(id="afternoon", commence_time="2027-06-17T13:05:00-05:00"))
    assert [(listing.game_id, listing.entry()["event_start_date"]) for listing in reading.listings] == [
        ("afternoon", "2027-06-17T18:05:00.000000Z"),
        ("evening", "2027-06-18T00:05:00.000000Z"),
    ]


def test_odds_without_a_time_are_of_now() -> None:
    bookmaker = make_bookmaker()
    del bookmaker["last_update"], bookmaker["markets"][0]["last_update"]
    (listing,) = read(make_event(bookmakers=[bookmaker])).listings
    assert listing.updated == NOW


def test_prices_may_be_american() -> None:
    (listing,) = read(
        make_event(bookmakers=[make_bookmaker(prices={CUBS: -130, GIANTS: 110})]), form="american"
    ).listings
    assert (listing.entry()["team_a_odds"], listing.entry()["team_b_odds"]) == (1.769231, 2.1)
