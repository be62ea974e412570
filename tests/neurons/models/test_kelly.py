"""The Kelly model: it bets only where its opinion beats the price, never more than it has, and the same for a seed."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bettensor.bus.codec import fault_of
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import PredictionId, Uid
from bettensor.neurons.models.kelly import KellyPredictor, KellySettings, fair_probabilities, kelly_stake
from bettensor.neurons.models.model import Forecast, make_prediction, outcomes
from tests.support import NOW, make_game, make_soccer_game

GAMES = [make_game(f"g{i}") for i in range(50)] + [make_soccer_game(f"s{i}") for i in range(50)]


def forecasts(**settings: float) -> list[Forecast]:
    return list(KellyPredictor(KellySettings(seed=1, **settings)).predict(GAMES))


def test_the_margin_is_removed_in_proportion() -> None:
    fair = fair_probabilities({"a": 1.8, "b": 2.1})
    assert sum(fair.values()) == pytest.approx(1)
    assert fair["a"] == pytest.approx(2.1 / 3.9)


def test_kellys_stake() -> None:
    assert kelly_stake(0.6, 2.0) == pytest.approx(0.2)
    assert kelly_stake(0.5, 2.0) == 0
    assert kelly_stake(0.1, 2.0) == 0


def test_with_the_bookmakers_own_opinion_no_bet_is_worth_its_price() -> None:
    assert forecasts(edge=0.0) == []


def test_an_opinion_finds_bets_and_quotes_the_game() -> None:
    made = forecasts(edge=0.3)
    assert 20 < len(made) <= 100
    for forecast in made:
        prediction = make_prediction(forecast, PredictionId("p"), NOW, Uid(3))
        assert fault_of(prediction) is None
        assert prediction.predicted_odds == outcomes(forecast.game)[forecast.outcome]
        assert prediction.wager == round(prediction.wager, 2)
        assert 0 <= (prediction.confidence_score or 0) <= 1
        assert (prediction.miner_uid, prediction.model_name) == (3, "kelly")
    assert {forecast.outcome for forecast in made} >= {"Tie", "Arsenal", "New York Mets"}


@pytest.mark.parametrize("odds", [(120, 105), (185, 210), (0.5, 0.5), (-110, -110), (0.0, 2.0)])
def test_odds_that_no_bookmaker_has_are_no_chance(odds: tuple[float, float]) -> None:
    games = [make_game(f"g{n}", team_a_odds=odds[0], team_b_odds=odds[1]) for n in range(20)]
    model = KellyPredictor(KellySettings(edge=0.3, seed=1))
    made = list(model.predict([*games, *GAMES]))
    assert made
    assert not {forecast.game.team_a_odds for forecast in made} & set(odds)


@pytest.mark.parametrize(
    "odd",
    [
        make_game("odd", team_b="New York Yankees"),
        make_soccer_game("odd", team_a="Tie"),
        make_soccer_game("odd", team_b=""),
        make_game("odd", team_a_odds=1.0000000000000002, team_b_odds=1e308),
        make_game("odd", team_a_odds=1e-308, team_b_odds=-1e308),
    ],
)
def test_an_odd_game_costs_no_other_game_its_bet(odd: TeamGame) -> None:
    others = KellyPredictor(KellySettings(edge=0.3, seed=1)).predict(GAMES)
    made = list(KellyPredictor(KellySettings(edge=0.3, seed=1)).predict([*GAMES, odd]))
    assert made[:50] == list(others)[:50]


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(1.0, 4.0) | st.just(1.0000000000000002)
NAMES = st.sampled_from(["a", "b", "Tie", ""])


@given(
    edge=st.floats(0, 1e308),
    games=st.lists(
        st.builds(
            lambda **changes: make_game("g", **changes),
            team_a=NAMES,
            team_b=NAMES,
            team_a_odds=NUMBERS,
            team_b_odds=NUMBERS,
            tie_odds=st.none() | NUMBERS,
            can_tie=st.booleans(),
        ),
        max_size=5,
    ),
)
def test_no_game_that_can_be_decoded_is_too_odd(edge: float, games: list[TeamGame]) -> None:
    decoded = [msgspec.json.decode(msgspec.json.encode(game), type=TeamGame) for game in games]
    for forecast in KellyPredictor(KellySettings(edge=edge, seed=1)).predict(decoded):
        assert 0.01 <= forecast.wager <= 50
        assert fault_of(make_prediction(forecast, PredictionId("p"), NOW, None)) is None


def test_the_same_seed_bets_the_same_and_another_does_not() -> None:
    settings = KellySettings(edge=0.2, seed=7)
    assert list(KellyPredictor(settings).predict(GAMES)) == list(KellyPredictor(settings).predict(GAMES))
    other = KellyPredictor(KellySettings(edge=0.2, seed=8))
    assert list(other.predict(GAMES)) != list(KellyPredictor(settings).predict(GAMES))


@given(
    edge=st.floats(0, 3),
    bankroll=st.floats(0.01, 1e6),
    fraction=st.floats(0.01, 1),
    max_wager=st.floats(0.01, 1e4),
)
def test_no_wager_is_above_the_bankroll_or_the_largest(
    edge: float, bankroll: float, fraction: float, max_wager: float
) -> None:
    for forecast in forecasts(edge=edge, bankroll=bankroll, fraction=fraction, max_wager=max_wager):
        assert 0.01 <= forecast.wager <= min(bankroll, max_wager) + 1e-6


@pytest.mark.parametrize(
    "wrong", [{"edge": -1.0}, {"bankroll": 0.0}, {"fraction": 1.5}, {"max_wager": float("nan")}, {"edge": float("inf")}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="should be"):
        KellySettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"wager": float("nan")}, "cannot be sent"),
        ({"model_name": "x" * 300}, "cannot be sent"),
        ({"outcome": "Tie"}, "'Tie' is not an outcome of g0; expected one of New York Yankees, New York Mets"),
    ],
)
def test_a_forecast_that_is_none_makes_no_prediction(changes: dict[str, object], fault: str) -> None:
    forecast = Forecast(game=GAMES[0], outcome="New York Mets", wager=1.0, model_name="mine")
    with pytest.raises(ValueError, match=fault):
        make_prediction(replace(forecast, **changes), PredictionId("p"), NOW, None)  # type: ignore[arg-type]
