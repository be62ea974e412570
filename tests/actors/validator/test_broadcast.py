"""The slate for those who need it: all of it, what they missed, or what changed."""

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
    SlatePrepared,
    SlateRequested,
    SlateWriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, GameId, Offset
from bettensor.bus.messages import MAX_FRAME_BYTES, GameUpdateMessage
from tests.actors.validator.slates import EPOCH, MINER, VALIDATOR, Bench
from tests.support import NETUID, Harness, make_game, stamp


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
        bench.fetch(make_game("a", team_a_odds=odds), make_game("b", team_a_odds=odds + 0.5), make_game("c"))
    bench.fetch(make_game("a", team_a_odds=1.7), make_game("c"))
    (merged,) = bench.slate(Offset(1), merged=True)
    assert (merged.previous, merged.offset, merged.part, merged.parts) == (1, 5, 1, 1)
    assert sorted(merged.updated_games) == ["a", "b"]
    assert merged.updated_games[GameId("a")].team_a_odds == 1.7
    assert not merged.updated_games[GameId("b")].active  # it left meanwhile


def test_only_the_last_updates_are_kept() -> None:
    bench = Bench()
    for number in range(HISTORY + 11):
        bench.fetch(make_game("a", team_a_odds=1.5 + number / 1000))
    end = Offset(HISTORY + 11)
    oldest = Offset(end - HISTORY)
    assert recoverable(oldest, end)
    assert not recoverable(Offset(oldest - 1), end)
    assert [message.offset for message in bench.slate(oldest)] == list(range(oldest + 1, end + 1))


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
    (again_asked,) = after.all(SlateWriteRequested)
    assert (again_asked.known, again_asked.offset, again_asked.frames) == (1, 3, len(told))
    after.observe(GamesFetched("file", again[:1], (), Epoch("f" * 32)))
    assert (after.last(GamesUpdated).epoch, after.last(GamesUpdated).offset) == (EPOCH, 4)


# --- what is made once


def test_a_snapshot_is_made_once_for_all_who_need_it_while_it_is_up_to_date() -> None:
    bench = Bench()
    bench.fetch(make_game("a"), make_game("b"))
    slates = [bench.slate() for _ in range(5)]
    assert all(slate == slates[0] for slate in slates)
    assert len(bench.all(SlatePrepared)) == 1
    bench.fetch(make_game("a"))
    assert [list(part.updated_games) for part in bench.slate()] == [["a"]]
    assert len(bench.all(SlatePrepared)) == 2


def test_a_merged_update_is_made_once_for_all_who_lack_the_same() -> None:
    bench = Bench()
    for odds in (1.5, 1.6, 1.7, 1.8):
        bench.fetch(make_game("a", team_a_odds=odds))
    for known in (1, 2, 1, 2):
        bench.slate(Offset(known), merged=True)
    assert [event.parts[0].previous for event in bench.all(SlatePrepared)] == [1, 2]


def test_what_was_made_is_in_a_checkpoint_as_a_number_and_decides_the_same() -> None:
    bench = Bench()
    bench.fetch(*(make_game(f"game-{number}") for number in range(100)))
    (actor,) = bench.broadcasters
    before = len(str(actor.snapshot()))
    bench.slate()
    assert len(str(actor.snapshot())) - before < 20
    actor.restore(actor.snapshot())
    assert len(bench.slate()) == 1
    assert len(bench.all(SlatePrepared)) == 1


def test_a_log_of_release_0_1_0_is_decided_as_it_was() -> None:
    bench = Bench(is_of_0_1=True)
    for odds in (1.5, 1.6, 1.7):
        bench.fetch(make_game("a", team_a_odds=odds))
    bench.observe(SlateRequested(ConnectionId(1), MINER, None))
    bench.observe(SlateRequested(ConnectionId(1), MINER, Offset(1)))
    bench.observe(SlateRequested(ConnectionId(1), MINER, Offset(1), merged=True))
    sent = [send.message for send in bench.all(SendRequested)]
    assert [(m.offset, m.previous) for m in sent if isinstance(m, GameUpdateMessage)] == [
        (3, None),
        (2, 1),
        (3, 2),
        (3, 1),
    ]
    assert bench.all(SlateWriteRequested) == []
