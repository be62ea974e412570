"""A file of bets: each row is bet once, and one that is wrong harms no other."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import HandlerFailed, PredictionMade
from bettensor.neurons.config.settings import parse
from bettensor.neurons.models.file import FilePredictor, FileSettings, Unusable, forecast_of
from bettensor.neurons.system import files
from tests.neurons.models.at_its_edge import OTHER, SLATE, VALIDATOR, Bench, bench_of
from tests.support import make_game


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that the system tells before the watch has begun is seen at the next look."""
    monkeypatch.setattr(files, "LOOK", 50)
    monkeypatch.setattr(files, "POLL", 50)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bets.csv", "game_id,outcome,wager,confidence\ng,New York Mets,2.5,0.6\nunknown,x,1,\nh,Cubs,1,\n"),
        (
            "bets.json",
            '[{"game_id": "g", "outcome": "New York Mets", "wager": 2.5},'
            ' {"game_id": "unknown", "outcome": "x", "wager": 1}, {"game_id": "h", "outcome": "Cubs", "wager": 1}]',
        ),
    ],
)
async def test_each_row_is_bet_once_and_again_when_it_changes(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    fresh = tmp_path / "fresh"
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        bench.ask()
        fresh.write_text(text)
        fresh.replace(file)
        await bench.until(lambda: len(bench.bets()) == 2)
        assert bench.bets() == [("g", "New York Mets", 2.5), ("h", "Cubs", 1.0)]
        bench.ask()
        fresh.write_text(text.replace("2.5", "3.5"))
        fresh.replace(file)
        await bench.until(lambda: len(bench.bets()) == 3)
        assert bench.bets()[2] == ("g", "New York Mets", 3.5)
        assert bench.faults() == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bets.csv", "game_id,outcome,wager\nh,Cubs,1\n"),
        ("bets.json", '[{"game_id": "h", "outcome": "Cubs", "wager": 1}]'),
    ],
)
async def test_a_file_may_begin_with_a_byte_order_mark_as_spreadsheets_write_it(
    tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8-sig")
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        bench.ask()
        await bench.until(lambda: bench.bets() == [("h", "Cubs", 1.0)])
        assert bench.faults() == ""


async def test_a_row_is_bet_with_each_validator_and_is_the_same_prediction_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "bets.csv"
    file.write_text("game_id,outcome,wager\ng,New York Mets,2\n")
    ids: list[dict[Any, str]] = []
    for _ in range(2):
        async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
            bench.slates = {VALIDATOR: SLATE, OTHER: SLATE}
            bench.ask()
            await bench.until(lambda: len(bench.bets()) == 2)
            ids.append({event.validator: event.prediction.prediction_id for event in bench.all(PredictionMade)})
    assert ids[0] == ids[1]
    assert ids[0][VALIDATOR] != ids[0][OTHER]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("b.csv", "game,outcome\ng,x\n", "b.csv: line 1: the header lacks game_id, wager"),
        ("b.csv", "game_id,outcome,wager\ng,Nobody,1\n", "line 2: outcome: expected one of 'New York Yankees'"),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets,much\n", 'line 2: wager: expected a number, not "much"'),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets\n", "wager: expected a number above 0, not null"),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets,-1\n", 'wager: expected a number above 0, not "-1"'),
        ("b.csv", "game_id,outcome,wager,confidence\ng,New York Mets,1,nan\n", "confidence: expected a number"),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets,1,\n", "line 2: it has more values than the header"),
        ("b.csv", 'game_id,outcome,wager\ng,New York Mets,"1,5"\n', "with a decimal point like 1.5, not"),
        ("b.csv", 'game_id,outcome,wager\ng,"New York Mets,1\n', "line 2: a quote is not closed"),
        ("b.csv", f"game_id,outcome,wager\ng,{'x' * 200_000},1\n", "line 2: field larger than field limit"),
        ("b.json", "{", "b.json: "),
        ("b.json", '["line 3"]', "entry 0: expected game_id, outcome, wager"),
        ("b.json", '[{"game_id": "g", "outcome": "New York Mets", "wager": NaN}]', "wager: expected a number, not NaN"),
        ("b.json", '[{"game_id": "g", "outcome": "New York Mets", "wager": true}]', "expected a number, not true"),
        ("b.json", "{}", "expected a list of objects"),
        ("b.json", "[1]", "entry 0: expected game_id, outcome, wager"),
        ("b.json", '[{"game_id": "g", "outcome": ["x"], "wager": 1}]', "entry 0: outcome: expected one of 'New York"),
    ],
)
async def test_what_cannot_be_used_is_told_once_and_harms_no_other_row(
    tmp_path: Path, name: str, text: str, fault: str
) -> None:
    file = tmp_path / name
    file.write_text(text + "h,Cubs,1\n" if name.endswith("csv") and "lacks" not in fault else text)
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        await asyncio.sleep(0)
        for _ in range(2):
            bench.ask()
            await bench.until(lambda: fault in bench.faults())
        assert len(bench.all(HandlerFailed)) == 1
        if "h,Cubs" in file.read_text() and "lacks" not in fault:
            await bench.until(lambda: bench.bets() == [("h", "Cubs", 1.0)])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.csv", 'note,wager,game_id,outcome\n"two\nlines", 1.50 ,h,Cubs\n\nx,2,g,New York Mets'),
        ("b.csv", "wager,game_id,outcome\r\n1.5,h,Cubs\r\n2e0,g,New York Mets\r\n"),
        (
            "b.json",
            '[{"game_id": "h", "outcome": "Cubs", "wager": "1.50"}, '
            '{"game_id": "g", "outcome": "New York Mets", "wager": " 2 "}]',
        ),
    ],
)
async def test_numbers_may_be_text_columns_in_any_order_and_notes_of_several_lines(
    tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_bytes(text.encode())
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        bench.ask()
        await bench.until(lambda: len(bench.bets()) == 2)
        assert bench.bets() == [("h", "Cubs", 1.5), ("g", "New York Mets", 2.0)]
        assert bench.faults() == ""


async def test_a_fault_that_comes_back_after_it_was_repaired_is_told_again(tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_text("game_id;outcome;wager\n")
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        bench.ask()
        await bench.until(lambda: len(bench.all(HandlerFailed)) == 1)
        file.write_text("game_id,outcome,wager\nh,Cubs,1\n")
        await bench.until(lambda: bench.bets() == [("h", "Cubs", 1.0)])
        file.write_text("game_id\toutcome\twager\n")
        await bench.until(lambda: len(bench.all(HandlerFailed)) == 2)
    assert [event.error.rpartition(": ")[2] for event in bench.all(HandlerFailed)] == [
        "the header lacks game_id, outcome, wager; it must be game_id,outcome,wager"
    ] * 2


def has_bets(bench: Bench, number: int) -> bool:
    return len(bench.bets()) == number


async def test_a_fault_that_stays_in_a_file_that_changes_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        await asyncio.sleep(0)  # the model has looked at the folder
        for number in range(1, 4):
            file.write_text(f"game_id,outcome,wager\ng,Nobody,1\nh,Cubs,{number}\n")
            await bench.until(partial(has_bets, bench, number))
    assert len(bench.all(HandlerFailed)) == 1


async def test_a_row_whose_game_is_nowhere_is_noted_once_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_text("game_id,outcome,wager\ngame-1O,Cubs,1\nother,Cubs,1\n")
    game = make_game("game-10", team_a="Cubs", team_b="Padres")
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        await asyncio.sleep(0)
        bench.slates = {VALIDATOR: (game,), OTHER: (make_game("other", team_a="Cubs", team_b="Padres"),)}
        for _ in range(3):
            bench.ask()
            await bench.until(lambda: ("other", "Cubs", 1.0) in bench.bets())
        await bench.until(bench.notes)
    assert bench.notes() == ["b.csv: line 2: no slate has the game \"game-1O\" so far; the nearest is 'game-10'"]
    assert bench.faults() == ""


async def test_no_game_is_missed_before_a_slate_has_come_or_after_it_was_offered(tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_text("game_id,outcome,wager\ng,New York Mets,1\n")
    async with bench_of(FilePredictor(FileSettings(path=str(file)))) as bench:
        await asyncio.sleep(0)
        bench.slates = {VALIDATOR: ()}
        bench.ask()
        bench.slates = {VALIDATOR: SLATE}
        bench.ask()
        await bench.until(bench.bets)
        bench.slates = {VALIDATOR: SLATE[1:]}
        bench.ask()
        file.write_text("game_id,outcome,wager\ng,New York Mets,1\nh,Cubs,1\n")
        await bench.until(lambda: len(bench.bets()) == 2)
    assert bench.notes() == []


@pytest.mark.parametrize(
    ("path", "fault"), [("bets.txt", "must end in .csv or .json"), ("no/such/folder/b.csv", "an existing folder")]
)
def test_a_path_that_cannot_be_is_refused_at_start(path: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        parse(FileSettings, {"path": path}, "miner.yaml: actors.predictor")


def test_what_is_wrong_in_the_file_shows_before_any_slate(tmp_path: Path) -> None:
    file = tmp_path / "bets.csv"
    model = FilePredictor(FileSettings(path=str(file)))
    assert model.faults() == []
    file.write_text("game_id,outcome,wager\ng,x,1\ng,x,0\ng,x,1,2\n")
    assert model.faults() == [
        f'{file}: line 3: wager: expected a number above 0, not "0"',
        f"{file}: line 4: it has more values than the header has columns",
    ]
    file.write_text("game_id;outcome;wager\n")
    (fault,) = model.faults()
    assert fault.startswith(f"{file}: line 1: the header lacks game_id")


def test_a_row_on_a_game_whose_outcomes_have_one_name_is_told() -> None:
    with pytest.raises(Unusable, match="two outcomes of this game have one name"):
        forecast_of({"outcome": "Cubs", "wager": 1}, make_game("g", team_a="Cubs", team_b="Cubs"), "file")
