"""The miner's copy of each validator's slate.

Applies an update only where it fits (protocol, "The game stream"), and all of it or nothing.
"""

from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on
from bettensor.actors.stream import fold
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import GamesUpdated, MessageAccepted, OutboxOpened, PeerMisbehaved, UpdateMissed
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import ConnectionId, Epoch, GameId, Hotkey, Offset
from bettensor.bus.messages import MAX_SLATE, GameUpdateMessage, HeartbeatMessage, WelcomeMessage
from bettensor.bus.synapse import SYNAPSE_EPOCH


@dataclass(slots=True)
class Stream:
    """How far one validator's stream is known, and the update that is coming in."""

    session_epoch: Epoch | None = None
    """From the last welcome, or from the first update after it; None if the validator had no slate yet."""
    epoch: Epoch | None = None
    offset: Offset = Offset(0)
    heard_on: ConnectionId | None = None
    """The connection of the last update: updates of two connections may overtake each other."""
    heard: Offset = Offset(0)
    coming: Offset = Offset(0)
    """The offset of the update whose parts are coming in."""
    coming_on: ConnectionId | None = None
    """Where its first part came from: all of them come by one connection."""
    coming_parts: int = 0
    """How many of its parts are here."""
    coming_games: dict[GameId, TeamGame] = field(default_factory=dict)
    coming_size: int = 0
    """How many games the slate would have with them. Counted part by part: a union costs as much as all of them."""
    games: dict[GameId, None] = field(default_factory=dict)
    """The games on the slate."""


@dataclass(slots=True)
class SlateState:
    """One stream for each validator."""

    streams: dict[Hotkey, Stream] = field(default_factory=dict)


class SlateActor(Actor):
    """Joins the parts of game updates, and publishes the changes."""

    name = "slate"
    State = SlateState
    state: SlateState

    @on(OutboxOpened)
    def recall(self, event: OutboxOpened, _: Envelope) -> None:
        for known in event.slates:
            games = dict.fromkeys(game.game_id for game in known.games)
            self.state.streams[known.validator] = Stream(epoch=known.epoch, offset=known.offset, games=games)

    @on(GamesUpdated)
    def make_way(self, event: GamesUpdated, _: Envelope) -> None:
        """A slate that came over Synapse is in force: the validator's own stream goes on with a snapshot."""
        if event.epoch == SYNAPSE_EPOCH:
            stream = self.state.streams.setdefault(event.validator, Stream())
            stream.epoch, stream.offset = event.epoch, event.offset
            stream.games = dict.fromkeys(game.game_id for game in event.games)

    @on(MessageAccepted)
    def take(self, event: MessageAccepted, _: Envelope) -> None:
        message = event.message
        if isinstance(message, WelcomeMessage):
            stream = self.state.streams.setdefault(event.hotkey, Stream())
            stream.session_epoch = message.epoch
        elif isinstance(message, GameUpdateMessage):
            self._apply(event.hotkey, event.connection, message)
        elif isinstance(message, HeartbeatMessage) and message.offset is not None:
            stream = self.state.streams.setdefault(event.hotkey, Stream())
            if stream.session_epoch is None:
                stream.session_epoch = message.epoch
            if message.epoch == stream.session_epoch:
                self._look_for_gap(event.hotkey, stream, message.offset)

    def _apply(self, validator: Hotkey, connection: ConnectionId, update: GameUpdateMessage) -> None:
        stream = self.state.streams.setdefault(validator, Stream())
        if stream.heard_on == connection and update.offset < stream.heard:
            fault = f"an update to offset {update.offset} after an update to offset {stream.heard}"
            self.publish(PeerMisbehaved(validator, fault))
        stream.heard_on, stream.heard = connection, update.offset
        if not _fits(stream, update):
            if update.epoch == stream.session_epoch and update.part == update.parts:
                self._look_for_gap(validator, stream, update.offset)
            elif update.epoch != stream.session_epoch:
                fault = f"an update of epoch {update.epoch} in a session of epoch {stream.session_epoch}"
                self.publish(PeerMisbehaved(validator, fault))
            return
        is_whole = _collect(stream, connection, update)
        if stream.coming_size > MAX_SLATE:
            stream.coming_games, stream.coming_parts, stream.coming_size = {}, 0, 0
            self.publish(PeerMisbehaved(validator, f"a slate of more than {MAX_SLATE} games"))
        elif is_whole:
            self._put_in_force(validator, stream, update)

    def _put_in_force(self, validator: Hotkey, stream: Stream, update: GameUpdateMessage) -> None:
        games, stream.coming_games, stream.coming_parts = tuple(stream.coming_games.values()), {}, 0
        snapshot = update.previous is None
        fold(stream.games, games, snapshot=snapshot, keep=lambda _: None)
        stream.epoch, stream.offset = update.epoch, update.offset
        stream.session_epoch = update.epoch  # protocol: the epoch does not change within a session
        self.publish(GamesUpdated(validator, update.epoch, update.offset, games, snapshot))

    def _look_for_gap(self, validator: Hotkey, stream: Stream, ahead: Offset) -> None:
        known = stream.offset if stream.epoch == stream.session_epoch else Offset(0)
        if ahead > known:
            self.publish(UpdateMissed(validator, known, ahead))


def _fits(stream: Stream, update: GameUpdateMessage) -> bool:
    if stream.session_epoch is not None and update.epoch != stream.session_epoch:
        return False
    if update.epoch != stream.epoch:
        return update.previous is None
    if update.previous is None:
        return update.offset >= stream.offset  # an older one was overtaken
    return update.previous <= stream.offset < update.offset


def _collect(stream: Stream, connection: ConnectionId, update: GameUpdateMessage) -> bool:
    """Add one part of an update that fits to the parts before it. Returns whether that was the last part."""
    before = {} if update.previous is None else stream.games
    if update.part == 1:
        stream.coming, stream.coming_on, stream.coming_parts, stream.coming_games = update.offset, connection, 0, {}
        stream.coming_size = len(before)
    elif connection != stream.coming_on:
        return False
    if update.offset != stream.coming or update.part != stream.coming_parts + 1:
        stream.coming_parts = 0  # a part is missing: the whole update is
        return False
    stream.coming_parts = update.part
    known = (before, stream.coming_games)
    stream.coming_size += sum(not any(game_id in games for games in known) for game_id in update.updated_games)
    stream.coming_games.update(update.updated_games)
    return update.part == update.parts
