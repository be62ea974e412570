"""Games with their odds: shifted, merged, in order."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from bettensor.neurons.odds.listing import Listing, Omission, ReadOdds, id_of, merged
from bettensor.neurons.odds.prices import Quote

START = datetime(2027, 6, 18, tzinfo=UTC)


def listing(game_id: str, home: str = "A", hours: int = 0) -> Listing:
    quote = Quote(Fraction(19, 10), Fraction(2))
    return Listing(game_id, home, "B", "s", "l", START, START + timedelta(hours=hours), quote)


def test_a_shift_moves_both_times() -> None:
    entry = listing("g").shifted(timedelta(days=1, microseconds=1)).entry()
    assert entry["event_start_date"] == entry["last_update_date"] == "2027-06-19T00:00:00.000001Z"


def test_of_several_games_with_one_id_the_first_counts() -> None:
    one = ReadOdds(2, [listing("g", "first", 2)], [Omission(0, "bad", "why")], [])
    two = ReadOdds(2, [listing("g", "second"), listing("early")], [], [Omission(1, "g", "bookmaker")])
    reading = merged([one, two])
    assert [(game.game_id, game.home) for game in reading.listings] == [("early", "A"), ("g", "first")]
    assert (reading.rows, len(reading.skipped), len(reading.left_out)) == (4, 1, 1)


def test_what_a_service_says_cannot_move_a_cursor() -> None:
    assert str(Omission(3, id_of({"id": "\x1b[2J"}, "id"), "bookmakers.\x1b[2J: wrong")) == (
        r"row 3 (game '\\x1b[2J'): bookmakers.\x1b[2J: wrong"
    )
    assert [id_of(row, "id") for row in ({"id": 7}, {"id": None}, {}, 7)] == ["7", "", "", ""]
