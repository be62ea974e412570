"""A program as a model: what it bets, and what its faults do (nothing)."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import HandlerFailed, PredictionMade, VerdictReceived
from bettensor.neurons.config.settings import parse
from bettensor.neurons.models.program import PORTION, ProgramPredictor, ProgramSettings
from tests.loopback.rig import running_miner, running_validator
from tests.loopback.test_miner import events, register_miner
from tests.neurons.models.at_its_edge import OTHER, VALIDATOR, bench_of
from tests.support import make_game


def program(folder: Path, source: str, **settings: Any) -> ProgramPredictor:
    file = folder / "model.py"
    file.write_text("import json, os, sys, time\n" + source)
    command = (sys.executable, "-u", str(file))
    values: dict[str, Any] = {"command": command, "restart_base": 0.05}
    return ProgramPredictor(ProgramSettings(**(values | settings)))


BET_ON_ALL = """
for line in sys.stdin:
    if line.strip():
        game = json.loads(line)
        print(json.dumps({"game_id": game["game_id"], "outcome": game["team_b"], "wager": 1.5, "key": "only"}))
"""


async def test_a_program_gets_the_slate_and_bets(tmp_path: Path) -> None:
    async with bench_of(program(tmp_path, BET_ON_ALL)) as bench:
        bench.slates[OTHER] = (make_game("g", team_b_odds=3.3),)
        bench.ask()
        await bench.until(lambda: len(bench.bets()) >= 2)
        assert ("g", "New York Mets", 1.5) in bench.bets()
        made = bench.all(PredictionMade)
        quoted = {event.validator: event.prediction.predicted_odds for event in made if event.prediction.game_id == "g"}
        assert quoted.items() <= {VALIDATOR: 2.1, OTHER: 3.3}.items()
    assert bench.faults() == ""


async def test_a_program_bets_on_what_any_validator_offers(tmp_path: Path) -> None:
    async with bench_of(program(tmp_path, BET_ON_ALL)) as bench:
        bench.slates = {VALIDATOR: (make_game("here"),), OTHER: (make_game("there"),)}
        bench.ask()
        await bench.until(lambda: len(bench.bets()) >= 2)
        made = {(event.validator, event.prediction.game_id) for event in bench.all(PredictionMade)}
        assert made == {(VALIDATOR, "here"), (OTHER, "there")}
    assert bench.faults() == ""


async def test_a_program_that_dies_is_started_again_with_back_off_and_gets_the_latest_slate(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    source = (
        f"open({str(lives)!r}, 'a').write('x')\nif len(open({str(lives)!r}).read()) < 3: sys.exit(7)\n" + BET_ON_ALL
    )
    async with bench_of(program(tmp_path, source)) as bench:
        bench.ask()
        await bench.until(bench.bets)
    assert lives.read_text() == "xxx"
    assert "ended with exit code 7; restarting it in 0.05 s" in bench.faults()
    assert "ended with exit code 7; restarting it in 0.1 s" in bench.faults()


async def test_what_is_no_prediction_is_told_once_a_kind_and_passed_over(tmp_path: Path) -> None:
    source = """
for bad in ("no json", "[" * 60_000, "[]", '{"game_id": []}', '{"game_id": "nowhere"}', "x" * 100_000, "", "no json"):
    print(bad)
print(json.dumps({"game_id": "g", "outcome": "New York Mets", "wager": 0}))
print(json.dumps({"game_id": "g", "outcome": "New York Mets", "wager": 2}))
time.sleep(60)
"""
    model = program(tmp_path, "sys.stdin.readline()\ntime.sleep(0.2)\n" + source)
    async with bench_of(model) as bench:
        bench.ask()
        await bench.until(lambda: bench.bets() == [("g", "New York Mets", 2.0)])
    for fault in ("expected an object", "no game 'nowhere' on any slate", "more than 65536 bytes", "a number above 0"):
        assert fault in bench.faults()
    assert len(bench.all(HandlerFailed)) <= 8


async def test_a_fault_that_comes_back_after_a_slate_without_it_is_told_again(tmp_path: Path) -> None:
    started = tmp_path / "started"
    source = f"""
open({str(started)!r}, "w")
slates = 0
for line in sys.stdin:
    if not line.strip():
        slates += 1
        if slates != 3:
            print("no json")
        print(json.dumps({{"game_id": "g", "outcome": "New York Mets", "wager": "1.50", "key": slates}}))
"""
    async with bench_of(program(tmp_path, source)) as bench:
        await bench.until(started.exists)  # a program that is asked while it starts may get that slate twice
        for _ in range(5):
            before = len(bench.bets())
            bench.ask()
            await bench.until(lambda before=before: len(bench.bets()) > before)  # type: ignore[misc]
        assert bench.bets()[0] == ("g", "New York Mets", 1.5)
    assert len(bench.all(HandlerFailed)) == 2


async def test_a_program_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    async with bench_of(program(tmp_path, "", command=("/no/such/program",))) as bench:
        await bench.until(lambda: len(bench.all(HandlerFailed)) >= 2)
    assert "/no/such/program cannot be started: No such file or directory" in bench.faults()


async def test_a_program_that_never_reads_and_does_not_want_to_end_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    source = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    source += f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
    async with bench_of(program(tmp_path, source + "time.sleep(60)\n")) as bench:
        bench.slates[VALIDATOR] = tuple(make_game(f"game-{i}", league="x" * 200) for i in range(300))
        await bench.until(lambda: pid.exists() and pid.read_text())
        for _ in range(20):
            bench.ask()
            await asyncio.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"command": []}, "should have at least 1 item"),
        ({"command": ["x"], "restart_base": 0}, "must be greater than or equal to 0.001"),
    ],
)
def test_wrong_settings_of_a_program_are_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        parse(ProgramSettings, settings, "miner.yaml: actors.predictor")


async def test_a_program_bets_through_a_real_miner_and_once_whatever_is_restarted(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    (tmp_path / "model.py").write_text("import json, sys\n" + BET_ON_ALL)
    command = [sys.executable, "-u", str(tmp_path / "model.py")]
    predictor = {"class": "bettensor.models:ProgramPredictor", "command": command}
    async with running_validator(tmp_path, **registered) as rig:
        for restarts in range(2):
            async with running_miner(rig, actors={"predictor": predictor}) as (_, theirs):
                kind = VerdictReceived if restarts == 0 else PredictionMade
                async with asyncio.timeout(15):
                    while not events(theirs, kind):  # noqa: ASYNC110 - the record has no event
                        await asyncio.sleep(0.01)
        verdicts = json.dumps([event.code for event in events(theirs, VerdictReceived)])
        assert verdicts == "[]"


async def test_a_large_slate_reaches_the_program_whole(tmp_path: Path) -> None:
    source = """
count = 0
for line in sys.stdin:
    if line.strip():
        count += 1
        last = json.loads(line)
    else:
        print(json.dumps({"game_id": last["game_id"], "outcome": last["team_b"], "wager": count}))
        count = 0
"""
    async with bench_of(program(tmp_path, source)) as bench:
        bench.slates = {VALIDATOR: tuple(make_game(f"game-{number}") for number in range(2 * PORTION + 1))}
        bench.ask()
        await bench.until(bench.bets)
        assert bench.bets()[-1] == (f"game-{2 * PORTION}", "New York Mets", 2 * PORTION + 1)
    assert bench.faults() == ""
