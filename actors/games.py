"""The validator's slate: what the feed says, as the game stream says it.

Knows the games in force and the stream's position. Sends nothing: ``BroadcastActor`` does.
"""

from dataclasses import dataclass, field, replace

from actors.actor import Actor, on
from bus.envelope import Envelope
from bus.events import GamesFetched, GamesUpdated, NeuronStarted
from bus.games import TeamGame
from bus.identifiers import Epoch, GameId, Hotkey, Offset


@dataclass(slots=True)
class GamesState:
    """The slate in force, and its place in the stream."""

    hotkey: Hotkey = Hotkey("")
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    epoch: Epoch | None = None
    offset: Offset = Offset(0)


class GamesActor(Actor):
    """Turns each slate that the feed gives into what changed."""

    name = "games"
    State = GamesState
    state: GamesState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey = event.hotkey

    @on(GamesFetched)
    def compare(self, event: GamesFetched, _: Envelope) -> None:
        state = self.state
        fetched = {game.game_id: game for game in event.games}
        gone = [replace(game, active=False) for game_id, game in state.games.items() if game_id not in fetched]
        changed = [game for game in event.games if state.games.get(game.game_id) != game]
        first = state.epoch is None
        if not first and not gone and not changed:
            return
        if state.epoch is None:
            state.epoch = event.epoch
        state.games = fetched
        state.offset = Offset(state.offset + 1)
        self.publish(GamesUpdated(state.hotkey, state.epoch, state.offset, tuple(changed + gone), snapshot=first))
