"""A simulated game stream on demand: a slow disk, one that fails, and one that forgets. See ``tests/contracts`` too."""

from bettensor.bus.events import StreamOpened, UpdateStored, UpdateStoreFailed, UpdateStoreRequested
from bettensor.bus.identifiers import Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage
from bettensor.neurons.simulation import SimulatedGameStream, at_once
from tests.support import NETUID, Harness, make_game, make_hotkey, make_identity


class Bench(Harness):
    def __init__(self, stream: SimulatedGameStream | None = None) -> None:
        super().__init__()
        self.stream = stream or SimulatedGameStream(make_identity(), self.clock)
        self.stream.attach(self.bus)
        at_once(self.stream.open())

    def store(self, offset: int = 1) -> None:
        game = make_game(f"game-{offset}")
        previous = None if offset == 1 else Offset(offset - 1)
        place = {"netuid": NETUID, "epoch": Epoch("e" * 32), "offset": Offset(offset), "previous": previous}
        self.observe(UpdateStoreRequested((GameUpdateMessage(updated_games={game.game_id: game}, **place),)))  # type: ignore[arg-type]


def test_an_update_is_stamped_by_its_validator_when_it_is_stored() -> None:
    bench = Bench()
    bench.stream.held = True
    bench.store()
    assert bench.all(UpdateStored) == []
    bench.stream.release()
    (part,) = bench.last(UpdateStored).parts
    assert part.sender_hotkey == make_hotkey("validator")
    assert part.message_id


def test_while_it_fails_nothing_is_kept() -> None:
    bench = Bench()
    bench.stream.failing = "disk full"
    bench.store()
    assert [failed.reason for failed in bench.all(UpdateStoreFailed)] == ["disk full"]
    assert (bench.stream.games, bench.stream.last) == ({}, None)


def test_the_next_run_goes_on_unless_all_was_forgotten() -> None:
    bench = Bench()
    bench.store(1)
    bench.store(2)
    after = Bench(bench.stream)
    opened = after.last(StreamOpened)
    assert (opened.offset, len(opened.games), len(opened.updates)) == (2, 2, 1)
    bench.stream.forget()
    assert Bench(bench.stream).all(StreamOpened) == []
