"""The validator's slate: turns the feed's games into the game stream.

Knows the games in force and the stream's position. A change is in force once it is stored, and not before. Sends
nothing: ``BroadcastActor`` does.
"""

from dataclasses import dataclass, field, replace

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.stream import fold, games_of, update_messages
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    GamesFetched,
    GamesUpdated,
    NeuronStarted,
    StreamOpened,
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
        fold(self.state.games, event.games, snapshot=True)
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
