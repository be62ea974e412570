"""Sends game updates to sessions, with their place in the stream (protocol, "The game stream").

Decides which updates, or which snapshot, each miner is sent. Who is connected is known to ``ConnectionActor``.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from bettensor.actors.actor import Actor, on
from bettensor.actors.stream import HISTORY, fold, games_of, update_messages
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BroadcastRequested,
    NeuronStarted,
    SendRequested,
    SlatePrepared,
    SlateRequested,
    SlateWriteRequested,
    StreamOpened,
    UpdateStored,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, GameId, Netuid, Offset
from bettensor.bus.messages import GameUpdateMessage

WHOLE: Final = Offset(-1)
"""Stands for the place of a miner that has no slate."""


@dataclass(slots=True)
class BroadcastState:
    """The stream's end, the slate that it amounts to, and the updates that led there."""

    netuid: Netuid = Netuid(0)
    games: dict[GameId, TeamGame] = field(default_factory=dict)
    epoch: Epoch | None = None
    offset: Offset = Offset(0)
    history: deque[tuple[GameUpdateMessage, ...]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """The parts of each of the last updates."""
    prepared: dict[Offset, int] = field(default_factory=dict)
    """The updates that were made for miners who lack more than the newest one: the offset after which each begins, and
    the number of its parts. The snapshot is under ``WHOLE``. All end at ``offset``."""
    is_of_0_1: bool = False
    """Release 0.1.0 made a snapshot for each miner anew."""


class BroadcastActor(Actor):
    """Broadcasts updates, and sends missed ones to miners that were away."""

    name = "broadcast"
    State = BroadcastState
    state: BroadcastState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.netuid, self.state.is_of_0_1 = event.netuid, event.is_of_0_1

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
        state.prepared.clear()
        fold(state.games, games_of(event.parts), snapshot=first.previous is None)
        for part in event.parts:
            self.publish(BroadcastRequested(part))
        if first.previous is not None:
            state.history.append(event.parts)

    @on(SlateRequested)
    def bring_up_to_date(self, event: SlateRequested, _: Envelope) -> None:
        state, known = self.state, event.known
        if state.epoch is None:
            return
        if state.is_of_0_1:
            for message in self._made(known) if known is None or event.merged else self._missed(known):
                self.publish(SendRequested(event.hotkey, message, event.connection))
            return
        frames = self._prepare(known) if known is None or event.merged else len(self._missed(known))
        place = event.connection, event.hotkey, state.epoch, state.offset
        self.publish(SlateWriteRequested(*place, known, event.merged, frames))

    def _prepare(self, known: Offset | None) -> int:
        """Have the update after ``known`` made, if it was not made before; returns the number of its parts."""
        prepared, place = self.state.prepared, WHOLE if known is None else known
        if place not in prepared:
            parts = self._made(known)
            self.publish(SlatePrepared(parts))
            prepared[place] = len(parts)
        return prepared[place]

    def _made(self, known: Offset | None) -> tuple[GameUpdateMessage, ...]:
        """A snapshot, or one update that merges all after ``known``."""
        state, games = self.state, self.state.games
        if known is not None:
            games = {game.game_id: game for game in games_of(self._missed(known))}
        return update_messages(state.netuid, state.epoch or Epoch(""), state.offset, games.values(), known)

    def _missed(self, known: Offset) -> list[GameUpdateMessage]:
        """The updates after ``known``, as they were broadcast."""
        return [part for parts in self.state.history for part in parts if part.offset > known]
