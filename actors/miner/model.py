"""When the miner's model is asked, and about which games. The model itself runs outside, and may be slow."""

from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.settings import Count, Seconds, settings_class
from bettensor.actors.stream import fold
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    GamesUpdated,
    MessageAccepted,
    MetagraphSynced,
    ModelChanged,
    NeuronStarted,
    OutboxOpened,
    Position,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    PredictionsRequested,
    VerdictReceived,
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
    min_interval: Seconds = 1.0
    """Seconds between two questions about one validator's slate, at least; the model is asked later about changes that
    come sooner."""
    max_waiting: Count = 20_000
    """If so many predictions wait for one validator's verdicts, the model is not asked about its slate before half of
    them have one."""


@dataclass(slots=True)
class Slate:
    """The active games of one validator."""

    position: Position
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    confirmed: bool = False
    """By its validator, in this run and since it was last away: a slate from before may have old odds."""
    starts: dict[GameId, Micros | None] = field(default_factory=dict)
    """When its games begin, as far as that was needed; None if it cannot be read. Wall clock."""
    asked_at: Micros | None = None
    """Monotonic."""
    has_news: bool = False
    """The model will be asked as soon as it may be."""


@dataclass(slots=True)
class ModelState:
    """The games about which the model can be asked."""

    slates: dict[Hotkey, Slate] = field(default_factory=dict)
    imported: dict[Hotkey, dict[GameId, None]] = field(default_factory=dict)
    """Games that an existing miner has bet on: the model would bet on them a second time."""
    waiting: dict[Hotkey, int] = field(default_factory=dict)
    """Predictions without a verdict, by validator."""
    full: dict[Hotkey, None] = field(default_factory=dict)
    """Validators for whose verdicts too many wait."""
    is_of_0_1: bool = False
    """The model is asked at once at each update, as in release 0.1.0."""


class ModelActor(Actor):
    """Asks the model when the slate changes, and every ``interval``."""

    name = "model"
    Settings = ModelSettings
    State = ModelState
    settings: ModelSettings
    state: ModelState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.is_of_0_1 = event.is_of_0_1

    @on(OutboxOpened)
    def recall(self, event: OutboxOpened, _: Envelope) -> None:
        for known in event.slates:
            slate = self.state.slates[known.validator] = Slate(Position(known.epoch, known.offset))
            fold(slate.games, known.games, snapshot=True)
        for validator, game_id in event.imported:
            self.state.imported.setdefault(validator, {})[game_id] = None
        for entry in event.entries:
            self._count(entry.validator, 1)

    @on(PredictionMade)
    def begin_to_wait(self, event: PredictionMade, _: Envelope) -> None:
        self._count(event.validator, 1)

    @on(VerdictReceived, PredictionExpired, PredictionDiscarded)
    def end_to_wait(self, event: VerdictReceived | PredictionExpired | PredictionDiscarded, _: Envelope) -> None:
        self._count(event.validator, -1)

    def _count(self, validator: Hotkey, change: int) -> None:
        state, most = self.state, self.settings.max_waiting
        waiting = state.waiting.pop(validator, 0) + change
        if waiting > 0:
            state.waiting[validator] = waiting
        if waiting >= most:
            state.full[validator] = None
        elif waiting <= most // 2:
            state.full.pop(validator, None)

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, envelope: Envelope) -> None:
        position = Position(event.epoch, event.offset)
        slate = self.state.slates.setdefault(event.validator, Slate(position))
        is_first, is_news = not slate.confirmed, _changes(slate.games, event)
        slate.position, slate.confirmed = position, True
        fold(slate.games, event.games, snapshot=event.snapshot)
        if event.snapshot:
            slate.starts.clear()
        for game in event.games:
            slate.starts.pop(game.game_id, None)
        if is_first or self.state.is_of_0_1:
            self._ask(event.validator, slate, envelope)
        elif is_news:
            self._tell(event.validator, slate, envelope)

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

    def _tell(self, validator: Hotkey, slate: Slate, envelope: Envelope) -> None:
        """Ask about a slate that has changed, now or when that is allowed again."""
        pause = micros(min(self.settings.min_interval, self.settings.interval))
        if slate.asked_at is None or envelope.mono - slate.asked_at >= pause:
            self._ask(validator, slate, envelope)
        elif not slate.has_news:
            slate.has_news = True
            self.set_timer("ask", Micros(slate.asked_at + pause), validator)

    def _ask(self, validator: Hotkey, slate: Slate, envelope: Envelope) -> None:
        imported = self.state.imported.get(validator, {})
        starts = ((game, _start(slate, game)) for game in slate.games.values() if game.game_id not in imported)
        open_games = tuple(game for game, starts_at in starts if starts_at is not None and starts_at > envelope.at)
        if open_games and (self.state.is_of_0_1 or validator not in self.state.full):
            self.publish(PredictionsRequested(validator, open_games))
        slate.asked_at, slate.has_news = envelope.mono, False
        self.set_timer("ask", Micros(envelope.mono + micros(self.settings.interval)), validator)


def _changes(known: dict[GameId, TeamGame], event: GamesUpdated) -> bool:
    """Whether the slate has other games, or other odds, after ``event``."""
    if event.snapshot:
        return known != {game.game_id: game for game in event.games if game.active}
    return any(known.get(game.game_id) != (game if game.active else None) for game in event.games)


def _start(slate: Slate, game: TeamGame) -> Micros | None:
    """When ``game`` begins; it is read once."""
    if game.game_id not in slate.starts:
        slate.starts[game.game_id] = start_of(game)
    return slate.starts[game.game_id]
