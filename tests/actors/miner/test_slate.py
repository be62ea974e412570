"""The miner's copy of a slate: what is applied, what is missed, and what no honest validator says."""

from dataclasses import replace

import pytest

from bettensor.actors.miner.slate import SlateActor
from bettensor.bus.events import GamesUpdated, KnownSlate, MessageAccepted, OutboxOpened, PeerMisbehaved, UpdateMissed
from bettensor.bus.identifiers import ConnectionId, Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage, HeartbeatMessage, WebSocketMessage
from tests.actors.miner.messages import CONNECTION, EPOCH, VALIDATOR, update, welcome
from tests.support import Harness, make_game


class SlateBench(Harness):
    def __init__(self, session_epoch: Epoch | None = EPOCH) -> None:
        super().__init__(SlateActor())
        self.hear(welcome(epoch=session_epoch))

    def hear(self, message: WebSocketMessage) -> None:
        self.observe(MessageAccepted(CONNECTION, VALIDATOR, message))

    def positions(self) -> list[tuple[int, bool, int]]:
        return [(event.offset, event.snapshot, len(event.games)) for event in self.all(GamesUpdated)]


def test_a_snapshot_then_updates_that_fit() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a"), make_game("b")))
    bench.hear(update(4, 3, make_game("a", active=False)))
    bench.hear(update(7, 2, make_game("b")))  # merged: it follows something that we are past already
    assert bench.positions() == [(3, True, 2), (4, False, 1), (7, False, 1)]


@pytest.mark.parametrize(
    ("why", "message"),
    [
        ("an old broadcast replayed", update(3, 2, make_game())),
        ("a gap", update(5, 4, make_game())),
        ("another epoch", update(4, 3, make_game(), epoch=Epoch("f" * 32))),
        ("a snapshot of another epoch", update(9, None, make_game(), epoch=Epoch("f" * 32))),
    ],
)
def test_an_update_that_does_not_fit_is_not_applied(why: str, message: GameUpdateMessage) -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    bench.hear(message)
    assert (why, bench.positions()) == (why, [(3, True, 1)])
    assert bool(bench.all(PeerMisbehaved)) == ("another epoch" in why)


def test_an_older_snapshot_is_not_applied_and_on_one_session_it_is_a_lie() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    bench.observe(MessageAccepted(ConnectionId(-7), VALIDATOR, update(2, None, make_game())))  # overtaken, by HTTP
    assert not bench.all(PeerMisbehaved)
    bench.hear(update(4, 3, make_game("a")))
    bench.hear(update(1, None, make_game("b")))
    assert bench.positions() == [(3, True, 1), (4, False, 1)]
    assert [lie.fault for lie in bench.all(PeerMisbehaved)] == ["an update to offset 1 after an update to offset 4"]


def test_an_update_without_a_snapshot_before_is_not_applied() -> None:
    bench = SlateBench()
    bench.hear(update(4, 3, make_game()))
    assert bench.positions() == []


def test_a_heartbeat_that_is_ahead_or_an_update_that_leaves_a_gap_shows_what_was_missed() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(3)))
    bench.hear(HeartbeatMessage(epoch=Epoch("f" * 32), offset=Offset(9)))
    bench.hear(HeartbeatMessage())
    bench.hear(update(3, 2, make_game("old")))
    assert bench.all(UpdateMissed) == []
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(5)))
    bench.hear(update(7, 6, make_game("b")))
    assert [(missed.known, missed.ahead) for missed in bench.all(UpdateMissed)] == [(3, 5), (3, 7)]


def test_parts_are_applied_together_after_the_last() -> None:
    bench = SlateBench()
    for part in (1, 2, 3):
        assert bench.positions() == []
        bench.hear(update(3, None, make_game(f"game-{part}"), part=part, parts=3))
    assert bench.positions() == [(3, True, 3)]


@pytest.mark.parametrize("order", [(1, 3), (2, 3), (2, 1, 3), (1, 1, 3), (3,)])
def test_parts_that_are_missing_or_out_of_order_void_the_update(order: tuple[int, ...]) -> None:
    bench = SlateBench()
    for part in order:
        bench.hear(update(3, None, make_game(f"game-{part}"), part=part, parts=3))
    assert bench.positions() == []
    for part in (1, 2, 3):
        bench.hear(update(3, None, make_game(f"game-{part}"), part=part, parts=3))
    assert bench.positions() == [(3, True, 3)]


def test_a_slate_has_only_so_many_games(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.miner.slate.MAX_SLATE", 3)
    games = [make_game(f"game-{number}") for number in range(6)]
    bench = SlateBench()
    bench.hear(update(3, None, *games[:2], part=1, parts=3))
    bench.hear(update(3, None, *games[2:4], part=2, parts=3))
    assert bench.last(PeerMisbehaved).fault == "a slate of more than 3 games"
    bench.hear(update(3, None, *games[4:], part=3, parts=3))
    bench.hear(update(4, None, *games[:3]))
    bench.hear(update(5, 4, games[3]))  # one more than there may be
    bench.hear(update(6, 4, replace(games[0], active=False)))
    bench.hear(update(7, 6, games[3]))  # in the place of that one
    assert bench.positions() == [(4, True, 3), (6, False, 1), (7, False, 1)]
    assert len(bench.all(PeerMisbehaved)) == 2


def test_a_game_that_comes_in_several_parts_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.miner.slate.MAX_SLATE", 3)
    games = [make_game(f"game-{number}") for number in range(3)]
    bench = SlateBench()
    bench.hear(update(3, None, *games[:2], part=1, parts=2))
    bench.hear(update(3, None, *games[1:], part=2, parts=2))
    bench.hear(update(4, 3, *games[:2], part=1, parts=2))
    bench.hear(update(4, 3, *games[1:], part=2, parts=2))
    assert bench.positions() == [(3, True, 3), (4, False, 3)]
    assert bench.all(PeerMisbehaved) == []


def test_the_games_of_a_slate_are_counted_after_a_restart_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.miner.slate.MAX_SLATE", 1)
    bench = SlateBench()
    bench.observe(OutboxOpened((), (KnownSlate(VALIDATOR, EPOCH, Offset(3), (make_game("a"),)),)))
    bench.hear(update(4, 3, make_game("b")))
    assert bench.last(PeerMisbehaved).fault == "a slate of more than 1 games"


def test_parts_of_two_updates_are_not_mixed() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("old"), part=1, parts=2))
    bench.hear(update(4, None, make_game("new"), part=2, parts=2))
    assert bench.positions() == []


def test_an_http_exchange_between_two_parts_does_not_void_the_update() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a"), part=1, parts=2))
    bench.observe(MessageAccepted(ConnectionId(-1), VALIDATOR, welcome()))  # of a POST, whose answer has no games
    bench.hear(update(3, None, make_game("b"), part=2, parts=2))
    assert bench.positions() == [(3, True, 2)]


def test_parts_of_two_connections_are_not_mixed() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("old"), part=1, parts=2))
    bench.observe(MessageAccepted(ConnectionId(2), VALIDATOR, welcome()))
    bench.observe(MessageAccepted(ConnectionId(2), VALIDATOR, update(3, None, make_game("new"), part=2, parts=2)))
    assert bench.positions() == []


def test_a_new_session_begins_with_its_own_epoch() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    fresh = Epoch("f" * 32)
    bench.hear(welcome(epoch=fresh))
    bench.hear(update(1, None, make_game("b"), epoch=fresh))
    assert bench.positions() == [(3, True, 1), (1, True, 1)]


def test_before_the_validator_had_a_slate_any_first_epoch_will_do_and_no_second_one() -> None:
    bench = SlateBench(session_epoch=None)
    bench.hear(update(1, None, make_game("a")))
    assert bench.positions() == [(1, True, 1)]
    bench.hear(update(9, None, make_game("old"), epoch=Epoch("f" * 32)))  # an old broadcast replayed
    assert bench.positions() == [(1, True, 1)]


def test_a_gap_is_seen_though_the_validator_had_no_slate_at_its_welcome() -> None:
    bench = SlateBench(session_epoch=None)
    bench.hear(HeartbeatMessage())
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(2)))
    bench.hear(update(2, None, make_game("a")))
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(3)))
    assert [(missed.known, missed.ahead) for missed in bench.all(UpdateMissed)] == [(0, 2), (2, 3)]


def test_a_slate_of_an_earlier_run_takes_the_updates_that_follow_it() -> None:
    bench = Harness(SlateActor())
    bench.observe(OutboxOpened((), (KnownSlate(VALIDATOR, EPOCH, Offset(3), (make_game("a"),)),)))
    bench.observe(MessageAccepted(CONNECTION, VALIDATOR, welcome(offset=Offset(4), recovered=True)))
    bench.observe(MessageAccepted(CONNECTION, VALIDATOR, update(4, 3, make_game("b"))))
    assert [(event.offset, event.snapshot) for event in bench.all(GamesUpdated)] == [(4, False)]
