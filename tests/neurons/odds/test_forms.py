"""The form of a list follows from its keys; where it is not clear, it is not guessed."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.odds.forms import EVENTS, GAMES, SNAPSHOTS, form_of, read_answer, rows_of
from tests.neurons.odds.feeds import make_event, make_game_row, make_snapshot

NOW = datetime(2027, 6, 17, 21, 0, tzinfo=UTC)


def test_each_form_is_known_by_its_keys() -> None:
    assert form_of([make_snapshot()]) is SNAPSHOTS
    assert form_of([7, {}, {"home_team": None}, make_event()]) is EVENTS
    assert SNAPSHOTS.read([make_snapshot()], "decimal", NOW).listings
    assert form_of([make_game_row()]) is GAMES
    assert GAMES.read([make_game_row()], "decimal", NOW).listings
    assert EVENTS.read([make_event()], "decimal", NOW).listings


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([make_snapshot(), make_event()], "row 0 has keys of one snapshot and row 1 has keys of one event"),
        ([make_event() | {"captured": "now"}], "row 0 has keys of one snapshot and row 0 has keys of one event"),
        (
            [{"game": 1}],
            "no row has any of their keys (of one snapshot: away, captured, home, odds; of one event: away_team, "
            "bookmakers, commence_time, home_team; of one game: event_start_date, team_a, team_b)",
        ),
        ([], "no row has any of their keys"),
    ],
)
def test_what_is_not_clear_is_refused(rows: list[Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        form_of(rows)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"message": "API key is not valid"}, "but it is an error: API key is not valid"),
        (
            {"games": []},
            "expected a list of snapshots of an odds service or events of The Odds API or games of an existing "
            'validator, not {"games": []}',
        ),
        ({"gamedata_dict": {}}, 'not {"gamedata_dict": {}}'),
        ({"gamedata_dict": {"101": {}}}, 'not {"gamedata_dict": {"101": {}}}'),
        (7, "not 7"),
    ],
)
def test_what_is_no_list_is_refused(document: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        rows_of(document)
    assert message in str(refused.value)


def test_the_games_of_a_gamedata_are_rows() -> None:
    games = {"101": make_game_row(game_id="101", external_id=...)}
    assert rows_of({"gamedata_dict": games, "metadata": {}}) == rows_of(games) == list(games.values())


def test_an_answer_may_be_empty_and_may_have_events_without_odds() -> None:
    assert read_answer(b"[]", NOW).listings == []
    assert read_answer(json.dumps([make_event(bookmakers=[])]).encode(), NOW).listings == []
    assert len(read_answer(json.dumps([{}, make_event()]).encode(), NOW).listings) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"{}", "expected a list"),
        (b"[{}, {}]", "none of 2 events can be used; row 0: id: this field"),
    ],
)
def test_an_answer_of_which_nothing_can_be_used_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_answer(body, NOW)
