"""Games, predictions and hotkeys for tests: valid as they are, and each field can be changed."""

import itertools
from dataclasses import replace
from typing import Any, Final

from bettensor.bus.events import Role
from bettensor.bus.games import TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import SECOND, GameId, Hotkey, Micros, Netuid, PredictionId
from bettensor.bus.timestamps import DAY, rfc3339
from bettensor.neurons.edges.edge import Identity

NETUID: Final = Netuid(30)
NOW: Final = Micros(1_780_000_000 * SECOND)
"""The start of simulated time: 2026-05-28T20:26:40Z."""

_numbers = itertools.count(1)


def make_hotkey(name: str = "miner") -> Hotkey:
    """A readable hotkey, for tests that verify no real signature."""
    return Hotkey(f"5{name}".ljust(48, "x"))


def make_identity(hotkey: Hotkey | None = None, role: Role = "validator") -> Identity:
    """The identity of a neuron."""
    return Identity(role, NETUID, hotkey or make_hotkey(role), "sr25519")


def make_game(game_id: str = "yankees-mets", starts_at: Micros = Micros(NOW + DAY), **changes: Any) -> TeamGame:
    """A baseball game that starts a day after ``NOW``."""
    game = TeamGame(
        game_id=GameId(game_id),
        team_a="New York Yankees",
        team_b="New York Mets",
        sport="baseball",
        league="MLB",
        create_date=rfc3339(NOW),
        last_update_date=rfc3339(NOW),
        event_start_date=rfc3339(starts_at),
        active=True,
        team_a_odds=1.8,
        team_b_odds=2.1,
        can_tie=False,
    )
    return replace(game, **changes)


def make_soccer_game(game_id: str = "arsenal-chelsea", **changes: Any) -> TeamGame:
    """A soccer game, which may end in a tie."""
    soccer = {"team_a": "Arsenal", "team_b": "Chelsea", "sport": "soccer", "league": "EPL"}
    odds = {"team_a_odds": 2.2, "team_b_odds": 3.4, "tie_odds": 3.3, "can_tie": True}
    return make_game(game_id, **(soccer | odds | changes))


def make_prediction(game: TeamGame | None = None, **changes: Any) -> TeamGamePrediction:
    """A bet on team_a in ``game`` (by default ``make_game()``), which every rule accepts."""
    game = game or make_game()
    prediction = TeamGamePrediction(
        prediction_id=PredictionId(f"prediction-{next(_numbers)}"),
        game_id=game.game_id,
        prediction_date=rfc3339(NOW),
        predicted_outcome=game.team_a,
        predicted_odds=game.team_a_odds,
        team_a=game.team_a,
        team_b=game.team_b,
        wager=10.0,
        team_a_odds=game.team_a_odds,
        team_b_odds=game.team_b_odds,
        tie_odds=game.tie_odds,
        model_name="test",
        confidence_score=0.6,
    )
    return replace(prediction, **changes)
