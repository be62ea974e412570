"""Runs the miner's model in a thread of its own: it may think for long, and its faults are not the neuron's."""

import asyncio
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex

from bus.bus import EventBus
from bus.clock import Clock
from bus.envelope import Envelope
from bus.events import HandlerFailed, MetagraphSynced, PredictionMade, PredictionsRequested
from bus.games import TeamGame, TeamGamePrediction
from bus.identifiers import Hotkey, PredictionId, Uid
from neurons.edges.tasks import Tasks
from neurons.models import Forecast, Predictor, make_prediction


class PredictorEdge:
    """Asks the model, one question after the other; of the questions that wait, each validator's latest counts."""

    def __init__(self, bus: EventBus, clock: Clock, hotkey: Hotkey, predictor: Predictor) -> None:
        self._bus = bus
        self._clock = clock
        self._hotkey = hotkey
        self._predictor = predictor
        self._uid: Uid | None = None
        self._waiting: dict[Hotkey, PredictionsRequested] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predictor")
        self._tasks = Tasks(bus, "predictor")
        self._closed = False
        bus.subscribe(PredictionsRequested, self.ask, "predictor")
        bus.subscribe(MetagraphSynced, self._know_uid, "predictor")

    def ask(self, event: PredictionsRequested, _: Envelope) -> None:
        """Answered by a ``PredictionMade`` for each forecast."""
        if self._closed:
            return
        self._waiting[event.validator] = event
        if not self._tasks:
            self._tasks.start(self._work(), "predictor")

    async def close(self) -> None:
        """Ask no more; a model that still thinks is not waited for."""
        self._closed = True
        self._waiting.clear()
        await self._tasks.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._waiting:
            _, question = self._waiting.popitem()
            try:
                forecasts = await asyncio.get_running_loop().run_in_executor(self._thread, self._think, question.games)
                made = [self._make(forecast) for forecast in forecasts]
            except Exception:  # noqa: BLE001 - a model is the operator's code, and may raise anything
                name = f"the model {type(self._predictor).__name__}"
                self._bus.publish(HandlerFailed(name, question.topic, traceback.format_exc()))
                continue
            for prediction in made:
                self._bus.publish(PredictionMade(question.validator, prediction))

    def _think(self, games: Sequence[TeamGame]) -> list[Forecast]:
        return list(self._predictor.predict(games))

    def _make(self, forecast: Forecast) -> TeamGamePrediction:
        return make_prediction(forecast, PredictionId(token_hex(16)), self._clock.wall(), self._uid)

    def _know_uid(self, event: MetagraphSynced, _: Envelope) -> None:
        self._uid = next((neuron.uid for neuron in event.neurons if neuron.hotkey == self._hotkey), None)
