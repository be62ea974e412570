"""The game stream: how much of it is kept, and how an update changes a slate."""

from bettensor.actors.stream import fold, recoverable
from bettensor.bus.identifiers import GameId, Offset
from tests.support import make_game


def test_a_position_ahead_of_the_stream_or_before_its_beginning_is_not_recoverable() -> None:
    assert not recoverable(Offset(8), Offset(7))
    assert not recoverable(Offset(0), Offset(7))
    assert recoverable(Offset(7), Offset(7))


def test_an_update_is_folded_into_a_slate_and_a_snapshot_takes_its_place() -> None:
    first, second, third = (make_game(name) for name in ("first", "second", "third"))
    slate = {first.game_id: first, second.game_id: second}
    fold(slate, (make_game("first", active=False), third, make_game("unknown", active=False)), snapshot=False)
    assert slate == {second.game_id: second, third.game_id: third}
    fold(slate, (first, make_game("second", active=False)), snapshot=True)
    assert slate == {first.game_id: first}


def test_a_slate_may_keep_less_than_whole_games() -> None:
    odds: dict[GameId, float] = {}
    fold(odds, (make_game("first"), make_game("second", team_a_odds=3.0)), snapshot=True, keep=lambda g: g.team_a_odds)
    assert odds == {"first": 1.8, "second": 3.0}
