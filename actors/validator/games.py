"""The validator's slate: turns the feed's games into the game stream.

Knows the games in force and the stream's position. A change is in force once it is stored, and not before. A game that
is not on the feed's slate any more, or has odds that no bookmaker has, is withdrawn: nobody is judged by odds that the
feed no longer vouches for. Sends nothing: ``BroadcastActor`` does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.odds import MAX_IMPLIED, MIN_IMPLIED, doubt_of_odds
from bettensor.actors.settings import NotNegative, Positive, settings_class
from bettensor.actors.stream import fold, games_of, update_messages
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    GamesFetched,
    GamesUpdated,
    NeuronStarted,
    OddsDoubted,
    SettingsReloaded,
    StreamOpened,
    UpdateStored,
    UpdateStoreFailed,
    UpdateStoreRequested,
    WithheldGame,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import SECOND, Epoch, GameId, Hotkey, Micros, Netuid, Offset

RETRY = Micros(5 * SECOND)
"""Until an update that could not be stored is tried again."""


@settings_class
class SlateSettings:
    """The odds that are plausible. Implausible ones are usually American odds, or a feed's error."""

    min_implied_probability: Annotated[NotNegative, Field(le=1)] = MIN_IMPLIED
    """A game is withheld if the implied probabilities of its outcomes (1 divided by the decimal odds) add up to less
    than this. A bookmaker's add up to about 1.05. 0: no limit."""
    max_implied_probability: Annotated[Positive, Field(ge=1)] = MAX_IMPLIED
    """A game is withheld if they add up to more than this. 3: no limit."""


@dataclass(slots=True)
class GamesState:
    """The slate in force, its place in the stream, and the slate that it shall become."""

    hotkey: Hotkey = Hotkey("")
    netuid: Netuid = Netuid(0)
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    epoch: Epoch | None = None
    offset: Offset = Offset(0)
    fetched: dict[GameId, TeamGame] = field(default_factory=dict)
    """The feed's."""
    doubted: tuple[WithheldGame, ...] = ()
    """Those of them whose odds are implausible."""
    new_epoch: Epoch = Epoch("")
    """Of the stream, if the next update begins one. Empty until the feed has been read."""
    storing: bool = False


def doubted(games: Iterable[TeamGame], limits: SlateSettings) -> Iterator[WithheldGame]:
    """The games among ``games`` whose odds are implausible, with their reasons."""
    for game in games:
        reason = doubt_of_odds(game, limits.min_implied_probability, limits.max_implied_probability)
        if game.active and reason is not None:
            yield WithheldGame(game.game_id, reason)


class GamesActor(Actor):
    """Turns each slate of the feed into an update."""

    name = "games"
    Settings = SlateSettings
    State = GamesState
    settings: SlateSettings
    state: GamesState

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        super().reload(event, envelope)
        self._doubt()
        self._compare()

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey, self.state.netuid = event.hotkey, event.netuid

    @on(StreamOpened)
    def resume(self, event: StreamOpened, _: Envelope) -> None:
        fold(self.state.games, event.games, snapshot=True)
        self.state.epoch, self.state.offset = event.epoch, event.offset
        self.publish(GamesUpdated(self.state.hotkey, event.epoch, event.offset, event.games, snapshot=True))

    @on(GamesFetched)
    def fetch(self, event: GamesFetched, _: Envelope) -> None:
        self.state.fetched = {game.game_id: game for game in event.games}
        self.state.new_epoch = event.epoch
        self._doubt()
        self._compare()

    @on(UpdateStored)
    def put_in_force(self, event: UpdateStored, _: Envelope) -> None:
        state, first = self.state, event.parts[0]
        changed, snapshot = games_of(event.parts), first.previous is None
        fold(state.games, changed, snapshot=snapshot)
        state.epoch, state.offset, state.storing = first.epoch, first.offset, False
        self.publish(GamesUpdated(state.hotkey, first.epoch, first.offset, changed, snapshot=snapshot))
        self._compare()

    @on(UpdateStoreFailed)
    def wait(self, _: UpdateStoreFailed, envelope: Envelope) -> None:
        self.state.storing = False
        self.set_timer("store", Micros(envelope.mono + RETRY))

    @on_timer("store")
    def try_again(self, _: None, __: Envelope) -> None:
        self._compare()

    def _doubt(self) -> None:
        """Judge the odds of the feed's games, and publish which are doubted, if these are others than before."""
        present = tuple(doubted(self.state.fetched.values(), self.settings))
        if set(present) != set(self.state.doubted):
            self.state.doubted = present
            self.publish(OddsDoubted(present))

    def _compare(self) -> None:
        """Request that the feed's changes be stored, if there are any and no other update is being stored."""
        state = self.state
        if state.storing or not state.new_epoch:
            return
        withheld = {game.game_id for game in state.doubted}
        offered = {game_id: game for game_id, game in state.fetched.items() if game_id not in withheld}
        gone = [replace(game, active=False) for game_id, game in state.games.items() if game_id not in offered]
        changed = [game for game in offered.values() if self._is_change(game)]
        first = state.epoch is None
        if not first and not gone and not changed:
            return
        epoch = state.new_epoch if state.epoch is None else state.epoch
        offset, previous = Offset(state.offset + 1), None if first else state.offset
        state.storing = True
        self.publish(UpdateStoreRequested(update_messages(state.netuid, epoch, offset, changed + gone, previous)))

    def _is_change(self, game: TeamGame) -> bool:
        """Whether the slate is another one with ``game``; a game that is inactive and not on it changes nothing."""
        known = self.state.games.get(game.game_id)
        return game != known and (game.active or known is not None)
