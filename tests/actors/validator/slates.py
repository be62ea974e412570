"""A validator's slate from the feed to its miners: the two actors, and a disk between them."""

from bettensor.actors.validator.broadcast import BroadcastActor
from bettensor.actors.validator.games import GamesActor
from bettensor.bus.events import (
    BroadcastRequested,
    GamesFetched,
    NeuronStarted,
    SlatePrepared,
    SlateRequested,
    SlateWriteRequested,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import ConnectionId, Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage
from bettensor.neurons.simulation import SimulatedGameStream
from tests.support import NETUID, Harness, make_hotkey, make_identity

VALIDATOR, MINER = make_hotkey("validator"), make_hotkey()
EPOCH = Epoch("e" * 32)


class Bench(Harness):
    def __init__(self, *, is_of_0_1: bool = False) -> None:
        self.broadcasters = [BroadcastActor()]
        super().__init__(GamesActor(), *self.broadcasters)
        self.store = SimulatedGameStream(make_identity(VALIDATOR), self.clock)
        self.add(self.store)
        self.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1))

    def fetch(self, *games: TeamGame, epoch: Epoch = EPOCH) -> None:
        self.observe(GamesFetched("file", games, (), epoch))

    def slate(self, known: Offset | None = None, *, merged: bool = False) -> list[GameUpdateMessage]:
        """What a miner that asks is sent."""
        request = SlateRequested(ConnectionId(1), MINER, known, merged=merged)
        asked = self.during(lambda: self.observe(request), SlateWriteRequested)
        return [part for request in asked for part in self.parts(request)]

    def parts(self, asked: SlateWriteRequested) -> list[GameUpdateMessage]:
        """The parts that a writer is asked for."""
        prepared = [part for event in self.all(SlatePrepared) for part in event.parts]
        broadcast = [event.message for event in self.all(BroadcastRequested)]
        if asked.known is None or asked.merged:
            parts = [part for part in prepared if (part.offset, part.previous) == (asked.offset, asked.known)]
        else:
            parts = [part for part in broadcast if asked.known < part.offset <= asked.offset]  # type: ignore[misc]
        assert len(parts) == asked.frames
        return parts
