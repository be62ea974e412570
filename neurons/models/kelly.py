"""The miner's default model: the Kelly criterion on the bookmaker's odds."""

import math
from collections.abc import Iterable, Sequence
from random import Random

from bettensor.actors.odds import doubt_of_odds
from bettensor.actors.settings import Fraction, NotNegative, Positive, Whole, settings_class
from bettensor.bus.games import TeamGame
from bettensor.neurons.models.model import Forecast, outcomes

CENT = 0.01
"""The unit to which wagers are rounded down, and the smallest wager."""


@settings_class
class KellySettings:
    """The model's opinion and wagers."""

    edge: NotNegative = 0.02
    """How far the model's odds differ from the bookmaker's, as a standard deviation in log-odds: 0.02 moves a
    probability of 50 % by half a percentage point. This key has nothing to do with the section edges."""
    bankroll: Positive = 100.0
    """The capital from which the Kelly criterion computes each wager, in the subnet's units."""
    fraction: Fraction = 0.5
    """Share of the Kelly criterion's wager that the model bets, above 0 and at most 1. With 0.5, the capital grows 3/4
    as fast as with 1, and varies half as much."""
    max_wager: Positive = 50.0
    """The largest single wager, in the subnet's units."""
    seed: Whole | None = None
    """Seed of the model's opinions; null: a new seed at each start."""


class KellyPredictor:
    """Bets by the Kelly criterion (J. L. Kelly, 1956) on an opinion of its own.

    The bookmaker's odds without the margin are the consensus; the opinion is the consensus with a small seeded
    disturbance. If by that opinion an outcome is worth more than it costs, Kelly's stake is a fraction of
    ``(p * odds - 1) / (odds - 1)`` of the bankroll. It does not bet on a game whose odds no bookmaker has: such odds
    are a validator's error, not a chance.
    """

    Settings = KellySettings

    def __init__(self, settings: KellySettings) -> None:
        self.settings = settings
        self._random = Random(settings.seed)  # noqa: S311 - an opinion is no secret

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
        """At most one bet on each game: on the outcome with the largest stake."""
        for game in games:
            forecast = None if doubt_of_odds(game) else self._bet(game)
            if forecast is not None:
                yield forecast

    def _bet(self, game: TeamGame) -> Forecast | None:
        odds = outcomes(game)
        if not odds:
            return None
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
        chances = {
            outcome: _disturbed(probability, self._random.gauss(0, self.settings.edge))
            for outcome, probability in consensus.items()
        }
        total = sum(chances.values()) or 1.0  # so large a disturbance can leave no outcome any chance
        return {outcome: chance / total for outcome, chance in chances.items()}


def _disturbed(probability: float, shift: float) -> float:
    """``probability`` with its log-odds shifted; the certain and the impossible stay as they are."""
    if not 0 < probability < 1:
        return probability
    log_odds = math.log(probability) - math.log1p(-probability) + shift
    return 0.5 * (1 + math.tanh(log_odds / 2))


def fair_probabilities(odds: dict[str, float]) -> dict[str, float]:
    """The probability of each outcome by decimal odds, with the bookmaker's margin removed in proportion."""
    implied = {outcome: 1 / price for outcome, price in odds.items()}
    total = sum(implied.values())
    return {outcome: probability / total for outcome, probability in implied.items()}


def kelly_stake(probability: float, odds: float) -> float:
    """The fraction of a bankroll that grows it fastest; 0 if the bet is not worth its price."""
    return max(0.0, (probability * odds - 1) / (odds - 1))
