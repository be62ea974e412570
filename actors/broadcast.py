"""Game updates to those who should have them, with their place in the stream (protocol, "The game stream")."""

from dataclasses import dataclass, field

from actors.actor import Actor, on
from bus import codec
from bus.envelope import Envelope
from bus.events import GamesUpdated, NeuronStarted, SendRequested, SlateRequested
from bus.games import TeamGame
from bus.identifiers import Epoch, GameId, Netuid, Offset
from bus.messages import GameUpdateMessage


@dataclass(slots=True)
class BroadcastState:
    """The stream's end, and the slate that it amounts to."""

    netuid: Netuid = Netuid(0)
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    epoch: Epoch | None = None
    offset: Offset = Offset(0)


class BroadcastActor(Actor):
    """Gives the slate to each miner that needs it."""

    name = "broadcast"
    State = BroadcastState
    state: BroadcastState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.netuid = event.netuid

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, _: Envelope) -> None:
        state = self.state
        state.epoch, state.offset = event.epoch, event.offset
        if event.snapshot:
            state.games.clear()
        for game in event.games:
            if game.active:
                state.games[game.game_id] = game
            else:
                state.games.pop(game.game_id, None)

    @on(SlateRequested)
    def give_slate(self, event: SlateRequested, _: Envelope) -> None:
        for message in self._snapshot():
            self.publish(SendRequested(event.hotkey, message, event.connection))

    def _snapshot(self) -> list[GameUpdateMessage]:
        state = self.state
        if state.epoch is None:
            return []
        portions = list(codec.parts(state.games.values()))
        return [
            GameUpdateMessage(
                netuid=state.netuid,
                epoch=state.epoch,
                offset=state.offset,
                updated_games=portion,
                previous=None,
                part=number,
                parts=len(portions),
            )
            for number, portion in enumerate(portions, start=1)
        ]
