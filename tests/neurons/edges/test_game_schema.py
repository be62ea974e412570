"""The schema of games files agrees with their reader."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.game_file import read_games
from bettensor.neurons.edges.game_schema import schema
from tests.neurons.edges.test_game_file import SHIPPED, entry
from tests.support import NOW

GOOD: dict[str, dict[str, Any]] = {
    "as usual": entry(),
    "with dates": entry(create_date="2026-01-01T00:00:00Z", last_update_date="2026-01-01T00:00:00Z"),
    "with a tie": entry(can_tie=True, tie_odds=3.3),
    "with a null": entry(tie_odds=None, outcome=None),
    "with an outcome": entry(outcome="A"),
    "with a numbered outcome": entry(outcome=1),
    "with an integer": entry(team_a_odds=2),
    "inactive": entry(active=False),
    **{f"odds {odds!r}": entry(team_a_odds=odds) for odds in ("1.90", " 2 ", "+1.05", "10", "001.5", "2.", "1.001")},
    "a tie as text": entry(can_tie=True, tie_odds="3.30"),
    **{f"from {start}": entry(event_start_date=start) for start in ("PT36H", "P1D", "P1DT2H30M", "P2W", "PT90S")},
    **{
        f"from {start}": entry(event_start_date=start)
        for start in ("2027-01-01T00:00:00Z", "2027-01-01T01:00+01:00", "2027-01-01 00:00:00.5-05:00")
    },
}
BAD: dict[str, Any] = {
    "no object": "game",
    "an unknown field": entry(odds=1.9),
    "a tie without odds": entry(can_tie=True),
    "a tie with null": entry(can_tie=True, tie_odds=None),
    "odds of no tie": entry(tie_odds=3.3),
    "a long name": entry(sport="x" * 257),
    "an empty id": entry(game_id=""),
    "a number as id": entry(game_id=7),
    "text for a switch": entry(active="yes"),
    "a fraction as outcome": entry(outcome=0.5),
    **{f"no {name}": entry(**{name: ...}) for name in entry()},
    **{f"odds {odds!r}": entry(team_a_odds=odds) for odds in (1, 1.0, 0.0, -110, None, True)},
    **{
        f"odds {odds!r}": entry(team_b_odds=odds)
        for odds in ("1", "1.00", "0.9", "01.0", "-2", "", "1.9x", ".", "1,90", "cheap", "6/5")
    },
    **{
        f"from {start!r}": entry(event_start_date=start)
        for start in ("tomorrow", "2027-01-01", "2027-01-01T00:00:00", "P", "PT", "1D", 7, "")
    },
}


def is_valid(document: Any) -> bool:
    valid: bool = Draft202012Validator(schema()).is_valid(document)
    return valid


def is_read(folder: Path, game: Any) -> bool:
    file = folder / "games.json"
    file.write_text(json.dumps({"games": [game]}))
    try:
        return len(read_games(file, NOW, NOW).games) == 1
    except ConfigurationError:
        return False


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", GOOD)
def test_a_good_game_is_good_for_both(tmp_path: Path, name: str) -> None:
    assert is_valid({"games": [GOOD[name]]})
    assert is_valid([GOOD[name]])
    assert is_read(tmp_path, GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_game_is_bad_for_both(tmp_path: Path, name: str) -> None:
    assert not is_valid({"games": [BAD[name]]})
    assert not is_valid([BAD[name]])
    assert not is_read(tmp_path, BAD[name])


@pytest.mark.parametrize("document", [{}, {"game": []}, {"games": {}}, 7, "games"])
def test_a_file_without_a_list_is_bad(document: Any) -> None:
    assert not is_valid(document)


def test_the_shipped_games_are_good() -> None:
    assert is_valid(json.loads(SHIPPED.read_text()))


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["games", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()
