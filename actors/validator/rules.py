"""The rules by which a prediction is judged, the same over every transport (protocol, "Results and rules").

Pure functions of the prediction, the game as it was offered and the receipt time. The first rule that fails is the
verdict. Two more come from those who know more: the daily limit from ``PredictionActor``, ``conflict`` from the ledger.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bettensor.bus.codes import VerdictCode
from bettensor.bus.games import TIE, TeamGame, TeamGamePrediction, UnreadablePrediction, millionths, outcome_number
from bettensor.bus.identifiers import Micros
from bettensor.bus.timestamps import parse_rfc3339, rfc3339

MIN_WAGER: Final = 0.000001
MAX_WAGER: Final = 1e9
ODDS_TOLERANCE: Final = 10_000
"""Millionths: two odds agree when they are no more than 0.01 apart."""


@dataclass(frozen=True, slots=True)
class Odds:
    """The odds of a game at one time."""

    team_a: float
    team_b: float
    tie: float | None


@dataclass(slots=True)
class PastOdds:
    """Odds that were in force until a moment of the monotonic clock."""

    odds: Odds
    until: Micros


@dataclass(slots=True)
class Offer:
    """A game as the validator offers it, with the odds that it offered before."""

    game: TeamGame
    starts_at: Micros
    odds: Odds
    """In force."""
    past: list[PastOdds] = field(default_factory=list)
    """Newest last."""

    @classmethod
    def of(cls, game: TeamGame) -> "Offer":
        """
        Raises:
            ValueError: ``event_start_date`` is not RFC 3339; feeds are checked for it before.
        """
        return cls(game, parse_rfc3339(game.event_start_date), odds_of(game))

    def odds_since(self, mono: Micros) -> list[Odds]:
        """The odds in force, and those that were so after ``mono``."""
        if not self.past:
            return [self.odds]
        return [self.odds, *(past.odds for past in reversed(self.past) if past.until > mono)]

    def change(self, game: TeamGame, now: Micros, grace: Micros) -> None:
        """Offer ``game`` from now on, and remember its earlier odds for as long as they may be quoted."""
        odds = odds_of(game)
        if odds != self.odds:
            self.past = [past for past in self.past if past.until > now - grace]
            self.past.append(PastOdds(self.odds, now))
        self.game, self.odds = game, odds
        self.starts_at = parse_rfc3339(game.event_start_date)


def odds_of(game: TeamGame) -> Odds:
    """The odds of a game, by themselves."""
    return Odds(game.team_a_odds, game.team_b_odds, game.tie_odds)


class Rejection(NamedTuple):
    """The rule that failed, with the expected and the actual value."""

    code: VerdictCode
    message: str


class Case(NamedTuple):
    """All that the rules look at."""

    prediction: TeamGamePrediction
    offer: Offer
    at: Micros
    """Receipt time, wall clock."""
    quotable: list[Odds]
    """The odds that may be quoted, newest first."""


def judge(
    prediction: TeamGamePrediction | UnreadablePrediction, offer: Offer | None, at: Micros, quotable: list[Odds]
) -> Rejection | None:
    """The first rule that fails, or None.

    Args:
        prediction: as it came.
        offer: the game that it names, if there is one.
        at: receipt time, wall clock.
        quotable: the odds of that game that may be quoted at receipt, newest first.
    """
    if isinstance(prediction, UnreadablePrediction):
        return Rejection(VerdictCode.MISSING_DATA, f"the prediction cannot be read: {prediction.fault}")
    rejection = _wager(prediction)
    if rejection is not None:
        return rejection
    if offer is None:
        return Rejection(VerdictCode.GAME_NOT_FOUND, f"there is no game {prediction.game_id!r} on the slate")
    case = Case(prediction, offer, at, quotable)
    for rule in RULES:
        rejection = rule(case)
        if rejection is not None:
            return rejection
    return None


def _wager(prediction: TeamGamePrediction) -> Rejection | None:
    if math.isfinite(prediction.wager) and MIN_WAGER <= prediction.wager <= MAX_WAGER:
        return None
    message = f"the wager must be {MIN_WAGER:.6f} to {MAX_WAGER:.0f}, and is {prediction.wager!r}"
    return Rejection(VerdictCode.INVALID_WAGER, message)


def _not_started(case: Case) -> Rejection | None:
    if not case.offer.game.active:
        return Rejection(VerdictCode.GAME_STARTED, f"the game {case.prediction.game_id!r} is closed")
    if case.at >= case.offer.starts_at:
        start, received = rfc3339(case.offer.starts_at), rfc3339(case.at)
        return Rejection(VerdictCode.GAME_STARTED, f"the game started at {start}; received at {received}")
    return None


def _teams(case: Case) -> Rejection | None:
    game, prediction = case.offer.game, case.prediction
    if (prediction.team_a, prediction.team_b) == (game.team_a, game.team_b):
        return None
    expected = f"{game.team_a!r} against {game.team_b!r}"
    message = f"the game is {expected}, not {prediction.team_a!r} against {prediction.team_b!r}"
    return Rejection(VerdictCode.TEAM_MISMATCH, message)


def _quoted_odds(case: Case) -> Rejection | None:
    prediction = case.prediction
    for offered in case.quotable:
        if _same_odds(offered, prediction):
            return None
    offer = case.offer.odds
    expected = _show(offer.team_a, offer.team_b, offer.tie)
    came = _show(prediction.team_a_odds, prediction.team_b_odds, prediction.tie_odds)
    return Rejection(VerdictCode.ODDS_MISMATCH, f"the odds are {expected}; quoted were {came}")


def _outcome(case: Case) -> Rejection | None:
    if _chosen_odds(case, case.offer.odds) is not None:
        return None
    game = case.offer.game
    outcomes = [f"{game.team_a!r} or 0", f"{game.team_b!r} or 1", *([f"{TIE!r} or 2"] if game.can_tie else [])]
    message = f"predicted_outcome must be {', '.join(outcomes)}, and is {case.prediction.predicted_outcome!r}"
    return Rejection(VerdictCode.INVALID_OUTCOME, message)


def _predicted_odds(case: Case) -> Rejection | None:
    predicted = case.prediction.predicted_odds
    for odds in case.quotable:
        if _agree(_chosen_odds(case, odds), predicted):
            return None
    offered = _chosen_odds(case, case.quotable[0])
    message = f"the odds of {case.prediction.predicted_outcome!r} are {offered}; predicted_odds is {predicted}"
    return Rejection(VerdictCode.ODDS_MISMATCH, message)


def _confidence(case: Case) -> Rejection | None:
    confidence = case.prediction.confidence_score
    if confidence is None or 0 <= confidence <= 1:
        return None
    return Rejection(VerdictCode.INVALID_CONFIDENCE, f"confidence_score must be 0 to 1, and is {confidence!r}")


RULES: Final[tuple[Callable[[Case], Rejection | None], ...]] = (
    _not_started,
    _teams,
    _quoted_odds,
    _outcome,
    _predicted_odds,
    _confidence,
)
"""In order, after those that need no game."""


def _chosen_odds(case: Case, odds: Odds) -> float | None:
    """The odds of the predicted outcome; None if it is not an outcome of this game."""
    game = case.offer.game
    number = outcome_number(case.prediction.predicted_outcome, game.team_a, game.team_b)
    return None if number is None else (odds.team_a, odds.team_b, odds.tie if game.can_tie else None)[number]


def _same_odds(offered: Odds, quoted: TeamGamePrediction) -> bool:
    tie = quoted.tie_odds
    return (
        _agree(offered.team_a, quoted.team_a_odds)
        and _agree(offered.team_b, quoted.team_b_odds)
        and (offered.tie is None if tie is None else _agree(offered.tie, tie))
    )


def _agree(offered: float | None, quoted: float) -> bool:
    if offered is None:
        return False
    if offered == quoted:
        return True  # nearly all are equal, and offered odds are finite
    ours, theirs = millionths(offered), millionths(quoted)
    return ours is not None and theirs is not None and abs(ours - theirs) <= ODDS_TOLERANCE


def _show(team_a: float, team_b: float, tie: float | None) -> str:
    return f"{team_a} / {team_b} / {'no tie' if tie is None else f'tie {tie}'}"
