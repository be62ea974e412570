"""A model at its edge, on a bus, and all that comes of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.events import HandlerFailed, ModelChanged, ModelNoted, PredictionMade, PredictionsRequested
from bettensor.bus.games import TeamGame
from bettensor.neurons.edges.predictor import PredictorEdge
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

    def notes(self) -> list[str]:
        return [event.text for event in self.all(ModelNoted)]

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
    await bench.edge.open()
    try:
        yield bench
    finally:
        await bench.edge.close()
