"""The miner's model is a plug-in: games in, forecasts out.

A model of one's own is a class with ``Settings`` (a dataclass; its fields are the keys under ``actors.predictor``) and
``predict``. It runs in a thread of its own, may take its time, and its faults stop nothing. It knows nothing of
connections, ids and verdicts.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from random import Random
from typing import Any, Protocol

from bus import codec
from bus.games import TIE, TeamGame, TeamGamePrediction
from bus.identifiers import GameId, Micros, PredictionId, Uid
from bus.timestamps import rfc3339

CENT = 0.01
"""Wagers are rounded down to this, and none is smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a model wants to bet on."""

    game: TeamGame
    outcome: str
    """A team's name, or ``"Tie"``."""
    wager: float
    confidence: float | None = None
    """0 to 1."""
    model_name: str
    key: str | None = None
    """Names this bet for ever: the same key on the same game is the same prediction, also after a restart."""


class ModelHost(Protocol):
    """What the miner offers to a model that has something to say by itself. May be used from any thread."""

    def games(self) -> dict[GameId, TeamGame]:
        """What can be bet on, with any validator; each game once, at the odds of one that offers it."""
        ...

    def ask_again(self) -> None:
        """Have ``predict`` called soon, though the slate has not changed."""
        ...

    def forecast(self, forecast: Forecast) -> None:
        """Bet, with every validator that offers this game."""
        ...

    def fault(self, text: str) -> None:
        """Tell the operator what is wrong. The miner goes on."""
        ...


class Predictor(Protocol):
    """A model. One that also has ``async def run(self, host: ModelHost)`` has it run as long as the miner."""

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
        """What to bet on these games now; called again whenever the slate changes, and from time to time."""
        ...


def outcomes(game: TeamGame) -> dict[str, float]:
    """The odds of each outcome that ``game`` can have."""
    odds = {game.team_a: game.team_a_odds, game.team_b: game.team_b_odds}
    if game.can_tie and game.tie_odds is not None:
        odds[TIE] = game.tie_odds
    return odds


def make_prediction(
    forecast: Forecast, prediction_id: PredictionId, made_at: Micros, miner_uid: Uid | None
) -> TeamGamePrediction:
    """``forecast`` as the miner submits it, quoting the odds of its game.

    Raises:
        ValueError: the game has no such outcome, or what the model says is no JSON of a prediction, so that neither a
            validator nor an event log could read it: a wager that is not finite, a name that is too long.
    """
    game = forecast.game
    odds = outcomes(game)
    if forecast.outcome not in odds:
        raise ValueError(f"{forecast.outcome!r} is no outcome of {game.game_id}; there are {', '.join(odds)}")
    prediction = TeamGamePrediction(
        prediction_id=prediction_id,
        game_id=game.game_id,
        miner_uid=miner_uid,
        prediction_date=rfc3339(made_at),
        predicted_outcome=forecast.outcome,
        predicted_odds=odds[forecast.outcome],
        team_a=game.team_a,
        team_b=game.team_b,
        wager=_plain(forecast.wager),
        team_a_odds=game.team_a_odds,
        team_b_odds=game.team_b_odds,
        tie_odds=game.tie_odds,
        model_name=forecast.model_name,
        confidence_score=_plain(forecast.confidence),
    )
    fault = codec.fault_of(prediction)
    if fault is not None:
        raise ValueError(f"the prediction on {game.game_id} cannot be sent: {fault}")
    return prediction


def _plain(number: Any) -> Any:
    """As JSON knows it: numpy, say, has kinds of its own."""
    if type(number) in (int, bool):
        return number
    return float(number) if isinstance(number, Real) else number


@dataclass(frozen=True, slots=True, kw_only=True)
class KellySettings:
    """How bold the model is."""

    edge: float = 0.02
    """How far its opinion strays from the bookmaker's: a standard deviation in log-odds; 0.02 is half a percent."""
    bankroll: float = 100.0
    """What it could lose, in the subnet's units; Kelly's fractions are of this."""
    fraction: float = 0.5
    """How much of Kelly's stake it bets, 0 to 1: half of it grows three quarters as fast and swings half as wide."""
    max_wager: float = 50.0
    """The largest single wager."""
    seed: int | None = None
    """Of its opinions; null takes a fresh one."""

    def __post_init__(self) -> None:
        for name in ("bankroll", "max_wager"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not (math.isfinite(self.edge) and self.edge >= 0):
            raise ValueError(f"edge must be 0 or more, not {self.edge}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, not {self.fraction}")


class KellyPredictor:
    """Bets by the Kelly criterion (J. L. Kelly, 1956) on an opinion of its own.

    The bookmaker's odds, with the margin removed, are the consensus; the opinion is the consensus with a small seeded
    disturbance. Where the opinion makes an outcome worth more than it costs, Kelly's stake is a fraction of
    ``(p * odds - 1) / (odds - 1)`` of the bankroll.
    """

    Settings = KellySettings

    def __init__(self, settings: KellySettings) -> None:
        self.settings = settings
        self._random = Random(settings.seed)  # noqa: S311 - an opinion is no secret

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
        """At most one bet on each game: on the outcome with the largest stake."""
        for game in games:
            forecast = self._bet(game)
            if forecast is not None:
                yield forecast

    def _bet(self, game: TeamGame) -> Forecast | None:
        odds = outcomes(game)
        opinion = self._opinion(fair_probabilities(odds))
        stakes = {outcome: kelly_stake(opinion[outcome], price) for outcome, price in odds.items()}
        best = max(stakes, key=stakes.__getitem__)
        settings = self.settings
        wager = min(settings.max_wager, stakes[best] * settings.fraction * settings.bankroll)
        wager = math.floor(wager / CENT + 1e-9) * CENT
        if wager < CENT:
            return None
        return Forecast(
            game=game, outcome=best, wager=round(wager, 2), confidence=round(opinion[best], 6), model_name="kelly"
        )

    def _opinion(self, consensus: dict[str, float]) -> dict[str, float]:
        disturbed = {
            outcome: probability / (1 - probability) * math.exp(self._random.gauss(0, self.settings.edge))
            for outcome, probability in consensus.items()
        }
        chances = {outcome: odds / (1 + odds) for outcome, odds in disturbed.items()}
        total = sum(chances.values())
        return {outcome: chance / total for outcome, chance in chances.items()}


def fair_probabilities(odds: dict[str, float]) -> dict[str, float]:
    """What decimal odds say of each outcome, with the bookmaker's margin taken out in proportion."""
    implied = {outcome: 1 / price for outcome, price in odds.items()}
    total = sum(implied.values())
    return {outcome: probability / total for outcome, probability in implied.items()}


def kelly_stake(probability: float, odds: float) -> float:
    """The fraction of a bankroll that grows it fastest; 0 where the bet is not worth its price."""
    return max(0.0, (probability * odds - 1) / (odds - 1))
