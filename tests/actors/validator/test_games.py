"""The validator's slate: what changed, and when it is in force."""

from dataclasses import replace

import pytest

from bettensor.bus.events import (
    FeedFailed,
    GamesUpdated,
    OddsDoubted,
    SettingsReloaded,
    StreamOpened,
    UpdateStored,
    UpdateStoreFailed,
    UpdateStoreRequested,
)
from bettensor.bus.identifiers import Epoch, GameId, Offset
from tests.actors.validator.slates import EPOCH, Bench
from tests.support import make_game


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


# --- odds that no bookmaker has

AMERICAN = make_game("a", team_a_odds=120, team_b_odds=105)


def test_a_game_with_implausible_odds_is_not_offered_and_the_others_are() -> None:
    bench = Bench()
    bench.fetch(AMERICAN, make_game("b"))
    (doubted,) = bench.last(OddsDoubted).games
    assert doubted.game_id == "a"
    assert doubted.reason.endswith("(American odds?)")
    assert [game.game_id for game in bench.last(GamesUpdated).games] == ["b"]


@pytest.mark.parametrize("odds", [0.0, -110.0, 1.0])
def test_a_feed_of_ones_own_may_give_any_number(odds: float) -> None:
    bench = Bench()
    bench.fetch(make_game("a", team_a_odds=odds), make_game("b"))
    assert [game.game_id for game in bench.last(OddsDoubted).games] == ["a"]
    assert [game.game_id for game in bench.last(GamesUpdated).games] == ["b"]


def test_a_game_that_miners_know_is_withdrawn_while_its_odds_are_implausible() -> None:
    """Its old odds are no longer the feed's word, so nobody may be judged by them."""
    bench = Bench()
    bench.fetch(make_game("a"), make_game("b"))
    bench.fetch(make_game("a", team_a_odds=180, team_b_odds=210), make_game("b"))
    assert [(game.game_id, game.active) for game in bench.last(GamesUpdated).games] == [("a", False)]
    bench.fetch(make_game("a", team_a_odds=1.9), make_game("b"))
    (game,) = bench.last(GamesUpdated).games
    assert (game.game_id, game.active, game.team_a_odds) == ("a", True, 1.9)
    assert bench.last(OddsDoubted).games == ()


def test_doubts_are_told_when_they_change() -> None:
    bench = Bench()
    bench.fetch(AMERICAN, make_game("b"))
    bench.fetch(AMERICAN, make_game("b"))
    assert len(bench.all(OddsDoubted)) == 1
    bench.fetch(AMERICAN, replace(AMERICAN, game_id=GameId("b")))
    assert [game.game_id for game in bench.last(OddsDoubted).games] == ["a", "b"]
    bench.fetch(make_game("a"))
    bench.fetch(AMERICAN)
    assert [game.game_id for game in bench.last(OddsDoubted).games] == ["a"]


def test_an_inactive_game_may_have_any_odds() -> None:
    bench = Bench()
    bench.fetch(make_game("a"))
    bench.fetch(make_game("a", active=False, team_a_odds=1.0))
    assert bench.all(OddsDoubted) == []
    assert [(game.game_id, game.team_a_odds) for game in bench.last(GamesUpdated).games] == [("a", 1.0)]


def test_other_limits_judge_the_present_slate_at_once() -> None:
    bench = Bench()
    bench.fetch(make_game("a", team_a_odds=3, team_b_odds=4), make_game("b"))
    settings = {"min_implied_probability": 0.5, "max_implied_probability": 2.0}
    bench.observe(SettingsReloaded({"games": settings}, ("actors.games.min_implied_probability",), ()))
    assert [game.game_id for game in bench.last(GamesUpdated).games] == ["a"]
    assert bench.last(OddsDoubted).games == ()


def test_a_stored_slate_stays_until_the_feed_has_been_read() -> None:
    bench = Bench()
    bench.observe(StreamOpened(EPOCH, Offset(3), (make_game("a"),), ()), FeedFailed("games.json", "not JSON"))
    settings = {"min_implied_probability": 0.5, "max_implied_probability": 2.0}
    bench.observe(SettingsReloaded({"games": settings}, (), ()))
    assert bench.all(UpdateStoreRequested) == []
    bench.fetch(make_game("b"))
    changed = bench.last(GamesUpdated)
    assert (changed.offset, [(game.game_id, game.active) for game in changed.games]) == (4, [("b", True), ("a", False)])
