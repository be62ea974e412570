"""The model in its thread: when it is asked, and what its faults do (nothing)."""

import asyncio
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from bettensor.bus.events import MetagraphSynced, ModelAnswered, NeuronInfo
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Uid
from bettensor.neurons.edges.predictor import MADE_TOGETHER
from bettensor.neurons.models.model import Forecast
from tests.neurons.models.at_its_edge import OTHER, SLATE, VALIDATOR, bench_of
from tests.support import Injected, make_game


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
        await bench.until(lambda: len(bench.all(ModelAnswered)) == 2)
    assert model.asked == ["first", "waits", "again"]
    answered = [event.validator for event in bench.all(ModelAnswered)]
    assert answered == [OTHER, VALIDATOR], "a question that a newer one has replaced is not the last one"


async def test_a_model_has_answered_when_all_its_bets_are_made_also_if_it_raises() -> None:
    class Failing:
        def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
            if games[0].game_id == "bad":
                raise RuntimeError("mine")
            return [Forecast(game=game, outcome=game.team_a, wager=1.0, model_name="m") for game in games]

    async with bench_of(Failing()) as bench:
        bench.slates = {VALIDATOR: (make_game("a"), make_game("b")), OTHER: (make_game("bad"),)}
        bench.ask()
        await bench.until(lambda: len(bench.all(ModelAnswered)) == 2)
    assert bench.all(ModelAnswered) == [ModelAnswered(VALIDATOR, 2), ModelAnswered(OTHER, 0)]
    kinds = [envelope.event.topic for envelope in bench.envelopes]
    assert kinds.index("model_answered") > kinds.index("prediction_made") + 1


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
from tests.neurons.models.at_its_edge import bench_of

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
    subprocess.run([sys.executable, "-c", source], timeout=30, check=True, cwd=Path(__file__).parents[3])


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


async def test_the_neuron_goes_on_while_many_bets_are_published() -> None:
    class Eager:
        def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:
            for game in games:
                yield Forecast(game=game, outcome=game.team_a, wager=1.0, model_name="eager")

    async with bench_of(Eager()) as bench:
        bench.slates = {VALIDATOR: tuple(make_game(f"game-{number}") for number in range(10 * MADE_TOGETHER))}
        seen: set[int] = set()
        bench.ask()
        async with asyncio.timeout(15):
            while len(bench.bets()) < 10 * MADE_TOGETHER:
                await asyncio.sleep(0)
                seen.add(len(bench.bets()))
        assert {MADE_TOGETHER * portion for portion in range(1, 11)} <= seen
