"""The validator's side of the game stream: what changed, and the slate for those who need it."""

from actors.broadcast import BroadcastActor
from actors.games import GamesActor
from bus import codec
from bus.events import GamesFetched, GamesUpdated, NeuronStarted, SendRequested, SlateRequested
from bus.games import TeamGame
from bus.identifiers import ConnectionId, Epoch
from bus.messages import MAX_FRAME_BYTES, GameUpdateMessage
from tests.support import NETUID, Harness, make_game, make_hotkey, stamp

VALIDATOR, MINER = make_hotkey("validator"), make_hotkey()
EPOCH = Epoch("e" * 32)


class Bench(Harness):
    def __init__(self) -> None:
        super().__init__(GamesActor(), BroadcastActor())
        self.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0))

    def fetch(self, *games: TeamGame, epoch: Epoch = EPOCH) -> None:
        self.observe(GamesFetched("file", games, (), epoch))

    def slate(self) -> list[GameUpdateMessage]:
        """What a miner that asks is sent."""
        sent = self.during(lambda: self.observe(SlateRequested(ConnectionId(1), MINER)), SendRequested)
        return [send.message for send in sent if isinstance(send.message, GameUpdateMessage)]


def test_the_first_slate_is_a_snapshot_and_later_ones_are_what_changed() -> None:
    bench = Bench()
    bench.fetch(make_game("a"), make_game("b"))
    bench.fetch(make_game("a"), make_game("b", team_a_odds=1.5), make_game("c"), epoch=Epoch("f" * 32))
    first, second = bench.all(GamesUpdated)
    assert (first.epoch, first.offset, first.snapshot, len(first.games)) == (EPOCH, 1, True, 2)
    assert (second.epoch, second.offset, second.snapshot) == (EPOCH, 2, False)
    assert [game.game_id for game in second.games] == ["b", "c"]


def test_a_slate_that_did_not_change_is_no_update() -> None:
    bench = Bench()
    bench.fetch(make_game("a"))
    bench.fetch(make_game("a"))
    assert len(bench.all(GamesUpdated)) == 1


def test_an_empty_first_slate_begins_the_stream_all_the_same() -> None:
    bench = Bench()
    bench.fetch()
    assert [(event.offset, event.games) for event in bench.all(GamesUpdated)] == [(1, ())]
    (message,) = bench.slate()
    assert message.updated_games == {}


def test_a_game_that_is_gone_leaves_inactive() -> None:
    bench = Bench()
    bench.fetch(make_game("a"), make_game("b"))
    bench.fetch(make_game("a"))
    (gone,) = bench.last(GamesUpdated).games
    assert (gone.game_id, gone.active) == ("b", False)
    (message,) = bench.slate()
    assert (list(message.updated_games), message.offset, message.previous) == (["a"], 2, None)


def test_a_large_slate_comes_in_parts_that_fit_in_frames() -> None:
    bench = Bench()
    games = [make_game(f"game-{i}", team_a="ü" * 256, team_b="x" * 256, league="y" * 256) for i in range(300)]
    bench.fetch(*games)
    messages = bench.slate()
    assert [message.part for message in messages] == list(range(1, len(messages) + 1))
    assert {message.parts for message in messages} == {len(messages)}
    assert [game for message in messages for game in message.updated_games] == [game.game_id for game in games]
    assert all(len(codec.encode(stamp(message, VALIDATOR))) + 131 <= MAX_FRAME_BYTES for message in messages)


def test_before_there_is_a_slate_there_is_nothing_to_send() -> None:
    assert Bench().slate() == []
