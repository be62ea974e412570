"""A game stream in memory. Updates are stored within the drain, later, or not at all."""

from collections import deque
from secrets import token_hex

from bettensor.actors.stream import HISTORY, fold, games_of
from bettensor.bus import codec
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import StreamOpened, UpdateStored, UpdateStoreFailed, UpdateStoreRequested
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import GameId, MessageId
from bettensor.bus.messages import GameUpdateMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.edge import Edge, Identity, on


class SimulatedGameStream(Edge):
    """Stores what the real edge stores, for the duration of the test.

    With ``held`` set, updates wait until ``release``, as on a slow disk.
    """

    name = "game_stream"

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self.games: dict[GameId, TeamGame] = {}
        self.updates: deque[tuple[GameUpdateMessage, ...]] = deque(maxlen=HISTORY)
        self.last: GameUpdateMessage | None = None
        self.held = False
        self.failing: str | None = None
        """While set, each update fails for this reason."""
        self._hotkey = identity.hotkey
        self._clock = clock
        self._waiting: deque[tuple[UpdateStoreRequested, int]] = deque()

    def attach(self, bus: EventBus) -> None:
        """Subscribe; a neuron's next run attaches the same disk to its own bus."""
        super().attach(bus)
        self._waiting.clear()  # requests of an earlier run were lost with it

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
        self._waiting.append((event, envelope.seq))
        if not self.held:
            self.release()

    def release(self) -> None:
        """Store the waiting updates."""
        while self._waiting:
            event, request = self._waiting.popleft()
            if self.failing is not None:
                self._bus.publish(UpdateStoreFailed(self.failing), causes=(request,))
                continue
            parts = tuple(self._stamp(part) for part in event.parts)
            self.last = parts[-1]
            snapshot = self.last.previous is None
            if snapshot:
                self.updates.clear()
            else:
                self.updates.append(parts)
            fold(self.games, games_of(parts), snapshot=snapshot)
            self._bus.publish(UpdateStored(parts), causes=(request,))

    def _stamp(self, part: GameUpdateMessage) -> GameUpdateMessage:
        now = rfc3339(self._clock.wall())
        return codec.stamp(part, message_id=MessageId(token_hex(16)), sender=self._hotkey, timestamp=now)
