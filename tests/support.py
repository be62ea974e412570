"""What tests share: factories, and a harness that shows actors events and collects what they decide."""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from actors.actor import Actor
from bus import codec
from bus.bus import EventBus
from bus.clock import ManualClock
from bus.codes import VerdictCode
from bus.envelope import Envelope
from bus.events import Decided, Event, Observed, ProposedVerdict
from bus.games import TeamGame, TeamGamePrediction, content_digest
from bus.identifiers import SECOND, GameId, Hotkey, MessageId, Micros, Millionths, Netuid, PredictionId
from bus.messages import WebSocketMessage
from bus.timestamps import DAY, rfc3339
from neurons.simulation import SimulatedTimers

NETUID = Netuid(30)
NOW = Micros(1_780_000_000 * SECOND)
"""Where the manual clocks of tests begin: 2026-05-28T20:26:40Z."""
HOUR = Micros(3600 * SECOND)

_numbers = itertools.count(1)
Wanted = TypeVar("Wanted", bound=Event)


def make_hotkey(name: str = "miner") -> Hotkey:
    """A hotkey for tests that check no signature."""
    return Hotkey(f"5{name}".ljust(48, "x"))


def rfc3339_from_now(seconds: float) -> str:
    """For games of real neurons, which know no manual clock."""
    return rfc3339(Micros(round((time.time() + seconds) * SECOND)))


def make_hex32() -> str:
    return f"{next(_numbers):032x}"


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
    """A game that can tie."""
    soccer = {"team_a": "Arsenal", "team_b": "Chelsea", "sport": "soccer", "league": "EPL"}
    odds = {"team_a_odds": 2.2, "team_b_odds": 3.4, "tie_odds": 3.3, "can_tie": True}
    return make_game(game_id, **(soccer | odds | changes))


def make_prediction(game: TeamGame | None = None, **changes: Any) -> TeamGamePrediction:
    """A prediction that ``game`` (by default ``make_game()``) goes to team_a, which every rule accepts."""
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


def make_proposal(hotkey: Hotkey | None = None, **changes: Any) -> ProposedVerdict:
    """An acceptance that waits to be stored; changes of ``prediction`` change its digest too."""
    prediction = changes.pop("prediction", None) or make_prediction()
    proposal = ProposedVerdict(
        hotkey or make_hotkey(),
        prediction,
        content_digest(prediction),
        VerdictCode.ACCEPTED,
        "",
        NOW,
        Millionths(10_000_000),
        Micros(NOW + 31 * DAY),
    )
    return replace(proposal, **changes)


def stamp(message: WebSocketMessage, sender: Hotkey) -> WebSocketMessage:
    """``message`` as its sender would write it."""
    return codec.stamp(message, message_id=MessageId(make_hex32()), sender=sender, timestamp=rfc3339(NOW))


@dataclass(frozen=True, slots=True)
class Injected(Observed):
    """Lets a test publish a decision as if an actor had made it."""

    decision: Decided


class Harness:
    """A bus with a manual clock, its actors, and a memory of all that happened."""

    def __init__(self, *actors: Actor) -> None:
        self.clock = ManualClock(NOW)
        self.envelopes: list[Envelope] = []
        self.bus = EventBus(self.clock, record=self.envelopes.append)
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        for actor in actors:
            actor.attach(self.bus)
        self.timers = SimulatedTimers(self.bus, self.clock)

    def observe(self, *events: Event) -> None:
        """Publish ``events`` one after the other, whoever's they are."""
        for event in events:
            self.bus.publish(event if isinstance(event, Observed) else Injected(event))  # type: ignore[arg-type]

    def advance(self, seconds: float) -> None:
        """Let time pass, and timers fire."""
        self.timers.advance(Micros(round(seconds * SECOND)))

    def all(self, kind: type[Wanted]) -> list[Wanted]:
        """Every event of ``kind`` so far, in order."""
        return [envelope.event for envelope in self.envelopes if isinstance(envelope.event, kind)]

    def last(self, kind: type[Wanted]) -> Wanted:
        """The newest event of ``kind``."""
        found = self.all(kind)
        assert found, f"no {kind.__name__} among {[type(e.event).__name__ for e in self.envelopes]}"
        return found[-1]

    def during(self, act: Callable[[], object], kind: type[Wanted]) -> list[Wanted]:
        """The events of ``kind`` that ``act`` led to."""
        before = len(self.envelopes)
        act()
        return [envelope.event for envelope in self.envelopes[before:] if isinstance(envelope.event, kind)]


def as_json(payload: bytes | str) -> Any:
    return json.loads(payload)
