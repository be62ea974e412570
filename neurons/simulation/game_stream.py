"""A game stream in memory, on a simulated disk."""

from collections import deque
from secrets import token_hex

from bettensor.actors.stream import HISTORY, fold, games_of
from bettensor.bus import codec
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import StreamOpened, UpdateStored, UpdateStoreFailed, UpdateStoreRequested
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import GameId, MessageId
from bettensor.bus.messages import GameUpdateMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.edge import Identity, on
from bettensor.neurons.simulation.disk import SimulatedDisk


class SimulatedGameStream(SimulatedDisk[UpdateStoreRequested]):
    """Stores what the real edge stores, for the duration of the test."""

    name = "game_stream"

    def __init__(self, identity: Identity, clock: Clock) -> None:
        super().__init__()
        self.games: dict[GameId, TeamGame] = {}
        self.updates: deque[tuple[GameUpdateMessage, ...]] = deque(maxlen=HISTORY)
        self.last: GameUpdateMessage | None = None
        self._hotkey = identity.hotkey
        self._clock = clock

    async def open(self) -> None:
        """Publish ``StreamOpened``, if there is a stream."""
        if self.last is not None:
            games = tuple(self.games.values())
            self._bus.publish(StreamOpened(self.last.epoch, self.last.offset, games, tuple(self.updates)))

    def forget(self) -> None:
        """Begin a new epoch with the next update, as after restoring a copy."""
        self.games.clear()
        self.updates.clear()
        self.last = None

    @on(UpdateStoreRequested)
    def store(self, event: UpdateStoreRequested, envelope: Envelope) -> None:
        """Answered by ``UpdateStored`` or ``UpdateStoreFailed``."""
        self._take(event, envelope)

    def _write(self, event: UpdateStoreRequested, _: int) -> UpdateStored:
        parts = tuple(self._stamp(part) for part in event.parts)
        self.last = parts[-1]
        snapshot = self.last.previous is None
        if snapshot:
            self.updates.clear()
        else:
            self.updates.append(parts)
        fold(self.games, games_of(parts), snapshot=snapshot)
        return UpdateStored(parts)

    def _refuse(self, _: int, reason: str) -> UpdateStoreFailed:
        return UpdateStoreFailed(reason)

    def _stamp(self, part: GameUpdateMessage) -> GameUpdateMessage:
        now = rfc3339(self._clock.wall())
        return codec.stamp(part, message_id=MessageId(token_hex(16)), sender=self._hotkey, timestamp=now)
