"""The validator's slate: turns the feed's games into the game stream.

Knows the games in force and the stream's position. A change is in force once it is stored, and not before. Sends
nothing: ``BroadcastActor`` does.
"""

from dataclasses import dataclass, field, replace

from bettensor.actors.actor import Actor, on
from bettensor.actors.stream import apply, update_messages
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    GamesFetched,
    GamesUpdated,
    NeuronStarted,
    StreamOpened,
    TimerFired,
    UpdateStored,
    UpdateStoreFailed,
    UpdateStoreRequested,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import SECOND, Epoch, GameId, Hotkey, Micros, Netuid, Offset

RETRY = Micros(5 * SECOND)
"""Until an update that could not be stored is tried again."""


@dataclass(slots=True)
class GamesState:
    """The slate in force, its place in the stream, and the slate that it shall become."""

    hotkey: Hotkey = Hotkey("")
    netuid: Netuid = Netuid(0)
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    epoch: Epoch | None = None
    offset: Offset = Offset(0)
    fetched: dict[GameId, TeamGame] = field(default_factory=dict)
    new_epoch: Epoch = Epoch("")
    """Of the stream, if the next update begins one."""
    storing: bool = False


class GamesActor(Actor):
    """Turns each slate of the feed into an update."""

    name = "games"
    State = GamesState
    state: GamesState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey, self.state.netuid = event.hotkey, event.netuid

    @on(StreamOpened)
    def resume(self, event: StreamOpened, _: Envelope) -> None:
        self.state.games = {game.game_id: game for game in event.games}
        self.state.epoch, self.state.offset = event.epoch, event.offset
        self.publish(GamesUpdated(self.state.hotkey, event.epoch, event.offset, event.games, snapshot=True))

    @on(GamesFetched)
    def fetch(self, event: GamesFetched, _: Envelope) -> None:
        self.state.fetched = {game.game_id: game for game in event.games}
        self.state.new_epoch = event.epoch
        self._compare()

    @on(UpdateStored)
    def put_in_force(self, event: UpdateStored, _: Envelope) -> None:
        state, first = self.state, event.parts[0]
        changed = tuple(game for part in event.parts for game in part.updated_games.values())
        apply(state.games, changed)
        state.epoch, state.offset, state.storing = first.epoch, first.offset, False
        self.publish(GamesUpdated(state.hotkey, first.epoch, first.offset, changed, snapshot=first.previous is None))
        self._compare()

    @on(UpdateStoreFailed)
    def wait(self, _: UpdateStoreFailed, envelope: Envelope) -> None:
        self.state.storing = False
        self.wake("store", Micros(envelope.mono + RETRY))

    @on(TimerFired)
    def try_again(self, event: TimerFired, _: Envelope) -> None:
        if event.owner == self.name:
            self._compare()

    def _compare(self) -> None:
        """Request that the feed's changes be stored, if there are any and no other update is being stored."""
        state = self.state
        if state.storing:
            return
        gone = [replace(game, active=False) for game_id, game in state.games.items() if game_id not in state.fetched]
        changed = [game for game in state.fetched.values() if self._is_change(game)]
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
