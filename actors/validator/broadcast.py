"""Sends game updates to sessions, with their place in the stream (protocol, "The game stream").

Decides which updates, or which snapshot, each miner is sent. Who is connected is known to ``ConnectionActor``.
"""

from collections import deque
from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on
from bettensor.actors.stream import HISTORY, fold, games_of, update_messages
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BroadcastRequested,
    NeuronStarted,
    SendRequested,
    SlateRequested,
    StreamOpened,
    UpdateStored,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, GameId, Netuid, Offset
from bettensor.bus.messages import GameUpdateMessage


@dataclass(slots=True)
class BroadcastState:
    """The stream's end, the slate that it amounts to, and the updates that led there."""

    netuid: Netuid = Netuid(0)
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    epoch: Epoch | None = None
    offset: Offset = Offset(0)
    history: deque[tuple[GameUpdateMessage, ...]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """The parts of each of the last updates."""


class BroadcastActor(Actor):
    """Broadcasts updates, and sends missed ones to miners that were away."""

    name = "broadcast"
    State = BroadcastState
    state: BroadcastState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.netuid = event.netuid

    @on(StreamOpened)
    def resume(self, event: StreamOpened, _: Envelope) -> None:
        state = self.state
        state.epoch, state.offset = event.epoch, event.offset
        fold(state.games, event.games, snapshot=True)
        state.history.extend(event.updates)

    @on(UpdateStored)
    def broadcast(self, event: UpdateStored, _: Envelope) -> None:
        state, first = self.state, event.parts[0]
        state.epoch, state.offset = first.epoch, first.offset
        fold(state.games, games_of(event.parts), snapshot=first.previous is None)
        for part in event.parts:
            self.publish(BroadcastRequested(part))
        if first.previous is not None:
            state.history.append(event.parts)

    @on(SlateRequested)
    def bring_up_to_date(self, event: SlateRequested, _: Envelope) -> None:
        state = self.state
        if state.epoch is None:
            return
        messages: list[GameUpdateMessage]
        if event.known is not None and event.merged:
            changed: dict[GameId, TeamGame] = {}
            for part in (part for parts in state.history for part in parts if part.offset > event.known):
                changed |= part.updated_games
            messages = [*update_messages(state.netuid, state.epoch, state.offset, changed.values(), event.known)]
        elif event.known is None:
            messages = [*update_messages(state.netuid, state.epoch, state.offset, state.games.values(), None)]
        else:
            messages = [part for parts in state.history for part in parts if part.offset > event.known]
        for message in messages:
            self.publish(SendRequested(event.hotkey, message, event.connection))
