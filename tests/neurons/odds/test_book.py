"""The last good odds: kept, dropped at their start, restored, and quiet if nothing but a date has changed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.edges.game_file import read_games
from bettensor.neurons.odds.book import AnswerVersion, OddsBook
from bettensor.neurons.odds.odds_api import read_events
from tests.neurons.odds.feeds import make_bookmaker, make_event

AT = Micros(int(datetime(2027, 6, 17, 21, 0, tzinfo=UTC).timestamp()) * SECOND)
START = Micros(int(datetime(2027, 6, 18, 0, 5, tzinfo=UTC).timestamp()) * SECOND)


def take(book: OddsBook, sport: str, *events: dict[str, Any], etag: str | None = None) -> None:
    book.take(
        sport, read_events(events, "decimal", datetime(2027, 6, 17, tzinfo=UTC)).listings, AnswerVersion(etag=etag), AT
    )


def games(book: OddsBook, *sports: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(book.document(sports))["games"]
    return found


def test_a_game_that_differs_only_in_its_dates_stays_as_it_was() -> None:
    book = OddsBook("test", ["q"])
    take(book, "mlb", make_event())
    first = games(book, "mlb")
    take(book, "mlb", make_event(bookmakers=[make_bookmaker(updated="2027-06-17T20:30:00Z")]))
    assert games(book, "mlb") == first
    prices = {"Chicago Cubs": 1.92, "San Francisco Giants": 2.0}
    take(book, "mlb", make_event(bookmakers=[make_bookmaker(prices=prices, updated="2027-06-17T20:45:00Z")]))
    (game,) = games(book, "mlb")
    assert game["team_a_odds"] == 1.92
    assert (game["create_date"], game["last_update_date"]) == (
        "2027-06-17T20:00:00.000000Z",
        "2027-06-17T20:45:00.000000Z",
    )


def test_games_that_have_started_are_dropped() -> None:
    book = OddsBook("test", ["q"])
    assert book.next_start() is None
    take(book, "mlb", make_event(), make_event(id="later", commence_time="2027-06-18T00:05:00.000001Z"))
    assert book.next_start() == START
    book.drop_started(START)
    assert [game["game_id"] for game in games(book, "mlb")] == ["later"]


def test_the_document_is_a_games_file_of_the_chosen_sports(tmp_path: Path) -> None:
    book = OddsBook("test", ["q"])
    take(book, "mlb", make_event(), make_event(id="both"))
    take(book, "upcoming", make_event(id="both", sport_title="other"), make_event(id="third"))
    take(book, "nhl", make_event(id="unasked"))
    file = tmp_path / "games.json"
    file.write_text(book.document(["mlb", "upcoming", "absent"]))
    slate = read_games(file, AT, AT)
    assert [(game.game_id[:5], game.league) for game in slate.games] == [
        ("both", "MLB"),
        ("e9123", "MLB"),
        ("third", "MLB"),
    ]
    assert slate.withheld == ()


def test_a_later_run_takes_the_answers_to_the_same_question() -> None:
    book, same, other = OddsBook("test", ["q"]), OddsBook("test", ["q"]), OddsBook("test", ["another"])
    take(book, "mlb", make_event(), etag='"1"')
    document = book.document(["mlb"]).encode()
    same.restore(document)
    assert same.document(["mlb"]).encode() == document
    kept = same["mlb"]
    assert kept is not None
    assert (kept.at, kept.version) == (AT, AnswerVersion(etag='"1"'))
    other.restore(document)
    assert other["mlb"] is None


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("{", "[", "Expected `object`|malformed"),
        ('"games"', '"game"', "missing required field `games`"),
        ("2027-06-18T00:05:00.000000Z", "soon", "Invalid isoformat"),
        ('"question"', '"q"', "missing required field `question`"),
        ('"event_start_date"', '"start"', "missing required field `event_start_date`"),
        ('"2027-06-18T00:05:00.000000Z"', "7", "Expected `str`, got `int`"),
        ('"game_id"', '"id"', "missing required field `game_id`"),
        (f'"at": {AT}', '"at": -1', "Expected `int` >= 0"),
        (f'"at": {AT}', '"at": 1000000000000000000', "Expected `int` <="),
        ('"etag": null', r'"etag": "\n"', "matching regex"),
        ('"etag": null', '"etag": "é"', "matching regex"),
        ('"etag": null', f'"x": {"[" * 20_000}', "nested"),
    ],
)
def test_what_no_run_has_written_is_refused(old: str, new: str, fault: str) -> None:
    book = OddsBook("test", ["q"])
    take(book, "mlb", make_event())
    with pytest.raises(ValueError, match=fault):
        OddsBook("test", ["q"]).restore(book.document(["mlb"]).replace(old, new).encode())


def test_an_answer_is_confirmed() -> None:
    book = OddsBook("test", ["q"])
    take(book, "mlb", make_event(), etag='"1"')
    book.confirm("mlb", Micros(AT + 5))
    kept = book["mlb"]
    assert kept is not None
    assert kept.at == AT + 5
