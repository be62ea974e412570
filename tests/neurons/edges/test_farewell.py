"""A miner that stops waits for the verdicts on what it predicted, and for nothing else."""

import asyncio

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import Decided, PredictionDiscarded, PredictionExpired, PredictionMade, VerdictReceived
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import Micros
from bettensor.neurons.edges.farewell import Farewell
from tests.support import Injected, make_hotkey, make_prediction

VALIDATOR, OTHER = make_hotkey("validator"), make_hotkey("other")


class Bench:
    def __init__(self) -> None:
        self.bus = EventBus(ManualClock())
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        self.farewell = Farewell()
        self.farewell.attach(self.bus)

    def make(self, *validators: str) -> TeamGamePrediction:
        """One prediction to each of these."""
        prediction = make_prediction()
        for validator in validators or (VALIDATOR,):
            self.bus.publish(PredictionMade(validator, prediction))  # type: ignore[arg-type]
        return prediction

    def decide(self, decision: Decided) -> None:
        self.bus.publish(Injected(decision))

    async def is_settled(self) -> bool:
        """Whether it waits for nothing more; who waited is cancelled."""
        waiting = asyncio.create_task(self.farewell.settle())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        settled = waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return settled


@pytest.fixture
def bench() -> Bench:
    return Bench()


def verdict(prediction: TeamGamePrediction) -> VerdictReceived:
    return VerdictReceived(VALIDATOR, prediction, True, "accepted", "", Micros(0))


async def test_who_predicted_nothing_waits_for_nothing(bench: Bench) -> None:
    assert await bench.is_settled()


async def test_each_prediction_is_waited_for_until_its_end_whatever_that_is(bench: Bench) -> None:
    first, second, third = (bench.make() for _ in range(3))
    for end in (
        verdict(first),
        PredictionExpired(VALIDATOR, second),
        PredictionDiscarded(VALIDATOR, third.prediction_id, third.game_id, "x"),
    ):
        assert not await bench.is_settled()
        bench.decide(end)
    assert await bench.is_settled()


async def test_one_prediction_for_two_validators_has_two_verdicts(bench: Bench) -> None:
    prediction = bench.make(VALIDATOR, OTHER)
    bench.decide(verdict(prediction))
    assert not await bench.is_settled()
    bench.decide(verdict(prediction))
    assert await bench.is_settled()


async def test_a_verdict_on_what_an_earlier_run_made_is_none_of_this_ones(bench: Bench) -> None:
    bench.make()
    bench.decide(verdict(make_prediction()))
    assert not await bench.is_settled()


async def test_who_waits_already_hears_of_the_last_verdict(bench: Bench) -> None:
    prediction = bench.make()
    waiting = asyncio.create_task(bench.farewell.settle())
    await asyncio.sleep(0)
    bench.decide(verdict(prediction))
    async with asyncio.timeout(5):
        await waiting
