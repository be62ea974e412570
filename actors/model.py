"""When the miner's model is asked, and about which games. The model itself runs outside, and may be slow."""

from dataclasses import dataclass, field

from actors.actor import Actor, on
from bus.envelope import Envelope
from bus.events import GamesUpdated, PredictionsRequested, TimerFired
from bus.games import TeamGame
from bus.identifiers import GameId, Hotkey, Micros, micros


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How often the model is asked."""

    interval: float = 60.0
    """Seconds between two times that the model is asked about an unchanged slate."""

    def __post_init__(self) -> None:
        if not self.interval > 0:
            raise ValueError(f"interval must be above 0 seconds, not {self.interval}")


@dataclass(slots=True)
class ModelState:
    """The active games of each validator."""

    slates: dict[Hotkey, dict[GameId, TeamGame]] = field(default_factory=dict)


class ModelActor(Actor):
    """Asks the model when the slate changes, and every ``interval``."""

    name = "model"
    Settings = ModelSettings
    State = ModelState
    settings: ModelSettings
    state: ModelState

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, envelope: Envelope) -> None:
        slate = self.state.slates.setdefault(event.validator, {})
        if event.snapshot:
            slate.clear()
        for game in event.games:
            if game.active:
                slate[game.game_id] = game
            else:
                slate.pop(game.game_id, None)
        self._ask(event.validator, envelope)

    @on(TimerFired)
    def ask_again(self, event: TimerFired, envelope: Envelope) -> None:
        if event.owner == self.name:
            self._ask(Hotkey(event.key), envelope)

    def _ask(self, validator: Hotkey, envelope: Envelope) -> None:
        games = tuple(self.state.slates[validator].values())
        if games:
            self.publish(PredictionsRequested(validator, games))
        self.wake(validator, Micros(envelope.mono + micros(self.settings.interval)))
