"""The game stream: how much of it is kept, what its updates look like, and who is where in it."""

from collections.abc import Iterable
from typing import Final

from bettensor.actors.actor import Actor, on
from bettensor.bus import codec
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import GamesUpdated, OutboxOpened, Position
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, GameId, Netuid, Offset
from bettensor.bus.messages import GameUpdateMessage, HeartbeatMessage

HISTORY: Final = 256
"""Updates that are kept for miners that missed them."""


class StreamFollower(Actor):
    """Base of actors that need to know how far each validator's stream is known; ``state.positions`` says so."""

    @on(GamesUpdated)
    def know_position(self, event: GamesUpdated, _: Envelope) -> None:
        self.state.positions[event.validator] = Position(event.epoch, event.offset)

    @on(OutboxOpened)
    def recall_positions(self, event: OutboxOpened, _: Envelope) -> None:
        for slate in event.slates:
            self.state.positions[slate.validator] = Position(slate.epoch, slate.offset)


def heartbeat_message(position: Position | None) -> HeartbeatMessage:
    """A heartbeat that names ``position``; None is before any slate."""
    if position is None:
        return HeartbeatMessage()
    return HeartbeatMessage(epoch=position.epoch, offset=position.offset)


def recoverable(known: Offset, current: Offset) -> bool:
    """Whether all updates after ``known`` are kept; one ahead of ``current`` is of a history that we do not know."""
    return max(1, current - HISTORY) <= known <= current


def update_messages(
    netuid: Netuid, epoch: Epoch, offset: Offset, games: Iterable[TeamGame], previous: Offset | None
) -> tuple[GameUpdateMessage, ...]:
    """The parts of one update, or of a snapshot if ``previous`` is None; each fits in a frame."""
    portions = list(codec.parts(games))
    return tuple(
        GameUpdateMessage(
            netuid=netuid,
            epoch=epoch,
            offset=offset,
            updated_games=portion,
            previous=previous,
            part=number,
            parts=len(portions),
        )
        for number, portion in enumerate(portions, start=1)
    )


def apply(games: dict[GameId, TeamGame], changed: Iterable[TeamGame]) -> None:
    """Bring the slate ``games`` up to date: a game that is not active leaves it."""
    for game in changed:
        if game.active:
            games[game.game_id] = game
        else:
            games.pop(game.game_id, None)
