"""Runs the miner's model in a separate thread: it may be slow, and its faults cannot harm the neuron."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from secrets import token_hex
from typing import Any, Final

from bettensor.bus.bus import EventBus, last_error
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    HandlerFailed,
    MetagraphSynced,
    ModelAnswered,
    ModelChanged,
    ModelNoted,
    PredictionMade,
    PredictionsRequested,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import GameId, Hotkey, PredictionId, Uid
from bettensor.neurons.edges.edge import Edge, Identity, on
from bettensor.neurons.edges.tasks import Tasks
from bettensor.neurons.edges.watches import watched_changes
from bettensor.neurons.models.model import Forecast, ModelHost, Predictor, make_prediction

MAX_MADE: Final = 10_000
"""Keyed bets that are remembered for each validator; the outbox recognises a repetition of an older one."""


MADE_TOGETHER: Final = 8
"""Predictions that are published in one turn of the event loop: about 1 ms. A model may bet on 20,000 games at once."""


class PredictorEdge(Edge):
    """Asks the model one question after the other. Of the waiting questions, only each validator's latest counts."""

    name = "predictor"

    def __init__(self, predictor: Predictor, identity: Identity, clock: Clock) -> None:
        self._predictor = predictor
        self._hotkey = identity.hotkey
        self._clock = clock
        self._uid: Uid | None = None
        self._waiting: dict[Hotkey, PredictionsRequested] = {}
        self._questions: SimpleQueue[tuple[Sequence[TeamGame], Future[list[Forecast]]] | None] = SimpleQueue()
        """Questions for the thread; None ends it."""
        self._slates: dict[Hotkey, dict[GameId, TeamGame]] = {}
        self._made: dict[Hotkey, dict[PredictionId, None]] = {}
        """The last bets with a key: if the model repeats one, it is not made again."""
        self._closed = False
        self._model = f"the model {type(predictor).__name__}"

    def attach(self, bus: EventBus) -> None:
        """Subscribe. Questions and the model's own ``run`` are separate tasks, because either may never end."""
        super().attach(bus)
        self._running = Tasks(bus, self.name)

    async def open(self) -> None:
        """Start the model."""
        self._loop = asyncio.get_running_loop()
        # a daemon: at exit the process would wait for an executor's thread, and so for a model that hangs
        threading.Thread(target=self._think, name="predictor", daemon=True).start()
        run = getattr(self._predictor, "run", None)
        if run is not None:
            self._running.start(self._run(run), "model")

    @on(PredictionsRequested)
    def ask(self, event: PredictionsRequested, _: Envelope) -> None:
        """Answered by a ``PredictionMade`` for each forecast, and ``ModelAnswered``."""
        if self._closed:
            return
        self._waiting[event.validator] = event
        self._slates[event.validator] = {game.game_id: game for game in event.games}
        if not self._tasks:
            self._tasks.start(self._work(), "predictor")

    # --- the host's methods for the model

    def games(self) -> dict[GameId, TeamGame]:
        """All slates, as the model was last asked about them."""
        return {game_id: game for slate in list(self._slates.values()) for game_id, game in slate.items()}

    def ask_again(self) -> None:
        """Have the model asked about every slate."""
        self._loop.call_soon_threadsafe(self._bus.publish, ModelChanged())

    def forecast(self, forecast: Forecast) -> None:
        """Publish a ``PredictionMade`` for each validator that offers the game, at that validator's odds."""
        self._loop.call_soon_threadsafe(self._bet, forecast)

    def _bet(self, forecast: Forecast) -> None:
        with self._telling():
            for validator, slate in self._slates.items():
                game = slate.get(forecast.game.game_id)
                if game is not None:
                    self._make(validator, replace(forecast, game=game))

    def changes(self, file: Path) -> AsyncIterator[None]:
        """Watch ``file``."""
        return watched_changes(self._bus, lambda: [file])

    def fault(self, text: str) -> None:
        """Publish a line for the log."""
        failed = HandlerFailed(self._model, PredictionsRequested.topic, text)
        self._loop.call_soon_threadsafe(self._bus.publish, failed)

    def note(self, text: str) -> None:
        """Publish a line for the log that is no fault."""
        self._loop.call_soon_threadsafe(self._bus.publish, ModelNoted(text))

    async def close(self) -> None:
        """Stop asking, if the neuron was closed before it was paused."""
        await self.pause()

    async def pause(self) -> None:
        """Stop asking, without waiting for a model that still thinks."""
        self._closed = True
        self._waiting.clear()
        await self._tasks.cancel()
        await self._running.cancel()
        self._questions.put(None)

    async def _work(self) -> None:
        while self._waiting:
            question = self._waiting.pop(next(iter(self._waiting)))  # in turn, so that no validator waits for ever
            answer: Future[list[Forecast]] = Future()
            self._questions.put((question.games, answer))
            forecasts = await asyncio.wrap_future(answer)
            for number, forecast in enumerate(forecasts, start=1):
                with self._telling():
                    self._make(question.validator, forecast)
                if not number % MADE_TOGETHER:
                    await asyncio.sleep(0)
            if question.validator not in self._waiting:  # else a newer slate is still to be answered
                self._bus.publish(ModelAnswered(question.validator, len(forecasts)))

    async def _run(self, run: Callable[[ModelHost], Coroutine[Any, Any, None]]) -> None:
        with self._telling():
            await run(self)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn any error of the model into a log line, and continue."""
        try:
            yield
        except (Exception, SystemExit):  # noqa: BLE001 - a model is the operator's code, and may raise anything
            self.fault(last_error())

    def _think(self) -> None:
        """The thread's loop: answer one question after the other, until the edge is closed."""
        while (question := self._questions.get()) is not None:
            games, answer = question
            if not answer.set_running_or_notify_cancel():
                continue
            forecasts: list[Forecast] = []
            try:
                forecasts = list(self._predictor.predict(games))
            except BaseException:  # noqa: BLE001 - as above; if the thread ended, its question would get no answer
                with contextlib.suppress(RuntimeError):  # the loop is closed: the neuron did not wait for this thread
                    self.fault(last_error())
            answer.set_result(forecasts)

    def _make(self, validator: Hotkey, forecast: Forecast) -> None:
        """Publish ``forecast``; if it cannot be sent, write a log line and continue with the others."""
        prediction_id, made = self._id_of(validator, forecast), self._made.setdefault(validator, {})
        if prediction_id in made:
            return
        try:
            prediction = make_prediction(forecast, prediction_id, self._clock.wall(), self._uid)
        except ValueError as error:
            self.fault(str(error))
            return
        if forecast.key is not None:
            made[prediction_id] = None
            if len(made) > MAX_MADE:
                del made[next(iter(made))]
        self._bus.publish(PredictionMade(validator, prediction))

    def _id_of(self, validator: Hotkey, forecast: Forecast) -> PredictionId:
        if forecast.key is None:
            return PredictionId(token_hex(16))
        named = "\n".join((self._hotkey, validator, forecast.game.game_id, forecast.key))
        return PredictionId(sha256(named.encode()).hexdigest()[:32])

    @on(MetagraphSynced)
    def know_neurons(self, event: MetagraphSynced, _: Envelope) -> None:
        uids = {neuron.hotkey: neuron.uid for neuron in event.neurons}
        self._uid = uids.get(self._hotkey)
        for left in [validator for validator in self._slates if validator not in uids]:
            del self._slates[left]  # no connection uses this slate any more
            self._made.pop(left, None)
