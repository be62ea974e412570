"""The interface of a miner's model, which is a plug-in: games in, forecasts out.

A model is a class with ``Settings`` (a dataclass; its fields are the keys under ``actors.predictor``) and ``predict``.
It runs in a separate thread, may be slow, and its faults stop nothing. It needs no knowledge of connections, ids and
verdicts.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

from bettensor.bus import codec
from bettensor.bus.games import TIE, TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import GameId, Micros, PredictionId, Uid
from bettensor.bus.timestamps import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A model's bet."""

    game: TeamGame
    outcome: str
    """A team's name, or ``"Tie"``."""
    wager: float
    confidence: float | None = None
    """From 0 to 1."""
    model_name: str
    key: str | None = None
    """Identifies this bet: the same key on the same game is the same prediction, also after a restart."""


class ModelHost(Protocol):
    """Offers a model what it needs to act without being asked. Safe to use from any thread, except ``changes``."""

    def games(self) -> dict[GameId, TeamGame]:
        """All games on offer, of any validator; each once, at the odds of one validator that offers it."""
        ...

    def ask_again(self) -> None:
        """Have ``predict`` called soon, even if the slate has not changed."""
        ...

    def forecast(self, forecast: Forecast) -> None:
        """Bet, with every validator that offers this game."""
        ...

    def changes(self, file: Path) -> AsyncIterator[None]:
        """Yields whenever ``file`` changes, appears or disappears; never ends. Only for ``run``."""
        ...

    def fault(self, text: str) -> None:
        """Report a fault to the operator. The miner continues."""
        ...

    def note(self, text: str) -> None:
        """Tell the operator something that is no fault, in one line of the log."""
        ...


class Predictor(Protocol):
    """A model.

    If it also has ``async def run(self, host: ModelHost)``, that runs as long as the miner. If it has
    ``def faults(self) -> list[str]``, ``config check`` and doctor tell what that returns.
    """

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
        """The bets on these games now; called whenever the slate changes, and from time to time."""
        ...


def outcomes(game: TeamGame) -> dict[str, float]:
    """The odds of each possible outcome of ``game``; empty if two have one name: a bet on it could mean both."""
    prices = [(game.team_a, game.team_a_odds), (game.team_b, game.team_b_odds)]
    if game.can_tie and game.tie_odds is not None:
        prices.append((TIE, game.tie_odds))
    odds = dict(prices)
    return odds if len(odds) == len(prices) else {}


def make_prediction(
    forecast: Forecast, prediction_id: PredictionId, made_at: Micros, miner_uid: Uid | None
) -> TeamGamePrediction:
    """The prediction that the miner submits for ``forecast``, at the odds of its game.

    Raises:
        ValueError: the game has no such outcome, or the forecast does not fit into the JSON of a prediction, so no
            validator or event log could read it: a number that is not finite, a name that is too long.
    """
    game = forecast.game
    odds = outcomes(game)
    if not odds:
        raise ValueError(f"two outcomes of {game.game_id} have one name, so no bet on it has a meaning")
    if forecast.outcome not in odds:
        raise ValueError(f"{forecast.outcome!r} is not an outcome of {game.game_id}; expected one of {', '.join(odds)}")
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
    """A number as JSON has it; numpy, for example, has other types."""
    if type(number) in (int, bool):
        return number
    return float(number) if isinstance(number, Real) else number
