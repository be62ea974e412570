"""The validator's side of the game stream: what changed, and the slate for those who need it."""

from bettensor.actors.stream import HISTORY, recoverable
from bettensor.actors.validator.broadcast import BroadcastActor
from bettensor.actors.validator.games import GamesActor
from bettensor.bus import codec
from bettensor.bus.events import (
    BroadcastRequested,
    GamesFetched,
    GamesUpdated,
    NeuronStarted,
    SendRequested,
    SlateRequested,
    UpdateStored,
    UpdateStoreFailed,
    UpdateStoreRequested,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import ConnectionId, Epoch, GameId, Offset
from bettensor.bus.messages import MAX_FRAME_BYTES, GameUpdateMessage
from bettensor.neurons.simulation import SimulatedGameStream
from tests.support import NETUID, Harness, make_game, make_hotkey, make_identity, stamp

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


def test_a_game_that_the_feed_calls_inactive_leaves_as_the_feed_has_it() -> None:
    bench = Bench()
    bench.fetch(make_game("a"), make_game("b"))
    bench.store.held = True
    bench.fetch(make_game("a"), make_game("b", active=False, outcome="Tie"))
    (part,) = bench.last(UpdateStoreRequested).parts
    assert [(game.active, game.outcome) for game in part.updated_games.values()] == [(False, "Tie")]


def test_a_game_that_is_inactive_and_not_on_the_slate_is_no_change() -> None:
    bench = Bench()
    bench.fetch(make_game("a"))
    bench.store.held = True
    off_the_slate = make_game("b", active=False)
    assert not bench.during(lambda: bench.fetch(make_game("a"), off_the_slate), UpdateStoreRequested)


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


def test_what_changed_is_broadcast_with_the_offset_that_it_follows() -> None:
    bench = Bench()
    bench.fetch(make_game("a"))
    bench.fetch(make_game("a", team_a_odds=1.5))
    _, update = (broadcast.message for broadcast in bench.all(BroadcastRequested))
    assert isinstance(update, GameUpdateMessage)
    assert (update.epoch, update.previous, update.offset, update.part, update.parts) == (EPOCH, 1, 2, 1, 1)
    assert list(update.updated_games) == ["a"]


def test_a_large_update_is_broadcast_in_parts() -> None:
    bench = Bench()
    bench.fetch()
    bench.fetch(*(make_game(f"game-{i}", team_a="x" * 256, team_b="y" * 256) for i in range(300)))
    parts = [broadcast.message for broadcast in bench.all(BroadcastRequested)][1:]
    assert len(parts) > 2
    assert {(part.offset, part.previous) for part in parts if isinstance(part, GameUpdateMessage)} == {(2, 1)}


def test_who_was_away_is_sent_the_very_updates_that_it_missed() -> None:
    bench = Bench()
    for odds in (1.5, 1.6, 1.7, 1.8):
        bench.fetch(make_game("a", team_a_odds=odds))
    broadcast = [event.message for event in bench.all(BroadcastRequested)]
    assert bench.slate(Offset(2)) == broadcast[2:]
    assert bench.slate(Offset(4)) == []


def test_what_was_held_back_is_told_in_one_update_by_game() -> None:
    bench = Bench()
    bench.fetch(make_game("a"), make_game("b"), make_game("c"))
    for odds in (1.5, 1.6, 1.7):
        bench.fetch(make_game("a", team_a_odds=odds), make_game("b", team_a_odds=odds + 1), make_game("c"))
    bench.fetch(make_game("a", team_a_odds=1.7), make_game("c"))
    (merged,) = bench.slate(Offset(1), merged=True)
    assert (merged.previous, merged.offset, merged.part, merged.parts) == (1, 5, 1, 1)
    assert sorted(merged.updated_games) == ["a", "b"]
    assert merged.updated_games[GameId("a")].team_a_odds == 1.7
    assert not merged.updated_games[GameId("b")].active  # it left meanwhile


def test_only_the_last_updates_are_kept() -> None:
    bench = Bench()
    for number in range(HISTORY + 11):
        bench.fetch(make_game("a", team_a_odds=1.5 + number / 100))
    end = Offset(HISTORY + 11)
    oldest = Offset(end - HISTORY)
    assert recoverable(oldest, end)
    assert not recoverable(Offset(oldest - 1), end)
    assert [message.offset for message in bench.slate(oldest)] == list(range(oldest + 1, end + 1))


def test_a_position_ahead_of_the_stream_or_before_its_beginning_is_not_recoverable() -> None:
    assert not recoverable(Offset(8), Offset(7))
    assert not recoverable(Offset(0), Offset(7))
    assert recoverable(Offset(7), Offset(7))


def test_nothing_is_in_force_or_told_before_it_is_stored() -> None:
    bench = Bench()
    bench.store.held = True
    bench.fetch(make_game("a"))
    assert bench.all(GamesUpdated) == []
    bench.fetch(make_game("a", team_a_odds=1.5))  # a newer slate, while the first is on its way to the disk
    bench.store.release()
    assert bench.all(UpdateStored)[0].parts[0].updated_games[GameId("a")].team_a_odds == 1.8
    bench.store.release()
    assert [(event.offset, event.snapshot) for event in bench.all(GamesUpdated)] == [(1, True), (2, False)]
    assert bench.last(GamesUpdated).games[0].team_a_odds == 1.5


def test_an_update_that_cannot_be_stored_is_tried_again_and_the_last_slate_stays_in_force() -> None:
    bench = Bench()
    bench.fetch(make_game("a"))
    bench.store.failing = "disk full"
    bench.fetch(make_game("a", team_a_odds=1.5))
    bench.advance(12)
    assert len(bench.all(UpdateStoreFailed)) == 3
    assert len(bench.all(GamesUpdated)) == 1
    assert bench.slate()[0].updated_games[GameId("a")].team_a_odds == 1.8
    bench.store.failing = None
    bench.fetch(make_game("a", team_a_odds=1.6))  # what is stored in the end is what the feed says by then
    assert bench.slate()[0].updated_games[GameId("a")].team_a_odds == 1.6
    assert bench.last(GamesUpdated).offset == 2
    bench.advance(12)
    assert len(bench.all(GamesUpdated)) == 2


def test_a_restart_goes_on_with_the_same_epoch_and_the_same_updates() -> None:
    before = Bench()
    for odds in (1.5, 1.6, 1.7):
        before.fetch(make_game("a", team_a_odds=odds), make_game("b"))
    told = before.slate(Offset(1))
    after = Harness(GamesActor(), BroadcastActor())
    after.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0))
    after.add(before.store)
    (resumed,) = after.all(GamesUpdated)
    assert (resumed.epoch, resumed.offset, resumed.snapshot, len(resumed.games)) == (EPOCH, 3, True, 2)
    again = (make_game("a", team_a_odds=1.7), make_game("b"))
    after.observe(GamesFetched("file", again, (), Epoch("f" * 32)))
    assert len(after.all(GamesUpdated)) == 1  # nothing has changed meanwhile
    after.observe(SlateRequested(ConnectionId(1), MINER, Offset(1)))
    assert [send.message for send in after.all(SendRequested)] == told
    after.observe(GamesFetched("file", again[:1], (), Epoch("f" * 32)))
    assert (after.last(GamesUpdated).epoch, after.last(GamesUpdated).offset) == (EPOCH, 4)
