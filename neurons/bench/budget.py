"""Measures the CPU time of each step of a prediction, in a validator that times every step.

    python -m bettensor.neurons.bench.budget --config validator.yaml

runs like ``bettensor validator``, and writes ``budget.json`` beside the configuration when it ends. ``measure`` runs it
under load.
"""

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from bettensor.bus import codec
from bettensor.bus.bus import EventBus, Handler, Topic
from bettensor.bus.events import Event, PredictionsStored, PredictionSubmitted
from bettensor.neurons.bench.confirm import Load, push_once
from bettensor.neurons.bench.figures import Figures
from bettensor.neurons.bench.rig import BenchmarkFailed, running_validator
from bettensor.neurons.composition import ACTORS
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.protocols import SessionProtocol
from bettensor.neurons.launch import tune_interpreter
from bettensor.neurons.validator import Validator

FILE: Final = "budget.json"
CALIBRATION: Final = 20_000
ACTOR_NAMES: Final = frozenset(actor.name for actor in ACTORS["validator"])
STEPS: Final = {
    "decode": ("decode", None),
    "verify": ("frame_verifier", None),
    "actor: connection": ("connection", None),
    "actor: auth": ("auth", None),
    "actor: prediction, before the commit": ("prediction", "prediction_submitted"),
    "actor: prediction, after it": ("prediction", None),
    "other actors": ("", None),
    "bus": ("bus", None),
    "sign": ("sign", None),
    "stamp and encode": ("writer", None),
    "write to the socket": ("write", None),
    "metrics": ("metrics", None),
    "other edges": ("", None),
}
"""The parts of a step: a handler's owner, and a topic. The first match counts."""

Key = tuple[str, str]
"""The owner of a handler, and the topic."""
Result = TypeVar("Result")


class Stopwatch:
    """Counts the CPU time of one thread by key; time of a nested step counts for the nested step."""

    def __init__(self) -> None:
        self.seconds: defaultdict[Key, float] = defaultdict(float)
        self.calls: Counter[Key] = Counter()
        self._inner = 0.0

    def clear(self) -> None:
        """Set all counts to zero."""
        self.seconds.clear()
        self.calls.clear()

    def timed(self, key: Key, function: Callable[..., Result]) -> Callable[..., Result]:
        """``function``, timed."""

        def timed(*arguments: Any) -> Result:
            outer, self._inner = self._inner, 0.0
            begin = time.thread_time()
            try:
                return function(*arguments)
            finally:
                whole = time.thread_time() - begin
                self.seconds[key] += whole - self._inner
                self.calls[key] += 1
                self._inner = outer + whole

        return timed

    def cost(self) -> tuple[float, float]:
        """Seconds that timing adds to a step, and to the step that calls it."""
        watch = Stopwatch()
        idle = watch.timed(("", ""), lambda: None)

        def many() -> None:
            for _ in range(CALIBRATION):
                idle()

        watch.timed(("many", ""), many)()
        return tuple(watch.seconds[key] / CALIBRATION for key in (("", ""), ("many", "")))  # type: ignore[return-value]


class TimedBus(EventBus):
    """Times every handler and every drain, between the first prediction and the last commit."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.watch = Stopwatch()
        self.predictions = 0
        self.began: tuple[float, float] | None = None
        """CPU seconds of this thread and of the process."""
        self.ended = (0.0, 0.0)
        self._drain = self.watch.timed(("bus", ""), self._drain)  # type: ignore[method-assign]

    def subscribe(self, topic: Topic, handler: Handler, name: str, address: str | None = None) -> None:
        """Subscribe as the bus does, and time each call."""
        key = name, topic if isinstance(topic, str) else topic.topic
        super().subscribe(topic, self.watch.timed(key, handler), name, address)

    def publish(self, event: Event, causes: tuple[int, ...] | None = None) -> int:
        """Publish as the bus does; the measurement begins with the first prediction."""
        if isinstance(event, PredictionSubmitted) and self.began is None:
            self.began = time.thread_time(), time.process_time()
            self.watch.clear()
        seq = super().publish(event, causes)
        if isinstance(event, PredictionsStored):
            self.predictions += len(event.verdicts)
            self.ended = time.thread_time(), time.process_time()
        return seq


class TimedValidator(Validator):
    """A validator that times every step."""

    bus_class = TimedBus

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        assert isinstance(self.bus, TimedBus)  # noqa: S101 - see bus_class
        timed = self.bus.watch.timed
        codec.split = timed(("decode", ""), codec.split)
        codec.read = timed(("decode", ""), codec.read)
        Keys.sign = timed(("sign", ""), Keys.sign)  # type: ignore[method-assign]
        SessionProtocol.write = timed(("write", ""), SessionProtocol.write)  # type: ignore[method-assign]

    def budget(self) -> Figures:
        """Microseconds of CPU for one prediction, step by step."""
        bus = self.bus
        if not isinstance(bus, TimedBus) or bus.began is None:
            raise BenchmarkFailed("no prediction came")
        per_prediction = 1e6 / bus.predictions
        inside, outside = bus.watch.cost()
        steps: defaultdict[str, float] = defaultdict(float)
        timed = 0.0
        for key, seconds in bus.watch.seconds.items():
            net = (seconds - bus.watch.calls[key] * inside) * per_prediction
            steps[_step(*key)] += net
            timed += seconds * per_prediction
        timing = outside * bus.watch.calls.total() * per_prediction
        thread, process = ((end - begin) * per_prediction for begin, end in zip(bus.began, bus.ended, strict=True))
        # timing costs the caller of a timed step, which is nearly always the bus
        steps["bus"] -= timing
        named = {
            "read from the socket, WebSocket, event loop": thread - timed,
            **{name: steps[name] for name in STEPS},
            "ledger's thread": process - thread,
        }
        whole = sum(named.values())
        ours = sum(us for name, us in named.items() if "actor" in name) + named["bus"]
        return {
            "predictions": bus.predictions,
            "steps_us": named,
            "cpu_us_per_prediction": whole,
            "bus_and_actors_us": ours,
            "bus_and_actors_share": ours / whole,
        }


def _step(name: str, topic: str) -> str:
    for step, (who, what) in STEPS.items():
        if name == who and what in (None, topic):
            return step
    return "other actors" if name in ACTOR_NAMES else "other edges"


def measure(load: Load) -> Figures:
    """The budget of a prediction under this load."""
    with running_validator(load.miners, module="bettensor.neurons.bench.budget") as validator:
        asyncio.run(push_once(validator, load))
        validator.stop()
        figures: Figures = json.loads((validator.folder / FILE).read_text())
    return figures


async def _run(config: Path) -> None:
    neuron = TimedValidator(load_settings(config, {}, "validator"), str(config))
    await neuron.run()
    (config.parent / FILE).write_text(json.dumps(neuron.budget(), indent=2))


if __name__ == "__main__":
    tune_interpreter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(Path(sys.argv[2])))
