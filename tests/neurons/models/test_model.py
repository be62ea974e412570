"""What a model says becomes a prediction that quotes its game, or is refused with the reason."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from bettensor.actors.validator.rules import Offer, judge
from bettensor.bus.games import TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import PredictionId, Uid
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.models.model import Forecast, make_prediction, outcomes
from tests.support import NOW, make_game, make_soccer_game


def made(game: TeamGame | None = None, **changes: Any) -> TeamGamePrediction:
    game = game or make_game()
    facts: dict[str, Any] = {"game": game, "outcome": game.team_a, "wager": 2.5, "model_name": "m"}
    return make_prediction(Forecast(**(facts | changes)), PredictionId("p"), NOW, Uid(7))


def test_the_outcomes_of_a_game_have_its_odds() -> None:
    assert outcomes(make_game()) == {"New York Yankees": 1.8, "New York Mets": 2.1}
    assert outcomes(make_soccer_game()) == {"Arsenal": 2.2, "Chelsea": 3.4, "Tie": 3.3}


@pytest.mark.parametrize("changes", [{"can_tie": False}, {"tie_odds": None}])
def test_without_odds_for_it_there_is_no_tie(changes: dict[str, Any]) -> None:
    assert "Tie" not in outcomes(make_soccer_game(**changes))


@pytest.mark.parametrize("names", [("Arsenal", "Arsenal"), ("Tie", "Chelsea"), ("Arsenal", "Tie")])
def test_a_game_whose_outcomes_have_one_name_has_none_that_can_be_bet_on(names: tuple[str, str]) -> None:
    game = make_soccer_game(team_a=names[0], team_b=names[1])
    assert outcomes(game) == {}
    with pytest.raises(ValueError, match="have one name"):
        made(game)


@pytest.mark.parametrize("outcome", ["Arsenal", "Chelsea", "Tie"])
def test_every_outcome_makes_a_prediction_that_every_rule_accepts(outcome: str) -> None:
    game = make_soccer_game()
    offer = Offer.of(game)
    assert judge(made(game, outcome=outcome), offer, NOW, [offer.odds]) is None


def test_it_has_what_the_miner_adds() -> None:
    prediction = made(confidence=0.25)
    assert (prediction.prediction_id, prediction.miner_uid, prediction.prediction_date) == ("p", 7, rfc3339(NOW))
    assert (prediction.wager, prediction.confidence_score, prediction.model_name) == (2.5, 0.25, "m")


@pytest.mark.parametrize("outcome", ["Tie", "new york mets", "", "Boston Red Sox"])
def test_an_outcome_that_the_game_cannot_have_is_refused_with_those_it_can(outcome: str) -> None:
    with pytest.raises(ValueError, match="New York Yankees, New York Mets"):
        made(outcome=outcome)


@pytest.mark.parametrize("wager", [Fraction(5, 2), 2.5, type("Float64", (float,), {})(2.5)])
def test_numbers_of_any_kind_become_those_of_json(wager: Any) -> None:
    prediction = made(wager=wager)
    assert (type(prediction.wager), prediction.wager) == (float, 2.5)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"wager": float("nan")}, "wager"),
        ({"wager": float("inf")}, "wager"),
        ({"wager": "2.5"}, "wager"),
        ({"wager": None}, "wager"),
        ({"wager": True}, "wager"),
        ({"wager": Decimal("2.5")}, "wager"),
        ({"confidence": "high"}, "confidence_score"),
        ({"confidence": float("nan")}, "confidence_score"),
        ({"confidence": float("-inf")}, "confidence_score"),
        ({"model_name": "x" * 257}, "model_name"),
        ({"model_name": "\ud800"}, "surrogates"),
        ({"model_name": 7}, "model_name"),
    ],
)
def test_what_no_validator_could_read_is_refused_with_its_game_and_field(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=rf"the prediction on yankees-mets cannot be sent: .*({fault})"):
        made(**changes)
