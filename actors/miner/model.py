"""When the miner's model is asked, and about which games. The model itself runs outside, and may be slow."""

from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.settings import Seconds, settings_class
from bettensor.actors.stream import fold
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    GamesUpdated,
    MessageAccepted,
    MetagraphSynced,
    ModelChanged,
    OutboxOpened,
    Position,
    PredictionsRequested,
)
from bettensor.bus.games import TeamGame, start_of
from bettensor.bus.identifiers import GameId, Hotkey, Micros, micros
from bettensor.bus.messages import WelcomeMessage


@settings_class
class ModelSettings:
    """When the miner asks its model. The section predictor says which model the miner asks."""

    interval: Seconds = 60.0
    """If a validator's slate (its games and their odds) stays the same, the model is asked about it again after this
    many seconds. If the slate changes, the model is asked at once."""


@dataclass(slots=True)
class Slate:
    """The active games of one validator."""

    position: Position
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    confirmed: bool = False
    """By its validator, in this run and since it was last away: a slate from before may have old odds."""


@dataclass(slots=True)
class ModelState:
    """The games about which the model can be asked."""

    slates: dict[Hotkey, Slate] = field(default_factory=dict)
    imported: dict[Hotkey, dict[GameId, None]] = field(default_factory=dict)
    """Games that an existing miner has bet on: the model would bet on them a second time."""


class ModelActor(Actor):
    """Asks the model when the slate changes, and every ``interval``."""

    name = "model"
    Settings = ModelSettings
    State = ModelState
    settings: ModelSettings
    state: ModelState

    @on(OutboxOpened)
    def recall(self, event: OutboxOpened, _: Envelope) -> None:
        for known in event.slates:
            slate = self.state.slates[known.validator] = Slate(Position(known.epoch, known.offset))
            fold(slate.games, known.games, snapshot=True)
        for validator, game_id in event.imported:
            self.state.imported.setdefault(validator, {})[game_id] = None

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, envelope: Envelope) -> None:
        position = Position(event.epoch, event.offset)
        slate = self.state.slates.setdefault(event.validator, Slate(position))
        slate.position, slate.confirmed = position, True
        fold(slate.games, event.games, snapshot=event.snapshot)
        self._ask(event.validator, slate, envelope)

    @on(MessageAccepted)
    def confirm(self, event: MessageAccepted, envelope: Envelope) -> None:
        """A welcome that names the position which we remembered confirms the slate which we remembered."""
        slate = self.state.slates.get(event.hotkey)
        if slate is None or slate.confirmed or not isinstance(event.message, WelcomeMessage):
            return
        if (event.message.epoch, event.message.offset) == (slate.position.epoch, slate.position.offset):
            slate.confirmed = True
            self._ask(event.hotkey, slate, envelope)

    @on(MetagraphSynced)
    def leave_out_absent(self, event: MetagraphSynced, _: Envelope) -> None:
        """Bet with no validator that has left the subnet, until it is back and confirms its slate."""
        there = {neuron.hotkey for neuron in event.neurons}
        for validator, slate in self.state.slates.items():
            if slate.confirmed and validator not in there:
                slate.confirmed = False
                self.cancel_timer("ask", validator)

    @on(ModelChanged)
    def ask_about_all(self, _: ModelChanged, envelope: Envelope) -> None:
        for validator, slate in self.state.slates.items():
            if slate.confirmed:
                self._ask(validator, slate, envelope)

    @on_timer("ask")
    def ask_again(self, validator: Hotkey, envelope: Envelope) -> None:
        self._ask(validator, self.state.slates[validator], envelope)

    def _ask(self, validator: Hotkey, slate: Slate, envelope: Envelope) -> None:
        imported = self.state.imported.get(validator, {})
        starts = ((game, start_of(game)) for game in slate.games.values() if game.game_id not in imported)
        open_games = tuple(game for game, starts_at in starts if starts_at is not None and starts_at > envelope.at)
        if open_games:
            self.publish(PredictionsRequested(validator, open_games))
        self.set_timer("ask", Micros(envelope.mono + micros(self.settings.interval)), validator)
