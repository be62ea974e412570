"""The miner's model is a plug-in: games in, forecasts out.

A model of one's own is a class with ``Settings`` (a dataclass; its fields are the keys under ``actors.predictor``) and
``predict``. It runs in a thread of its own, may take its time, and its faults stop nothing. It knows nothing of
connections, ids and verdicts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

from bettensor.bus import codec
from bettensor.bus.games import TIE, TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import GameId, Micros, PredictionId, Uid
from bettensor.bus.timestamps import rfc3339


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
            validator nor an event log could read it: a number that is not finite, a name that is too long.
    """
    game = forecast.game
    odds = outcomes(game)
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
    """As JSON knows it: numpy, say, has kinds of its own."""
    if type(number) in (int, bool):
        return number
    return float(number) if isinstance(number, Real) else number
