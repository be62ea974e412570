"""Models that are files and programs: what they bet, and what their faults do (nothing)."""

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    HandlerFailed,
    MetagraphSynced,
    ModelChanged,
    NeuronInfo,
    PredictionMade,
    PredictionsRequested,
    VerdictReceived,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Uid
from bettensor.neurons.config.settings import parse
from bettensor.neurons.edges.predictor import PredictorEdge
from bettensor.neurons.models.file import FilePredictor, FileSettings
from bettensor.neurons.models.model import Forecast
from bettensor.neurons.models.program import ProgramPredictor, ProgramSettings
from tests.loopback.rig import running_miner, running_validator
from tests.loopback.test_miner import events, register_miner
from tests.support import Injected, make_game, make_hotkey, make_identity

ME, VALIDATOR, OTHER = make_hotkey("me"), make_hotkey("validator"), make_hotkey("other")
GAME = make_game("g")
SLATE = (GAME, make_game("h", team_a="Cubs", team_b="Padres"))


class Bench:
    """A model at its edge, and all that happens on the bus."""

    def __init__(self, model: Any) -> None:
        self.envelopes: list[Any] = []
        self.bus = EventBus(SystemClock(), record=self.envelopes.append)
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        self.bus.subscribe(ModelChanged, lambda _, __: self.ask(), "test")
        self.slates: dict[Any, tuple[TeamGame, ...]] = {VALIDATOR: SLATE}
        self.edge = PredictorEdge(model, make_identity(ME, "miner"), SystemClock())
        self.edge.attach(self.bus)

    def ask(self) -> None:
        for validator, slate in self.slates.items():
            self.bus.publish(
                PredictionsRequested(validator, slate)
                if self.bus._draining  # noqa: SLF001 - as ModelActor would, from within the drain
                else Injected(PredictionsRequested(validator, slate))
            )

    def all(self, kind: type[Any]) -> list[Any]:
        return [envelope.event for envelope in self.envelopes if isinstance(envelope.event, kind)]

    def bets(self) -> list[tuple[str, str, float]]:
        made = [event.prediction for event in self.all(PredictionMade)]
        return [(p.game_id, p.predicted_outcome, p.wager) for p in made]

    def models(self) -> list[str | None]:
        return [event.prediction.model_name for event in self.all(PredictionMade)]

    def faults(self) -> str:
        return "\n".join(event.error for event in self.all(HandlerFailed))

    async def until(self, condition: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(15):
                while not condition():  # noqa: ASYNC110 - the record has no event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{self.bets()}\n{self.faults()}") from None


@asynccontextmanager
async def bench_of(model: Any) -> AsyncIterator[Bench]:
    bench = Bench(model)
    try:
        yield bench
    finally:
        await bench.edge.close()


# --- a file


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bets.csv", "game_id,outcome,wager,confidence\ng,New York Mets,2.5,0.6\nunknown,x,1,\nh,Cubs,1,\n"),
        (
            "bets.json",
            '[{"game_id": "g", "outcome": "New York Mets", "wager": 2.5}, {"game_id": "unknown"},'
            ' {"game_id": "h", "outcome": "Cubs", "wager": 1}]',
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


async def test_what_has_a_key_is_made_once_with_each_validator_however_often_the_model_says_it() -> None:
    class Insisting:
        def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
            for key in ("a", None, "a"):
                yield Forecast(game=games[0], outcome=games[0].team_a, wager=1.0, model_name=str(key), key=key)

    async with bench_of(Insisting()) as bench:
        bench.slates = {VALIDATOR: SLATE, OTHER: SLATE}
        for asked in (1, 2):
            bench.ask()
            await bench.until(lambda asked=asked: bench.models().count("None") == 2 * asked)  # type: ignore[misc]
    assert bench.models().count("a") == 2


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("b.csv", "game,outcome\ng,x\n", "b.csv: line 1: the header lacks game_id, wager"),
        ("b.csv", "game_id,outcome,wager\ng,Nobody,1\n", "line 2: outcome: expected one of 'New York Yankees'"),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets,much\n", "line 2: wager: expected a number, not 'much'"),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets\n", "wager: expected a number above 0, not None"),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets,-1\n", "wager: expected a number above 0, not '-1'"),
        ("b.csv", "game_id,outcome,wager,confidence\ng,New York Mets,1,nan\n", "confidence: expected a number"),
        ("b.csv", "game_id,outcome,wager\ng,New York Mets,1,\n", "line 2: it has more values than the header"),
        ("b.json", "{", "b.json: "),
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
    ("path", "fault"), [("bets.txt", "must end in .csv or .json"), ("no/such/folder/b.csv", "a folder that exists")]
)
def test_a_path_that_cannot_be_is_refused_at_start(path: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        parse(FileSettings, {"path": path}, "miner.yaml: actors.predictor")


# --- a program


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


async def test_who_has_left_the_subnet_offers_nothing_any_more() -> None:
    class Quiet:
        def predict(self, _: Sequence[TeamGame]) -> Iterable[Forecast]:
            return ()

    async with bench_of(Quiet()) as bench:
        bench.slates = {VALIDATOR: (make_game("here"),), OTHER: (make_game("there"),)}
        bench.ask()
        assert bench.edge.games().keys() == {"here", "there"}
        bench.bus.publish(Injected(MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR),))))
        assert bench.edge.games().keys() == {"here"}


async def test_validators_are_asked_about_in_turn_however_often_one_changes() -> None:
    class Slow:
        def __init__(self) -> None:
            self.asked: list[str] = []
            self.may_go_on = threading.Event()

        def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
            self.asked.append(games[0].game_id)
            self.may_go_on.wait(10)
            return ()

    model = Slow()
    async with bench_of(model) as bench:
        bench.slates = {VALIDATOR: (make_game("first"),), OTHER: (make_game("waits"),)}
        bench.ask()
        await bench.until(lambda: model.asked == ["first"])
        bench.slates = {VALIDATOR: (make_game("again"),)}
        bench.ask()
        model.may_go_on.set()
        await bench.until(lambda: model.asked == ["first", "waits", "again"])


async def test_a_program_that_dies_is_started_again_with_back_off_and_gets_the_latest_slate(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    source = (
        f"open({str(lives)!r}, 'a').write('x')\nif len(open({str(lives)!r}).read()) < 3: sys.exit(7)\n" + BET_ON_ALL
    )
    async with bench_of(program(tmp_path, source)) as bench:
        bench.ask()
        await bench.until(bench.bets)
    assert lives.read_text() == "xxx"
    assert "ended with 7; it is started again in 0.05 s" in bench.faults()
    assert "ended with 7; it is started again in 0.1 s" in bench.faults()


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
    for fault in ("expected an object", "'nowhere' is on no slate", "more than 65536 bytes", "a number above 0"):
        assert fault in bench.faults()
    assert len(bench.all(HandlerFailed)) <= 8


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
        ({"command": ["x"], "restart_base": 0}, "should be greater than 0"),
    ],
)
def test_wrong_settings_of_a_program_are_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        parse(ProgramSettings, settings, "miner.yaml: actors.predictor")


async def test_a_model_whose_run_raises_is_told_and_still_asked() -> None:
    class Broken:
        def predict(self, games: tuple[TeamGame, ...]) -> list[Forecast]:
            return [Forecast(game=games[0], outcome="New York Mets", wager=1.0, model_name="b")]

        async def run(self, _: object) -> None:
            raise RuntimeError("mine")

    async with bench_of(Broken()) as bench:
        bench.ask()
        await bench.until(lambda: bench.bets() and "RuntimeError: mine" in bench.faults())


async def test_a_model_that_wants_to_end_the_program_ends_nothing() -> None:
    class Leaving:
        def predict(self, _: tuple[TeamGame, ...]) -> list[Forecast]:
            sys.exit("predict")

        async def run(self, _: object) -> None:
            sys.exit("run")

    async with bench_of(Leaving()) as bench:
        bench.ask()
        await bench.until(lambda: "SystemExit: predict" in bench.faults() and "SystemExit: run" in bench.faults())


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


async def test_a_model_with_a_bare_next_is_told_and_asked_again() -> None:
    class Empty:
        def predict(self, _: Sequence[TeamGame]) -> Iterable[Forecast]:
            return [next(iter(()))]

    async with bench_of(Empty()) as bench:
        for asked in (1, 2):
            bench.ask()
            await bench.until(lambda asked=asked: bench.faults().count("StopIteration") == asked)  # type: ignore[misc]


def test_a_process_does_not_wait_for_a_model_that_hangs() -> None:
    source = """
import asyncio, threading
from tests.neurons.test_more_models import bench_of

class Hanging:
    asked = threading.Event()
    def predict(self, _):
        self.asked.set()
        threading.Event().wait()

async def main():
    async with bench_of(Hanging()) as bench:
        bench.ask()
        await asyncio.to_thread(Hanging.asked.wait)

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", source], timeout=30, check=True, cwd=Path(__file__).parents[2])


async def test_one_forecast_that_cannot_be_sent_is_said_and_the_others_go_on() -> None:
    class Careless:
        def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
            for game, wager in zip(games, (math.nan, 2.0), strict=True):
                yield Forecast(game=game, outcome=game.team_a, wager=wager, model_name="careless")

    async with bench_of(Careless()) as bench:
        bench.ask()
        await bench.until(lambda: bench.bets() == [("h", "Cubs", 2.0)] and bench.faults())
        assert "the prediction on g cannot be sent" in bench.faults()


class Number(float):
    """As numpy has them."""


@pytest.mark.parametrize(
    "wrong",
    [
        lambda game: {"game": game},
        lambda _: None,
        lambda game: Forecast(game=game, outcome=game.team_a, wager=cast("Any", object()), model_name="careless"),
        lambda game: Forecast(game=game, outcome=game.team_a, wager=1.0, model_name="careless", key="\ud800"),
        lambda game: Forecast(game=game, outcome=game.team_a, wager=1.0, model_name="\ud800"),
    ],
)
@pytest.mark.parametrize("by_itself", [False, True])
async def test_whatever_a_model_says_harms_no_miner(wrong: Callable[[TeamGame], Any], by_itself: bool) -> None:
    class Careless:
        async def run(self, host: Any) -> None:
            if by_itself:
                host.forecast(wrong(make_game("g")))

        def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
            if not by_itself:
                yield wrong(games[0])
            yield Forecast(game=games[1], outcome=games[1].team_a, wager=Number(2.0), model_name="careless")

    async with bench_of(Careless()) as bench:
        bench.ask()
        await bench.until(lambda: bench.bets() == [("h", "Cubs", 2.0)] and bench.faults())
        assert bench.faults().encode()
