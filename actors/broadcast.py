"""Game updates to those who should have them, with their place in the stream (protocol, "The game stream").

Says what is sent, and to whom nothing but a snapshot will do. Who is connected, ``ConnectionActor`` knows.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.actor import Actor, on
from actors.stream import HISTORY
from bus import codec
from bus.envelope import Envelope
from bus.events import BroadcastRequested, GamesUpdated, NeuronStarted, SendRequested, SlateRequested
from bus.games import TeamGame
from bus.identifiers import Epoch, GameId, Netuid, Offset
from bus.messages import GameUpdateMessage


@dataclass(slots=True)
class BroadcastState:
    """The stream's end, the slate that it amounts to, and the updates that led there."""

    netuid: Netuid = Netuid(0)
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    epoch: Epoch | None = None
    offset: Offset = Offset(0)
    history: deque[list[GameUpdateMessage]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """The parts of each of the last updates."""


class BroadcastActor(Actor):
    """Tells everybody what changed, and brings those up to date who were away."""

    name = "broadcast"
    State = BroadcastState
    state: BroadcastState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.netuid = event.netuid

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, _: Envelope) -> None:
        state = self.state
        previous, state.offset = state.offset, event.offset
        state.epoch = event.epoch
        if event.snapshot:
            state.games.clear()
        for game in event.games:
            if game.active:
                state.games[game.game_id] = game
            else:
                state.games.pop(game.game_id, None)
        if not event.snapshot:
            messages = self._messages(event.epoch, event.games, previous)
            state.history.append(messages)
            for message in messages:
                self.publish(BroadcastRequested(message))

    @on(SlateRequested)
    def bring_up_to_date(self, event: SlateRequested, _: Envelope) -> None:
        state = self.state
        if state.epoch is None:
            return
        if event.known is None:
            messages = self._messages(state.epoch, state.games.values(), None)
        else:
            messages = [message for update in state.history for message in update if message.offset > event.known]
        for message in messages:
            self.publish(SendRequested(event.hotkey, message, event.connection))

    def _messages(self, epoch: Epoch, games: Iterable[TeamGame], previous: Offset | None) -> list[GameUpdateMessage]:
        portions = list(codec.parts(games))
        return [
            GameUpdateMessage(
                netuid=self.state.netuid,
                epoch=epoch,
                offset=self.state.offset,
                updated_games=portion,
                previous=previous,
                part=number,
                parts=len(portions),
            )
            for number, portion in enumerate(portions, start=1)
        ]
