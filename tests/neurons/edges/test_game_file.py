"""A slate from a file: a wrong game is withheld alone with its reason, and a file that is no slate is refused."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import DAY, rfc3339
from bettensor.neurons.edges.game_file import MAX_REASON, FetchedSlate, read_games
from tests.support import NOW

SHIPPED = Path(__file__).parents[3] / "neurons" / "data" / "games.json"


def entry(**changes: Any) -> dict[str, Any]:
    game = {
        "game_id": "g",
        "team_a": "A",
        "team_b": "B",
        "sport": "baseball",
        "league": "MLB",
        "event_start_date": "PT36H",
        "active": True,
        "team_a_odds": 1.8,
        "team_b_odds": 2.1,
        "can_tie": False,
    }
    return {name: value for name, value in (game | changes).items() if value is not ...}


def read(folder: Path, *games: Any, text: str | None = None) -> FetchedSlate:
    file = folder / "games.json"
    file.write_text(json.dumps({"games": games}) if text is None else text)
    return read_games(file, NOW, NOW)


def test_a_start_may_be_relative_to_the_start_of_the_run(tmp_path: Path) -> None:
    (game,) = read(tmp_path, entry()).games
    assert game.event_start_date == rfc3339(Micros(NOW + 36 * 3600 * SECOND))
    assert game.create_date == rfc3339(NOW)


@pytest.mark.parametrize("start", ["2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00", "2027-01-01T00:00:00.000000Z"])
def test_a_start_may_be_an_instant(tmp_path: Path, start: str) -> None:
    assert read(tmp_path, entry(event_start_date=start)).games[0].event_start_date == "2027-01-01T00:00:00.000000Z"


def test_a_list_alone_is_a_slate_too(tmp_path: Path) -> None:
    assert len(read(tmp_path, text=json.dumps([entry()])).games) == 1


FAULTS: list[tuple[Any, str]] = [
    (entry(team_a=...), "team_a: this field is required"),
    (entry(team_a=7), "team_a: expected str, got int"),
    (entry(active="yes"), "active: expected bool, got str"),
    (entry(team_a_odds=None), "team_a_odds: expected a number, not null"),
    (entry(team_a_odds="1,80"), 'team_a_odds: expected a number with a decimal point like 1.80, not "1,80"'),
    (entry(team_a_odds="evens"), 'team_a_odds: expected a number, not "evens"'),
    (entry(team_a_odds=[1.8]), "team_a_odds: expected a number, not [1.8]"),
    (entry(team_a_odds=True), "team_a_odds: expected a number, not true"),
    (entry(team_a_odds=10**1000), "team_a_odds: expected a number, not Infinity"),
    (entry(team_a_odds=1.0), "team_a_odds: expected a finite number above 1, not 1.0"),
    (entry(team_b_odds=0.0), "team_b_odds: expected a finite number above 1, not 0.0"),
    (
        entry(team_a_odds=-150, team_b_odds=130),
        "team_a_odds: expected a finite number above 1, not -150.0 (American od",
    ),
    (entry(can_tie=True, tie_odds=-3.0), "tie_odds: expected a finite"),
    (entry(team_a="x" * 257), "team_a: expected str of length <= 256"),
    (entry(game_id=""), "game_id: expected str of length >= 1"),
    (entry(game_id=7), "game_id: expected str, got int"),
    (entry(game_id="\ud800"), "a string has half of a surrogate pair"),
    (entry(league="\ud800"), "a string has half of a surrogate pair"),
    (entry(can_tie=True), "tie_odds: expected with can_tie: true, not null"),
    (entry(tie_odds=3.0), "tie_odds: expected null with can_tie: false, not 3.0"),
    (entry(event_start_date="tomorrow"), "event_start_date: expected a time like"),
    (entry(event_start_date="2027-01-01T00:00:00"), "event_start_date: expected a time like"),
    (entry(event_start_date="PT"), "event_start_date: expected a time like"),
    (entry(event_start_date="P99999999D"), "event_start_date: expected a time like"),
    (entry(event_start_date="9999-12-31T23:59:59-14:00"), "event_start_date: expected a time like"),
    (entry(event_start_date="0001-01-01T00:00:00+14:00"), "event_start_date: expected a time like"),
    (entry(last_update_date="yesterday"), 'last_update_date: expected a time like 2026-01-31T18:00:00Z, not "yest'),
    (entry(event_start_date=7), "event_start_date: expected str, got int"),
    (entry(even_start_date="PT1H"), "even_start_date: a game has no such field; the nearest is 'event_start_date'"),
    (entry(**{"x" * 2000: 1}), "xxx"),
    (entry(**{"\ud800\x1b": 1}), "\\ud800\\x1b: a game has no such field"),
    (entry(game_id="good"), 'game_id: "good" is there twice'),
    (entry(team_b="A"), 'team_b: "A" cannot play against itself'),
    ("game", 'expected a game with its fields, not "game"'),
    (None, "expected a game with its fields, not null"),
    ([], "expected a game with its fields, not []"),
]
"""Games that are wrong, each in one way, and the reasons for which they are withheld."""


@pytest.mark.parametrize(("game", "fault"), FAULTS)
def test_a_wrong_game_is_withheld_alone_with_place_field_and_what_was_expected(
    tmp_path: Path, game: Any, fault: str
) -> None:
    slate = read(tmp_path, entry(game_id="good"), game, entry(game_id="fine"))
    assert [game.game_id for game in slate.games] == ["good", "fine"]
    (withheld,) = slate.withheld
    assert withheld.reason.startswith(f"games.1: {fault}")
    assert len(withheld.reason) <= MAX_REASON
    assert not withheld.started
    msgspec.json.encode(withheld)  # a log can hold it


@pytest.mark.parametrize(
    ("game", "game_id"),
    [(entry(team_a=7), "g"), (entry(game_id=7), ""), ("game", ""), (entry(game_id="\ud800"), "\\ud800")],
)
def test_a_withheld_game_has_its_id_if_that_can_be_read(tmp_path: Path, game: Any, game_id: str) -> None:
    assert [withheld.game_id for withheld in read(tmp_path, game).withheld] == [game_id]


def test_of_a_wrong_game_and_a_second_one_with_its_id_none_is_offered(tmp_path: Path) -> None:
    slate = read(tmp_path, entry(team_a_odds=None), entry())
    assert slate.games == ()
    assert [withheld.reason for withheld in slate.withheld][1] == 'games.1: game_id: "g" is there twice'


@pytest.mark.parametrize("odds", ["1.80", " 1.8 ", "+1.8", 1.8])
def test_odds_may_be_text(tmp_path: Path, odds: Any) -> None:
    slate = read(tmp_path, entry(team_a_odds=odds, tie_odds="3.50", can_tie=True))
    assert slate.withheld == ()
    assert (slate.games[0].team_a_odds, slate.games[0].tie_odds) == (1.8, 3.5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_may_come_from_windows(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "games.json"
    file.write_bytes(json.dumps([entry()], indent=1).replace("\n", "\r\n").encode(encoding))
    assert len(read_games(file, NOW, NOW).games) == 1


@pytest.mark.parametrize(
    ("text", "fault"), [("", "not JSON"), ("{", "not JSON"), ("7", "expected"), ('{"game": []}', "expected")]
)
def test_a_file_that_is_no_slate_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        read(tmp_path, text=text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_games(tmp_path / "absent.json", NOW, NOW)
    (tmp_path / "latin").write_bytes(b'"\xff"')
    with pytest.raises(ConfigurationError, match="its byte 1 is no UTF-8 text"):
        read_games(tmp_path / "latin", NOW, NOW)


def test_games_beyond_a_whole_slate_are_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.game_file.MAX_SLATE", 1)
    slate = read(tmp_path, entry(game_id="first"), entry(game_id="second"))
    assert [game.game_id for game in slate.games] == ["first"]
    assert [withheld.reason for withheld in slate.withheld] == ["games.1: a slate has 1 games at most"]


@pytest.mark.parametrize("start", ["P0D", rfc3339(Micros(NOW - DAY))])
def test_a_game_that_has_started_is_withheld_and_that_is_no_fault(tmp_path: Path, start: str) -> None:
    slate = read(tmp_path, entry(game_id="good"), entry(event_start_date=start))
    assert [game.game_id for game in slate.games] == ["good"]
    (withheld,) = slate.withheld
    assert withheld.started
    assert withheld.reason.startswith("it started at")


@pytest.mark.parametrize("odds", ["NaN", "Infinity"])
def test_odds_that_are_no_number_are_withheld(tmp_path: Path, odds: str) -> None:
    text = json.dumps([entry()]).replace("1.8", odds)
    assert f"team_a_odds: expected a number, not {odds}" in read(tmp_path, text=text).withheld[0].reason


def test_the_shipped_slate_is_offered_whole_whenever_the_run_begins() -> None:
    for now in (NOW, Micros(NOW + 1000 * DAY)):
        slate = read_games(SHIPPED, now, now)
        assert slate.withheld == ()
        assert len(slate.games) >= 40


def test_the_shipped_slate_is_plausible() -> None:
    games = read_games(SHIPPED, NOW, NOW).games
    sports = {sport: [game for game in games if game.sport == sport] for sport in {game.sport for game in games}}
    assert set(sports) == {"soccer", "basketball", "baseball", "american_football"}
    assert all(len(of_sport) >= 10 for of_sport in sports.values())
    for game in games:
        assert game.can_tie is (game.sport == "soccer")
        margin = 1 / game.team_a_odds + 1 / game.team_b_odds + (1 / game.tie_odds if game.tie_odds else 0)
        assert 1.03 <= margin <= 1.08, game.game_id
    document = json.loads(SHIPPED.read_text())
    assert document["source"]
    assert document["date"]
