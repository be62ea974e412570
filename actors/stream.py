"""The game stream: the number of kept updates, their form, and the positions of neurons in it."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, overload

from bettensor.actors.actor import Actor, on
from bettensor.bus import codec
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import GamesUpdated, OutboxOpened, Position
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, GameId, Hotkey, Netuid, Offset
from bettensor.bus.messages import GameUpdateMessage, HeartbeatMessage
from bettensor.bus.synapse import SYNAPSE_EPOCH

HISTORY: Final = 256
"""Updates that are kept for miners that missed them."""
Kept = TypeVar("Kept")


class StreamFollower(Actor):
    """Base of actors that need the position in each validator's stream, in ``state.positions``."""

    @on(GamesUpdated)
    def know_position(self, event: GamesUpdated, _: Envelope) -> None:
        self._follow_to(event.validator, Position(event.epoch, event.offset))

    @on(OutboxOpened)
    def recall_positions(self, event: OutboxOpened, _: Envelope) -> None:
        for slate in event.slates:
            self._follow_to(slate.validator, Position(slate.epoch, slate.offset))

    def _follow_to(self, validator: Hotkey, position: Position) -> None:
        """A slate that came over Synapse has no place in the validator's stream: the next one must be whole."""
        if position.epoch == SYNAPSE_EPOCH:
            self.state.positions.pop(validator, None)
        else:
            self.state.positions[validator] = position


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


@overload
def fold(slate: dict[GameId, TeamGame], games: Iterable[TeamGame], *, snapshot: bool) -> None: ...


@overload
def fold(
    slate: dict[GameId, Kept], games: Iterable[TeamGame], *, snapshot: bool, keep: Callable[[TeamGame], Kept]
) -> None: ...


def fold(
    slate: dict[GameId, Any],
    games: Iterable[TeamGame],
    *,
    snapshot: bool,
    keep: Callable[[TeamGame], Any] = lambda game: game,
) -> None:
    """Bring ``slate`` up to date (protocol, "The game stream").

    Args:
        slate: is changed.
        games: of one update, all its parts; a game that is not active leaves the slate.
        snapshot: whether they are the whole slate, and not only what changed.
        keep: what the slate has of a game; by default the game itself.
    """
    if snapshot:
        slate.clear()
    for game in games:
        if game.active:
            slate[game.game_id] = keep(game)
        else:
            slate.pop(game.game_id, None)


def games_of(parts: Iterable[GameUpdateMessage]) -> tuple[TeamGame, ...]:
    """The games of one update, which came in ``parts``."""
    return tuple(game for part in parts for game in part.updated_games.values())
