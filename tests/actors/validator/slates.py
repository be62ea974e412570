"""A validator's slate from the feed to its miners: the two actors, and a disk between them."""

from bettensor.actors.validator.broadcast import BroadcastActor
from bettensor.actors.validator.games import GamesActor
from bettensor.bus.events import GamesFetched, NeuronStarted, SendRequested, SlateRequested
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import ConnectionId, Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage
from bettensor.neurons.simulation import SimulatedGameStream
from tests.support import NETUID, Harness, make_hotkey, make_identity

VALIDATOR, MINER = make_hotkey("validator"), make_hotkey()
EPOCH = Epoch("e" * 32)


class Bench(Harness):
    def __init__(self) -> None:
        super().__init__(GamesActor(), BroadcastActor())
        self.store = SimulatedGameStream(make_identity(VALIDATOR), self.clock)
        self.add(self.store)
        self.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0))

    def fetch(self, *games: TeamGame, epoch: Epoch = EPOCH) -> None:
        self.observe(GamesFetched("file", games, (), epoch))

    def slate(self, known: Offset | None = None, *, merged: bool = False) -> list[GameUpdateMessage]:
        """What a miner that asks is sent."""
        request = SlateRequested(ConnectionId(1), MINER, known, merged=merged)
        sent = self.during(lambda: self.observe(request), SendRequested)
        return [send.message for send in sent if isinstance(send.message, GameUpdateMessage)]
