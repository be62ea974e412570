"""The importer: the newest snapshot of each game, moved to where it can be offered; the dirt is named."""

import json
import os
import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.cli.odds_import import import_snapshots, run_import
from bettensor.neurons.edges.game_file import read_games
from tests.support import NOW

SYNTHETIC = Path(__file__).parents[2] / "data" / "mlb_odds_synthetic.json"
STARTING = datetime(2027, 1, 1, 18, 0, tzinfo=UTC)


def test_the_newest_snapshot_of_a_game_counts() -> None:
    games = {game["game_id"]: game for game in import_snapshots(SYNTHETIC.read_text()).games}
    assert sorted(games) == ["9002", "9003", "9004"]
    assert (games["9003"]["team_a_odds"], games["9003"]["team_b_odds"]) == (1.83, 2.01)
    assert (games["9003"]["team_a"], games["9003"]["team_b"]) == ("Springfield Isotopes", "Ogdenville Outlaws")


def test_what_cannot_be_offered_is_skipped_with_its_reason() -> None:
    (skipped,) = import_snapshots(SYNTHETIC.read_text()).skipped
    assert skipped == "game 9001: average_home_odds: expected a finite number above 1, not 0.0"


def test_moved_games_keep_their_distances_and_are_a_slate(tmp_path: Path) -> None:
    output = tmp_path / "games.json"
    run_import(SYNTHETIC, output, STARTING)
    slate = read_games(output, NOW, NOW)
    assert len(slate.games) == 3
    starts = [parse_rfc3339(game.event_start_date) for game in slate.games]
    assert starts[0] == int(STARTING.timestamp() * 1e6)
    assert starts[1] - starts[0] == (19 * 86400 + 23 * 3600 + 25 * 60) * 1_000_000
    assert json.loads(output.read_text())["source"] == SYNTHETIC.name


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[{}]", "row 0: captured: Field required"),
        (SYNTHETIC.read_text().replace('"home": "Capital City Goofballs"', '"home": 7', 1), "row 1: home"),
        (SYNTHETIC.read_text().replace("1.79", '"cheap"'), "row 2: odds.average_home_odds"),
        (SYNTHETIC.read_text().replace("2024-06-19T17:10:00+00:00", "2024-06-19T17:10:00"), "row 4: date"),
        ("not json", "row "),
        ("{}", "row "),
    ],
)
def test_what_is_structurally_wrong_is_refused_with_row_and_field(tmp_path: Path, text: str, fault: str) -> None:
    source = tmp_path / "odds.json"
    source.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        run_import(source, tmp_path / "games.json")
    assert f"odds.json: {fault}" in str(refused.value)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.json: No such file"):
        run_import(tmp_path / "absent.json", tmp_path / "games.json")
    with pytest.raises(ConfigurationError, match="nowhere"):
        run_import(SYNTHETIC, tmp_path / "nowhere" / "games.json")


def test_a_games_file_is_replaced_in_one_step_also_where_a_link_leads_to_it(tmp_path: Path) -> None:
    file, link = tmp_path / "data" / "games.json", tmp_path / "games.json"
    file.parent.mkdir()
    file.write_text("what was there")
    link.symlink_to(file)
    with file.open() as before:
        run_import(SYNTHETIC, link)
        assert before.read() == "what was there"
    assert link.is_symlink()
    assert len(json.loads(file.read_text())["games"]) == 3
    assert list(file.parent.iterdir()) == [file]


def test_where_the_disk_takes_no_more_the_games_file_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "games.json"
    file.write_text("what was there")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"games\.json: File too large"):
            run_import(SYNTHETIC, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_file_is_written_to_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    run_import(SYNTHETIC, pipe)
    assert len(json.loads(os.read(reading, 1 << 16))["games"]) == 3
    os.close(reading)
    assert pipe.is_fifo()


def test_nothing_to_import_is_an_empty_slate() -> None:
    assert import_snapshots("[]", STARTING) == ([], [])
