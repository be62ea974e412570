"""The importer: from a file of either form, or from The Odds API; what is wrong is told, and takes nothing along."""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.game_file import read_games
from bettensor.neurons.odds.prices import OddsFormat
from tests.neurons.edges.odds_service import KEY, Answer, OddsService
from tests.neurons.existing.databases import write_database
from tests.neurons.odds.feeds import CUBS, GIANTS, make_bookmaker, make_event, make_game_row, make_snapshot
from tests.support import NOW

SYNTHETIC = Path(__file__).parents[2] / "data" / "mlb_odds_synthetic.json"
STARTING = "2027-01-01T18:00:00Z"
MLB, EPL = "baseball_mlb", "soccer_epl"


class Desk:
    """A folder in which somebody imports."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.source = folder / "odds.json"
        self.output = folder / "games.json"
        self._capsys = capsys

    def imports(self, *arguments: Any) -> tuple[int, str, str]:
        """Exit code, output and messages of ``games import``."""
        code = main(["games", "import", *map(str, arguments), "--output", str(self.output)])
        out, err = self._capsys.readouterr()
        return code, out, err

    def imports_rows(self, *rows: Any, flags: tuple[str, ...] = (), encoding: str = "utf-8") -> tuple[int, str, str]:
        self.source.write_text(json.dumps(rows), encoding=encoding)
        return self.imports(self.source, *flags)

    def games(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.output.read_text())["games"]
        return found


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddsService]:
    monkeypatch.setenv("ODDS_API_KEY", KEY)
    with OddsService().running() as service:
        yield service


# --- from a file


def test_snapshots_become_a_games_file(desk: Desk) -> None:
    code, out, err = desk.imports(SYNTHETIC, "--starting", STARTING)
    assert (code, out) == (0, f"{desk.output}: 3 games from 5 snapshots of an odds service, 1 skipped\n")
    assert err == "skipped row 0 (game '9001'): odds.average_home_odds: expected a number above 1, not 0.0\n"
    games = {game["game_id"]: game for game in desk.games()}
    assert sorted(games) == ["9002", "9003", "9004"]
    assert (games["9003"]["team_a_odds"], games["9003"]["team_b_odds"]) == (1.83, 2.01)
    assert json.loads(desk.output.read_text())["source"] == SYNTHETIC.name


def test_shifted_games_keep_their_distances_and_are_a_slate(desk: Desk) -> None:
    desk.imports(SYNTHETIC, "--starting", STARTING)
    slate = read_games(desk.output, NOW, NOW)
    starts = [parse_rfc3339(game.event_start_date) for game in slate.games]
    assert starts[0] == parse_rfc3339(STARTING)
    assert starts[1] - starts[0] == (19 * 86400 + 23 * 3600 + 25 * 60) * 1_000_000


def test_events_of_the_odds_api_become_a_games_file(desk: Desk) -> None:
    tie = make_bookmaker(prices={"Arsenal": 1.6, "Draw": 4.2, "Fulham": 5.6})
    epl = make_event(id="epl", sport_key="soccer_epl", home_team="Arsenal", away_team="Fulham", bookmakers=[tie])
    code, out, err = desk.imports_rows(make_event(), epl, make_event(id="none", bookmakers=[]))
    assert code == 0
    assert out.startswith(f"{desk.output}: 2 games from 3 events of The Odds API, 1 skipped")
    assert err == "skipped row 2 (game 'none'): bookmakers: none has odds (h2h)\n"
    assert [(game["team_a"], game["tie_odds"]) for game in desk.games()] == [(CUBS, None), ("Arsenal", 4.2)]


def test_games_of_an_existing_validator_keep_their_ids(desk: Desk) -> None:
    code, out, err = desk.imports_rows(make_game_row(), make_game_row(external_id=2, outcome=1))
    assert (code, out.startswith(f"{desk.output}: 1 game from 2 games of an existing validator, 1 skipped")) == (
        0,
        True,
    )
    assert err == "skipped row 1 (game '2'): outcome: it is over: 1\n"
    assert [game["game_id"] for game in desk.games()] == ["154313"]
    (game,) = read_games(desk.output, NOW, NOW).games
    assert (game.game_id, game.tie_odds) == ("154313", None)


def test_an_existing_validators_database_is_read_itself(desk: Desk) -> None:
    write_database(desk.source, games=(make_game_row(), make_game_row(game_id="b", external_id=2, outcome=1)))
    assert desk.imports(desk.source)[0] == 0
    assert [game["game_id"] for game in desk.games()] == ["154313"]
    desk.source.unlink()
    write_database(desk.source, tables=("CREATE TABLE predictions (name)",))
    code, _, err = desk.imports(desk.source)
    assert (code, "it has no table game_data" in err) == (2, True)


def test_a_byte_order_mark_and_numbers_as_text_are_read(desk: Desk) -> None:
    prices = {CUBS: "1.90", GIANTS: "2.05"}
    code, _, _ = desk.imports_rows(make_event(bookmakers=[make_bookmaker(prices=prices)]), encoding="utf-8-sig")
    assert code == 0
    assert desk.games()[0]["team_a_odds"] == 1.9


def test_every_format_can_be_named_and_no_other(desk: Desk) -> None:
    for form in get_args(OddsFormat):
        assert "invalid choice" not in desk.imports_rows(make_snapshot(), flags=("--odds-format", form))[2]
    with pytest.raises(SystemExit):
        desk.imports_rows(make_snapshot(), flags=("--odds-format", "malay"))


@pytest.mark.parametrize(
    ("form", "home", "away", "expected"),
    [("american", "+120", -140, (2.2, 1.714286)), ("fractional", "6/5", "evens", (2.2, 2.0))],
)
def test_other_formats_are_read_if_they_are_named(
    desk: Desk, form: str, home: Any, away: Any, expected: tuple[float, float]
) -> None:
    row = make_snapshot(odds={"average_home_odds": home, "average_away_odds": away})
    code, _, err = desk.imports_rows(row)
    assert code == 1
    assert f"Then use --odds-format {form}" in err
    assert desk.imports_rows(row, flags=("--odds-format", form))[0] == 0
    assert (desk.games()[0]["team_a_odds"], desk.games()[0]["team_b_odds"]) == expected


def test_games_that_have_started_are_counted(desk: Desk) -> None:
    _, out, _ = desk.imports_rows(make_snapshot(date="2024-06-18T00:05:00Z"))
    assert "a validator withholds 1 that started before now, unless --starting shifts them" in out


def test_a_bookmaker_that_is_left_out_is_told(desk: Desk) -> None:
    wrong = make_bookmaker("wrong", {CUBS: 0, GIANTS: 2})
    code, _, err = desk.imports_rows(make_event(bookmakers=[make_bookmaker(), wrong]))
    assert code == 0
    assert err.startswith("left out row 0 (game 'e912304de2b2ce35b473ce2ecd3d1502'): bookmakers.wrong: Chicago Cubs: ")


def test_json_has_each_omission(desk: Desk) -> None:
    code, out, _ = desk.imports_rows(make_snapshot(), make_snapshot(home=7), flags=("--json",))
    found = json.loads(out)
    assert code == 0
    assert (found["form"], found["rows"], found["games"]) == ("snapshots of an odds service", 2, 1)
    assert found["skipped"][0] == {
        "row": 1,
        "game_id": "154313",
        "reason": "home: expected str, got int",
        "unpriced": False,
    }


@pytest.mark.parametrize("rows", [[], [make_event(bookmakers=[])], [make_snapshot(home=7)]])
def test_if_no_game_is_left_the_games_file_stays_as_it_was(desk: Desk, rows: list[Any]) -> None:
    desk.output.write_text("what was there")
    code, out, err = desk.imports_rows(*rows)
    assert (code, out) == (1, "")
    assert f"bettensor: {desk.output}: not written" in err or "the list is empty" in err
    assert desk.output.read_text() == "what was there"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("not json", "odds.json: not JSON"),
        ('{"message": "API key is not valid"}', "odds.json: expected a list of snapshots"),
        ('[{"captured": 1}, {"home_team": 2}]', "odds.json: expected a list of snapshots of an odds service or events"),
        ("[7]", "odds.json: expected a list of snapshots"),
    ],
)
def test_what_is_no_list_of_one_form_is_refused(desk: Desk, text: str, fault: str) -> None:
    desk.source.write_text(text)
    code, _, err = desk.imports(desk.source)
    assert code == 2
    assert fault in err
    assert not desk.output.exists()


def test_files_that_cannot_be_read_or_written_are_named(desk: Desk, tmp_path: Path) -> None:
    assert "absent.json: there is no such file" in desk.imports(tmp_path / "absent.json")[2]
    desk.output = tmp_path / "nowhere" / "games.json"
    code, _, err = desk.imports(SYNTHETIC)
    assert code == 2
    assert "nowhere/games.json: cannot be written: No such file" in err


def test_where_the_disk_takes_no_more_the_games_file_stays_as_it_was(desk: Desk, tmp_path: Path) -> None:
    desk.output.write_text("what was there")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        code, _, err = desk.imports(SYNTHETIC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "games.json: cannot be written: File too large" in err
    assert desk.output.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [desk.output]


def test_what_is_no_file_is_written_to_as_it_is(desk: Desk, tmp_path: Path) -> None:
    desk.output = tmp_path / "pipe"
    os.mkfifo(desk.output)
    reading = os.open(desk.output, os.O_RDONLY | os.O_NONBLOCK)
    desk.imports(SYNTHETIC)
    assert len(json.loads(os.read(reading, 1 << 16))["games"]) == 3
    os.close(reading)
    assert desk.output.is_fifo()


# --- from the service


def test_the_odds_of_several_sports_become_one_games_file(desk: Desk, service: OddsService) -> None:
    service.will(MLB, Answer([make_event(), make_event(id="bad", home_team=None)]))
    service.will(EPL, Answer([make_event(id="epl", sport_title="EPL")]))
    flags = ("--odds-api", MLB, "--odds-api", EPL, "--regions", "us, eu", "--url", service.url)
    code, out, err = desk.imports(*flags)
    assert (code, out) == (0, f"{desk.output}: 2 games from 3 events of The Odds API, 1 skipped\n")
    assert err == "skipped row 1 (game 'bad'): home_team: expected str, got null\n"
    assert sorted(game["league"] for game in desk.games()) == ["EPL", "MLB"]
    assert service.asked[0].query["regions"] == ["us,eu"]
    assert KEY not in desk.output.read_text()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (
            Answer({"message": f"{KEY} is not valid"}, 401),
            "The Odds API: baseball_mlb: 401 *** is not valid; check the",
        ),
        (Answer(b"<html>"), "The Odds API: baseball_mlb: not JSON"),
        (Answer(b"", 429, {"Retry-After": "3"}), "The Odds API: baseball_mlb: 429"),
    ],
)
def test_a_service_that_has_no_odds_changes_nothing(
    desk: Desk, service: OddsService, answer: Answer, fault: str
) -> None:
    service.will(MLB, answer)
    desk.output.write_text("what was there")
    code, out, err = desk.imports("--odds-api", MLB, "--url", service.url)
    assert (code, out) == (1, "")
    assert fault in err
    assert KEY not in err
    assert desk.output.read_text() == "what was there"


def test_a_service_without_games_leaves_the_games_file(desk: Desk, service: OddsService) -> None:
    service.will(MLB, Answer([]))
    code, _, err = desk.imports("--odds-api", MLB, "--url", service.url)
    assert code == 1
    assert "not written: no game is left of 0 events of The Odds API" in err


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("odds.json", "--regions", "us"), "--regions: only with --odds-api"),
        (("odds.json", "--url", "https://example.com"), "--url: only with --odds-api"),
        (("--odds-api", MLB, "--odds-format", "american"), "--odds-format: only with FILE"),
        (("--odds-api", "MLB"), "--odds-api"),
        (("--odds-api", MLB, "--regions", "us,,eu"), "--regions"),
        (("--odds-api", MLB, "--url", "http://example.com"), "--url: expected https://"),
        (("odds.json", "--starting", "soon"), "--starting: expected a time like 2026-12-01T18:00:00Z, not 'soon'"),
        (("odds.json", "--starting", "2026-12-01"), "--starting: expected a time"),
        (("--odds-api", MLB), "ODDS_API_KEY is not set"),
    ],
)
def test_wrong_arguments_are_named(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], fault: str
) -> None:
    monkeypatch.delenv("ODDS_API_KEY", raising=False)
    code, _, err = desk.imports(*flags)
    assert code == 2
    assert fault in err


@pytest.mark.parametrize("flags", [(), ("odds.json", "--odds-api", MLB)])
def test_exactly_one_source_is_needed(desk: Desk, flags: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        desk.imports(*flags)
    assert ended.value.code == 2
