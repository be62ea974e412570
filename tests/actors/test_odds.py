"""Odds that no bookmaker has are recognised, and the form that they may have is guessed."""

import math

import pytest

from bettensor.actors.odds import doubt_of_odds, doubt_of_sum, fault_of_odds, implied_probability
from bettensor.bus.games import TeamGame
from tests.support import make_game


def game(*odds: float) -> TeamGame:
    team_a, team_b, *tie = odds
    return make_game("g", team_a_odds=team_a, team_b_odds=team_b, can_tie=bool(tie), tie_odds=tie[0] if tie else None)


def test_implied_probabilities_add_up_to_a_little_more_than_one() -> None:
    assert implied_probability([1.9, 1.9]) == pytest.approx(1.0526, abs=1e-4)


@pytest.mark.parametrize("odds", [(1.8, 2.1), (1.02, 15.0), (2.2, 2.2), (2.6, 2.9, 3.2), (1.01, 1.01)])
def test_a_bookmakers_odds_are_not_doubted(odds: tuple[float, ...]) -> None:
    assert doubt_of_odds(game(*odds)) is None


@pytest.mark.parametrize(
    ("odds", "guess"),
    [
        ((120, 105), " (American odds?)"),
        ((-110, -110), " (American odds?)"),
        ((-150, 130), " (American odds?)"),
        ((300, 300), " (American odds?)"),  # not plausible as these either, but they look like them
        ((150, 130), " (American odds?)"),
        ((185, 210), " (hundredfold decimal odds?)"),
        ((190, 190), " (hundredfold decimal odds?)"),
        ((250, 320, 280), " (hundredfold decimal odds?)"),
        ((12, 10.5), ""),
        ((3, 4), ""),
        ((1.2, 1.2, 1.2), ""),
        ((0.55, 0.45), ""),
        ((0.0, 2.0), ""),
        ((math.nan, 2.0), ""),
        ((math.inf, 120.0), ""),
    ],
)
def test_odds_of_no_bookmaker_are_doubted_with_a_guess(odds: tuple[float, ...], guess: str) -> None:
    doubt = doubt_of_odds(game(*odds))
    assert doubt is not None
    assert doubt.endswith(guess or doubt[-1])
    assert ("?" in doubt) is bool(guess)


def test_the_doubt_names_the_odds_their_sum_and_what_was_expected() -> None:
    text = "the odds 120 and 105 imply probabilities that add up to 0.0179; expected 0.9 to 2 (American odds?)"
    assert doubt_of_odds(game(120, 105)) == text


def test_a_sum_is_doubted_in_the_same_words_without_a_guess() -> None:
    assert doubt_of_sum([120, 105]) == (
        "the odds 120 and 105 imply probabilities that add up to 0.0179; expected 0.9 to 2"
    )
    assert doubt_of_sum([1.8, 2.1]) is None


def test_the_limits_may_be_others() -> None:
    assert doubt_of_odds(game(3, 4), least=0.5) is None
    assert doubt_of_odds(game(120, 105), least=0, most=3) is None
    assert doubt_of_odds(game(1.8, 2.1), most=1.03) is not None


@pytest.mark.parametrize("odds", [1.0, 0.0, -3.0, math.nan, math.inf])
def test_no_number_up_to_one_is_decimal_odds(odds: float) -> None:
    assert fault_of_odds(game(1.8, odds)) == f"team_b_odds: expected a finite number above 1, not {odds}"
    assert fault_of_odds(game(1.8, 2.1, odds)) == f"tie_odds: expected a finite number above 1, not {odds}"
    assert fault_of_odds(game(1.8, 2.1)) is None
