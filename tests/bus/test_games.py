"""When a game starts, how numbers are compared, and what makes two predictions the same."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bettensor.bus import codec
from bettensor.bus.games import (
    TeamGamePrediction,
    UnreadablePrediction,
    content_digest,
    is_same_wager,
    millionths,
    outcome_number,
    start_of,
)
from bettensor.bus.identifiers import GameId, PredictionId
from tests.support import NOW, make_game, make_prediction


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0), (1.8, 1_800_000), (0.1 + 0.2, 300_000), (-1.5, -1_500_000), (1.0000004, 1_000_000), (1e303, None)],
)
def test_money_and_odds_are_integer_millionths(value: float, expected: int | None) -> None:
    assert millionths(value) == expected


def test_a_game_starts_when_its_text_says_so() -> None:
    assert start_of(make_game(starts_at=NOW)) == NOW


@pytest.mark.parametrize("text", ["", "soon", "2026-05-28T20:26:40"])
def test_a_start_that_cannot_be_read_is_none(text: str) -> None:
    assert start_of(make_game(event_start_date=text)) is None


@pytest.mark.parametrize(
    ("outcome", "number"),
    [("A", 0), (0, 0), ("B", 1), (1, 1), ("Tie", 2), (2, 2), ("tie", None), (3, None), ("", None)],
)
def test_an_outcome_has_a_number(outcome: str | int, number: int | None) -> None:
    assert outcome_number(outcome, "A", "B") == number


def test_a_team_that_is_called_tie_is_a_team() -> None:
    assert outcome_number("Tie", "A", "Tie") == 1


CHANGES: list[dict[str, Any]] = [
    {"game_id": GameId("another")},
    {"prediction_date": "2026-05-28T20:26:41Z"},
    {"predicted_outcome": "New York Mets"},
    {"predicted_odds": 1.81},
    {"team_a": "a"},
    {"team_b": "b"},
    {"wager": 10.000001},
    {"team_a_odds": 1.81},
    {"team_b_odds": 2.11},
    {"tie_odds": 3.0},
    {"model_name": "other"},
    {"model_name": None},
    {"confidence_score": 0.61},
]


@pytest.mark.parametrize("change", CHANGES, ids="-".join)
def test_each_thing_that_the_miner_says_makes_another_prediction(change: dict[str, Any]) -> None:
    prediction = make_prediction()
    assert content_digest(replace(prediction, **change)) != content_digest(prediction)


@pytest.mark.parametrize("change", [{"miner_uid": 7}, {"outcome": "Tie"}, {"payout": 2.5}])
def test_what_others_fill_in_does_not(change: dict[str, Any]) -> None:
    prediction = make_prediction()
    assert content_digest(replace(prediction, **change)) == content_digest(prediction)


def test_the_id_is_the_key_and_no_part_of_the_content() -> None:
    one, other = make_prediction(), make_prediction()
    assert one.prediction_id != other.prediction_id
    assert content_digest(one) == content_digest(other)


def test_an_outcome_by_number_is_not_the_same_as_by_name() -> None:
    by_name, by_number = make_prediction(), make_prediction(predicted_outcome=0)
    assert content_digest(by_name) != content_digest(by_number)
    assert content_digest(by_number) != content_digest(make_prediction(predicted_outcome=1))


def test_what_can_be_read_and_what_cannot_have_the_same_digest_if_they_say_the_same() -> None:
    """Or a validator that reads more fields than its predecessor would call a repetition a conflict."""
    prediction = make_prediction(predicted_outcome=1, wager=10.0)
    content = msgspec.json.decode(codec._encoder.encode(prediction))  # noqa: SLF001 - as the wire has it
    unreadable = UnreadablePrediction(prediction_id=PredictionId("x"), fault="", content=content | {"wager": 10})
    assert content_digest(unreadable) == content_digest(prediction)


@pytest.mark.parametrize("prediction", [make_prediction(), make_prediction(None, tie_odds=3.0, outcome=2, payout=1.5)])
def test_people_and_tools_get_a_prediction_as_a_dictionary(prediction: TeamGamePrediction) -> None:
    assert TeamGamePrediction.from_dict(prediction.to_dict()) == prediction


SAME_WAGER: list[dict[str, Any]] = [
    {"prediction_date": "2026-05-28T20:26:41Z"},
    {"predicted_outcome": 0},
    {"model_name": None},
    {"confidence_score": 0.61},
    {"miner_uid": 7},
    {"tie_odds": 0.0},
    {"wager": 10.0000001},
]
"""Changes that an existing validator's table may make."""


@pytest.mark.parametrize("change", SAME_WAGER, ids="-".join)
def test_what_an_existing_validator_does_not_keep_makes_no_other_wager(change: dict[str, Any]) -> None:
    prediction = make_prediction()
    assert is_same_wager(replace(prediction, **change), prediction)


KEPT = [change for change in CHANGES if not any(change.keys() == same.keys() for same in SAME_WAGER)]


@pytest.mark.parametrize("change", [*KEPT, {"wager": 10.0001}, {"tie_odds": 3.0}], ids="-".join)
def test_everything_else_makes_another_wager(change: dict[str, Any]) -> None:
    prediction = make_prediction()
    assert not is_same_wager(replace(prediction, **change), prediction)


def test_what_cannot_be_read_is_no_wager() -> None:
    prediction = make_prediction()
    assert not is_same_wager(
        prediction, UnreadablePrediction(prediction_id=prediction.prediction_id, fault="", content={})
    )
