"""What tests are given is right as it is: every rule accepts it, and each field can be another."""

from dataclasses import replace

import pytest

from bettensor.actors.validator.rules import Offer, judge
from bettensor.bus.codec import fault_of
from bettensor.bus.games import TeamGame, start_of
from bettensor.bus.timestamps import DAY
from bettensor.neurons.simulation.factories import NOW, make_game, make_hotkey, make_prediction, make_soccer_game

GAMES = pytest.mark.parametrize("game", [make_game(), make_soccer_game(), make_game("other", NOW, team_a_odds=3.25)])


@GAMES
def test_every_rule_accepts_the_prediction_of_a_game(game: TeamGame) -> None:
    offer = Offer.of(game)
    assert judge(make_prediction(game), offer, start_of(game) or NOW, [offer.odds]) is not None  # at its start
    assert judge(make_prediction(game), offer, (start_of(game) or NOW) - 1, [offer.odds]) is None  # type: ignore[arg-type]
    assert fault_of(make_prediction(game)) is None


def test_a_game_starts_a_day_after_simulated_time_begins() -> None:
    assert start_of(make_game()) == NOW + DAY
    assert start_of(make_soccer_game()) == NOW + DAY


def test_only_soccer_can_tie() -> None:
    assert (make_game().can_tie, make_game().tie_odds) == (False, None)
    assert (make_soccer_game().can_tie, make_soccer_game().tie_odds) == (True, 3.3)


def test_each_field_can_be_another() -> None:
    assert make_game(league="AAA") == replace(make_game(), league="AAA")
    assert make_soccer_game(team_a_odds=9.0) == replace(make_soccer_game(), team_a_odds=9.0)
    assert make_prediction(wager=3.5).wager == 3.5


def test_no_two_predictions_have_one_id() -> None:
    assert len({make_prediction().prediction_id for _ in range(100)}) == 100


def test_a_hotkey_has_its_name_in_it_and_the_length_of_a_real_one() -> None:
    assert make_hotkey() != make_hotkey("validator") == make_hotkey("validator")
    assert "validator" in make_hotkey("validator")
    assert {len(make_hotkey(name)) for name in ("a", "validator")} == {48}
