"""A slate from a file: what is wrong is refused with its place, what cannot be offered is withheld alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import DAY, rfc3339
from bettensor.neurons.edges.game_file import FetchedSlate, read_games
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


@pytest.mark.parametrize(
    ("game", "fault"),
    [
        (entry(team_a=...), "missing required field `team_a`"),
        (entry(team_a=7), "`str`, got `int` - at `team_a`"),
        (entry(team_a_odds="1.8"), "at `team_a_odds`"),
        (entry(team_a="x" * 257), "at `team_a`"),
        (entry(game_id=""), "at `game_id`"),
        (entry(game_id="\ud800"), "half of a surrogate pair"),
        (entry(can_tie=True), "tie_odds: expected with can_tie: true"),
        (entry(tie_odds=3.0), "tie_odds: expected null with can_tie: false"),
        (entry(event_start_date="tomorrow"), "event_start_date: expected a time like"),
        (entry(event_start_date="2027-01-01T00:00:00"), "event_start_date: expected a time like"),
        (entry(event_start_date="PT"), "event_start_date: expected a time like"),
        (entry(even_start_date="PT1H"), "even_start_date: a game has no such field; the nearest is 'event_start_date'"),
        ("game", "expected a game with its fields"),
    ],
)
def test_a_file_that_is_structurally_wrong_is_refused_with_game_and_field(
    tmp_path: Path, game: Any, fault: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, entry(game_id="good"), game)
    assert "games.json: games.1" in str(refused.value)
    assert fault.lower() in str(refused.value).lower()


@pytest.mark.parametrize(
    ("text", "fault"), [("", "not JSON"), ("{", "not JSON"), ("7", "expected"), ('{"game": []}', "expected")]
)
def test_a_file_that_is_no_slate_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        read(tmp_path, text=text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_games(tmp_path / "absent.json", NOW, NOW)
    (tmp_path / "latin").write_bytes(b'"\xff"')
    with pytest.raises(ConfigurationError, match="not JSON"):
        read_games(tmp_path / "latin", NOW, NOW)


def test_games_beyond_a_whole_slate_are_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.game_file.MAX_SLATE", 1)
    slate = read(tmp_path, entry(game_id="first"), entry(game_id="second"))
    assert [game.game_id for game in slate.games] == ["first"]
    assert [withheld.reason for withheld in slate.withheld] == ["a slate has 1 games at most"]


@pytest.mark.parametrize(
    ("game", "reason"),
    [
        (entry(team_a_odds=1.0), "team_a_odds: expected a finite number above 1"),
        (entry(team_b_odds=0.0), "team_b_odds: expected a finite number above 1"),
        (entry(can_tie=True, tie_odds=-3.0), "tie_odds: expected a finite"),
        (entry(event_start_date="P0D"), "it started at"),
        (entry(event_start_date=rfc3339(Micros(NOW - DAY))), "it started at"),
        (entry(game_id="good"), "there twice"),
        (entry(team_b="A"), "against itself"),
    ],
)
def test_a_game_that_cannot_be_offered_is_withheld_alone(tmp_path: Path, game: Any, reason: str) -> None:
    slate = read(tmp_path, entry(game_id="good"), game, entry(game_id="fine"))
    assert [game.game_id for game in slate.games] == ["good", "fine"]
    (withheld,) = slate.withheld
    assert reason in withheld.reason


@pytest.mark.parametrize("odds", ["NaN", "Infinity"])
def test_odds_that_are_no_number_are_withheld(tmp_path: Path, odds: str) -> None:
    text = json.dumps([entry()]).replace("1.8", odds)
    assert "finite" in read(tmp_path, text=text).withheld[0].reason


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
