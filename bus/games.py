"""Games, and predictions of their outcome (protocol, "Games", "Predictions").

Knows the fields, their wire limits and what makes two predictions the same. Judges nothing: that is
``actors/validator/rules.py``.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from bettensor.bus.identifiers import GameId, Micros, Millionths, PredictionId
from bettensor.bus.records import JsonRecord
from bettensor.bus.timestamps import parse_rfc3339

__all__ = [
    "MAX_INTEGER",
    "MAX_TEXT",
    "TIE",
    "Integer",
    "Prediction",
    "TeamGame",
    "TeamGamePrediction",
    "Text",
    "UnreadablePrediction",
    "content_digest",
    "is_same_wager",
    "millionths",
    "outcome_number",
    "start_of",
]

MAX_TEXT: Final = 256
"""Characters in any string of a message, unless its field says otherwise."""
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259, section 6)."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Integer = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]

TIE: Final = "Tie"
"""The outcome that is neither team's, by name; by number it is 2."""


def millionths(value: float) -> Millionths | None:
    """``value`` in integer millionths: the binary64 product ``value * 10**6``, rounded half to even.

    None if that is not finite, so that no comparison can succeed by accident.
    """
    scaled = value * 1_000_000
    return Millionths(round(scaled)) if math.isfinite(scaled) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamGame(JsonRecord):
    """One game between two teams, with the odds that a prediction must quote."""

    game_id: Annotated[GameId, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    team_a: Text
    team_b: Text
    sport: Text
    league: Text
    create_date: Text
    """RFC 3339."""
    last_update_date: Text
    """RFC 3339."""
    event_start_date: Text
    """RFC 3339. From this instant on, by the validator's clock, nothing more is accepted."""
    active: bool
    """False takes the game off the slate."""
    team_a_odds: float
    """Decimal, above 1, as are the other odds."""
    team_b_odds: float
    tie_odds: float | None = None
    """None exactly where the game cannot tie."""
    can_tie: bool
    outcome: Text | Integer | None = None
    """Carried, not settled here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamGamePrediction(JsonRecord):
    """One miner's signed prediction."""

    prediction_id: Annotated[PredictionId, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    game_id: Annotated[GameId, msgspec.Meta(max_length=MAX_TEXT)]
    miner_uid: Integer | None = None
    prediction_date: Text
    """RFC 3339, by the miner's clock; informative."""
    predicted_outcome: Text | Integer
    """A team's name or ``"Tie"``; or 0 = team_a, 1 = team_b, 2 = tie."""
    predicted_odds: float
    """The odds of the predicted outcome."""
    team_a: Text
    team_b: Text
    wager: float
    team_a_odds: float
    team_b_odds: float
    tie_odds: float | None = None
    model_name: Text | None = None
    confidence_score: float | None = None
    """0 to 1."""
    outcome: Text | Integer | None = None
    payout: float | None = None


def start_of(game: TeamGame) -> Micros | None:
    """When ``game`` starts, if its ``event_start_date`` can be read: a validator may have sent anything."""
    try:
        return parse_rfc3339(game.event_start_date)
    except ValueError:
        return None


def outcome_number(outcome: str | int, team_a: str, team_b: str) -> int | None:
    """0 for team_a, 1 for team_b, 2 for a tie; None if ``outcome``, by name or by number, is none of them."""
    if outcome in (team_a, 0):
        return 0
    if outcome in (team_b, 1):
        return 1
    return 2 if outcome in (TIE, 2) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadablePrediction(JsonRecord):
    """A prediction with a readable id and something else that is not: it still gets its verdict, ``missing_data``."""

    prediction_id: PredictionId
    """Empty if the id cannot be read; there is then no key for a verdict."""
    fault: str
    """The fault and its field."""
    content: dict[str, Any]
    """The known fields as they came; a value that no field could have may be its JSON text."""


Prediction = TeamGamePrediction | UnreadablePrediction
"""A submitted prediction, or one whose fields cannot all be read."""

_CONTENT: Final = (
    "game_id",
    "prediction_date",
    "predicted_outcome",
    "predicted_odds",
    "team_a",
    "team_b",
    "wager",
    "team_a_odds",
    "team_b_odds",
    "tie_odds",
    "model_name",
    "confidence_score",
)
"""The fields that the miner fills in: all except ``miner_uid``, ``outcome`` and ``payout``."""

_encoder: Final = msgspec.json.Encoder(order="deterministic")


def content_digest(prediction: Prediction) -> str:
    """SHA-256, in hex, over what makes two predictions of one id the same (protocol, "One verdict").

    Numbers are compared as binary64, strings by code point, and an absent field is a null one.
    """
    if isinstance(prediction, TeamGamePrediction):
        outcome = prediction.predicted_outcome
        values: list[Any] = [
            prediction.game_id,
            prediction.prediction_date,
            outcome if isinstance(outcome, str) else float(outcome),
            prediction.predicted_odds,
            prediction.team_a,
            prediction.team_b,
            prediction.wager,
            prediction.team_a_odds,
            prediction.team_b_odds,
            prediction.tie_odds,
            prediction.model_name,
            prediction.confidence_score,
        ]
    else:
        values = [_as_binary64(prediction.content.get(name)) for name in _CONTENT]
    return hashlib.sha256(_encoder.encode(values)).hexdigest()


def is_same_wager(imported: TeamGamePrediction, prediction: Prediction) -> bool:
    """Whether ``prediction`` repeats one that was imported from an existing validator.

    That validator's table keeps neither the miner's date nor how the outcome was written, some releases of it neither
    model nor confidence, and PostgreSQL's REAL rounds its numbers. What makes the wager remains.
    """
    if not isinstance(prediction, TeamGamePrediction):
        return False
    return _terms(imported) == _terms(prediction) and all(
        math.isclose(kept, came, rel_tol=_REAL)
        for kept, came in zip(_amounts(imported), _amounts(prediction), strict=True)
    )


_REAL: Final = 1e-6
"""PostgreSQL's REAL keeps six digits."""


def _terms(prediction: TeamGamePrediction) -> tuple[object, ...]:
    number = outcome_number(prediction.predicted_outcome, prediction.team_a, prediction.team_b)
    return prediction.game_id, prediction.team_a, prediction.team_b, number


def _amounts(prediction: TeamGamePrediction) -> tuple[float, ...]:
    tie_odds = prediction.tie_odds or 0.0  # as existing neurons write that the game cannot tie
    return prediction.wager, prediction.predicted_odds, prediction.team_a_odds, prediction.team_b_odds, tie_odds


def _as_binary64(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return str(value)  # beyond binary64: no readable prediction can hold it, so any stable form will do
    return value
