"""The rules of a prediction: the first that fails is the verdict, and it says what was expected and what came."""

from typing import Any

import pytest

from bettensor.actors.validator.rules import Odds, Offer, Rejection, judge, odds_of
from bettensor.bus.codes import VerdictCode
from bettensor.bus.games import TeamGame, TeamGamePrediction, UnreadablePrediction
from bettensor.bus.identifiers import SECOND, Micros, PredictionId
from bettensor.bus.timestamps import DAY
from tests.support import NOW, make_game, make_prediction, make_soccer_game


def verdict(
    prediction: TeamGamePrediction, game: TeamGame | None = None, at: Micros = NOW, quotable: list[Odds] | None = None
) -> Rejection | None:
    offer = Offer.of(game or make_game())
    return judge(prediction, offer, at, quotable or offer.odds_since(Micros(0)))


def code(prediction: TeamGamePrediction, game: TeamGame | None = None, at: Micros = NOW) -> VerdictCode | None:
    rejection = verdict(prediction, game, at)
    return None if rejection is None else rejection.code


@pytest.mark.parametrize("outcome", ["New York Yankees", 0])
def test_a_prediction_that_quotes_the_game_is_accepted(outcome: str | int) -> None:
    assert verdict(make_prediction(predicted_outcome=outcome)) is None


@pytest.mark.parametrize(("outcome", "odds"), [("Chelsea", 3.4), (1, 3.4), ("Tie", 3.3), (2, 3.3)])
def test_every_outcome_of_a_game_that_can_tie_is_accepted(outcome: str | int, odds: float) -> None:
    game = make_soccer_game()
    assert verdict(make_prediction(game, predicted_outcome=outcome, predicted_odds=odds), game) is None


def test_what_cannot_be_read_is_missing_data() -> None:
    unreadable = UnreadablePrediction(prediction_id=PredictionId("x"), fault="Expected `float`", content={})
    rejection = judge(unreadable, None, NOW, [])
    assert rejection == (VerdictCode.MISSING_DATA, "the prediction cannot be read: Expected `float`")


@pytest.mark.parametrize("wager", [0.0, -1.0, 0.0000009, 1_000_000_001.0, float("inf"), float("nan")])
def test_a_wager_out_of_range_is_refused(wager: float) -> None:
    rejection = verdict(make_prediction(wager=wager))
    assert rejection is not None
    assert rejection.code is VerdictCode.INVALID_WAGER
    assert repr(wager) in rejection.message


@pytest.mark.parametrize("wager", [0.000001, 1e9])
def test_a_wager_at_either_end_of_the_range_is_accepted(wager: float) -> None:
    assert verdict(make_prediction(wager=wager)) is None


def test_a_game_that_is_not_on_the_slate_is_not_found() -> None:
    rejection = judge(make_prediction(game_id="chess"), None, NOW, [])
    assert rejection == (VerdictCode.GAME_NOT_FOUND, "there is no game 'chess' on the slate")


def test_from_the_instant_of_its_start_a_game_takes_nothing_more() -> None:
    game = make_game(starts_at=Micros(NOW + DAY))
    assert code(make_prediction(game), game, Micros(NOW + DAY - 1)) is None
    assert code(make_prediction(game), game, Micros(NOW + DAY)) is VerdictCode.GAME_STARTED


def test_an_inactive_game_takes_nothing() -> None:
    assert code(make_prediction(), make_game(active=False)) is VerdictCode.GAME_STARTED


@pytest.mark.parametrize("teams", [{"team_a": "Boston"}, {"team_b": "Boston"}, {"team_a": "new york yankees"}])
def test_other_teams_are_refused(teams: dict[str, str]) -> None:
    assert code(make_prediction(None, **teams)) is VerdictCode.TEAM_MISMATCH


@pytest.mark.parametrize(("off", "accepted"), [(0.01, True), (-0.01, True), (0.010001, False), (-0.02, False)])
@pytest.mark.parametrize("which", ["team_a_odds", "team_b_odds"])
def test_quoted_odds_may_be_off_by_a_hundredth(which: str, off: float, accepted: bool) -> None:
    game = make_game()
    rejection = verdict(make_prediction(**{which: getattr(game, which) + off}))
    assert (rejection is None) is accepted
    assert rejection is None or rejection.code is VerdictCode.ODDS_MISMATCH


@pytest.mark.parametrize("odds", [float("inf"), 1e308])
def test_odds_beyond_all_measure_are_a_mismatch_and_no_error(odds: float) -> None:
    assert code(make_prediction(team_a_odds=odds)) is VerdictCode.ODDS_MISMATCH


def test_tie_odds_are_absent_exactly_where_the_game_cannot_tie() -> None:
    soccer = make_soccer_game()
    assert code(make_prediction(soccer, tie_odds=None), soccer) is VerdictCode.ODDS_MISMATCH
    assert code(make_prediction(soccer, tie_odds=3.32), soccer) is VerdictCode.ODDS_MISMATCH
    assert code(make_prediction(tie_odds=3.3)) is VerdictCode.ODDS_MISMATCH


@pytest.mark.parametrize("outcome", ["Boston", "tie", "Tie", 2, 3, -1, ""])
def test_an_outcome_that_the_game_cannot_have_is_refused(outcome: str | int) -> None:
    rejection = verdict(make_prediction(predicted_outcome=outcome))
    assert rejection is not None
    assert rejection.code is VerdictCode.INVALID_OUTCOME
    assert "'New York Yankees' or 0, 'New York Mets' or 1" in rejection.message


def test_the_predicted_odds_are_those_of_the_predicted_outcome() -> None:
    rejection = verdict(make_prediction(predicted_odds=2.1))
    expected = "the odds of 'New York Yankees' are 1.8; predicted_odds is 2.1"
    assert rejection == (VerdictCode.ODDS_MISMATCH, expected)


@pytest.mark.parametrize("confidence", [-0.01, 1.01, float("nan")])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    assert code(make_prediction(confidence_score=confidence)) is VerdictCode.INVALID_CONFIDENCE


@pytest.mark.parametrize("confidence", [None, 0.0, 1.0])
def test_a_confidence_is_0_to_1_or_absent(confidence: float | None) -> None:
    assert verdict(make_prediction(confidence_score=confidence)) is None


def test_the_first_rule_that_fails_is_the_verdict() -> None:
    """Everything is wrong; repaired one by one, the codes come in the order of the protocol."""
    wrong: dict[str, Any] = {
        "wager": -1.0,
        "team_a": "Boston",
        "team_a_odds": 9.0,
        "predicted_outcome": "Boston",
        "predicted_odds": 9.0,
        "confidence_score": 2.0,
    }
    late = Micros(NOW + 2 * DAY)
    codes = [code(make_prediction(None, **wrong), at=late)]
    del wrong["wager"]
    codes.append(code(make_prediction(None, **wrong), at=late))
    for key in ("team_a", "team_a_odds", "predicted_outcome", "predicted_odds", "confidence_score"):
        codes.append(code(make_prediction(None, **wrong)))
        del wrong[key]
    codes.append(code(make_prediction(None, **wrong)))
    assert codes == [
        VerdictCode.INVALID_WAGER,
        VerdictCode.GAME_STARTED,
        VerdictCode.TEAM_MISMATCH,
        VerdictCode.ODDS_MISMATCH,
        VerdictCode.INVALID_OUTCOME,
        VerdictCode.ODDS_MISMATCH,
        VerdictCode.INVALID_CONFIDENCE,
        None,
    ]


def test_odds_that_changed_may_be_quoted_within_the_grace_and_not_after() -> None:
    before, after = make_game(), make_game(team_a_odds=1.5)
    offer = Offer.of(before)
    changed_at, grace = Micros(100 * SECOND), Micros(10 * SECOND)
    offer.change(after, changed_at, grace)
    assert offer.odds_since(Micros(changed_at - 1)) == [odds_of(after), odds_of(before)]
    assert offer.odds_since(changed_at) == [odds_of(after)]
    assert verdict(make_prediction(before), after, quotable=offer.odds_since(Micros(changed_at - 1))) is None
    rejection = verdict(make_prediction(before), after, quotable=offer.odds_since(changed_at))
    assert rejection is not None
    assert rejection.code is VerdictCode.ODDS_MISMATCH


def test_old_odds_are_forgotten_when_their_grace_is_over() -> None:
    offer = Offer.of(make_game())
    for second in range(100):
        offer.change(make_game(team_a_odds=1.5 + second / 100), Micros(second * SECOND), Micros(3 * SECOND))
    assert len(offer.past) <= 4


def test_a_change_without_other_odds_is_no_change_of_odds() -> None:
    offer = Offer.of(make_game())
    offer.change(make_game(active=False), Micros(5), Micros(10))
    assert offer.past == []
    assert not offer.game.active
