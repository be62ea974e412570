"""Where the time of one prediction goes: a validator whose bus takes the time of every handler.

    python -m neurons.bench.budget --config validator.yaml

runs like ``bettensor validator``, and at its end writes ``budget.json`` beside the configuration. ``measure`` does that
under load.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import uvloop

from bus.bus import EventBus, Handler, Topic
from bus.envelope import Envelope
from bus.events import Event, PredictionsStored, PredictionSubmitted
from neurons import launch
from neurons.bench.figures import Figures
from neurons.bench.rig import running_validator
from neurons.launch import ACTORS
from neurons.settings import load_settings

FILE: Final = "budget.json"
CALIBRATION: Final = 10_000


class TimedBus(EventBus):
    """Takes the CPU time of every handler and of every drain, between the first prediction and the last commit."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.handlers: Counter[tuple[str, str]] = Counter()
        """Seconds by name and topic."""
        self.calls: Counter[tuple[str, str]] = Counter()
        self.drains = 0.0
        self.predictions = 0
        self.began: tuple[float, float] | None = None
        self.ended = (0.0, 0.0)
        """CPU seconds of this thread and of the process."""

    def subscribe(self, topic: Topic, handler: Handler, name: str) -> None:
        """As the bus does, with the time of each call."""

        def timed(event: Event, envelope: Envelope) -> None:
            begin = time.thread_time()
            try:
                handler(event, envelope)
            finally:
                key = name, event.topic
                self.handlers[key] += time.thread_time() - begin
                self.calls[key] += 1

        super().subscribe(topic, timed, name)

    def publish(self, event: Event, causes: tuple[int, ...] | None = None) -> int:
        """As the bus does, with the time of what is delivered."""
        if isinstance(event, PredictionSubmitted) and self.began is None:
            self.began = time.thread_time(), time.process_time()
            self.handlers.clear()
            self.calls.clear()
            self.drains = 0.0
        if self._draining:
            return super().publish(event, causes)
        begin = time.thread_time()
        seq = super().publish(event, causes)
        self.drains += time.thread_time() - begin
        if isinstance(event, PredictionsStored):
            self.predictions += len(event.verdicts)
            self.ended = time.thread_time(), time.process_time()
        return seq


class TimedValidator(launch.Validator):
    """A validator on such a bus."""

    bus_class = TimedBus


def budget(bus: TimedBus) -> Figures:
    """Microseconds of CPU for one prediction, step by step."""
    assert bus.began is not None
    micros = 1e6 / bus.predictions
    clock = _cost_of_the_clock()
    actors = {actor.name for actor in ACTORS["validator"]} | {"supervisor"}
    steps: Counter[str] = Counter()
    handlers: list[dict[str, Any]] = []
    for (name, topic), seconds in bus.handlers.most_common():
        calls = bus.calls[name, topic]
        net = (seconds - calls * clock) * micros
        steps[name] += net  # type: ignore[assignment]
        handlers.append({"name": name, "topic": topic, "us": net, "calls": calls / bus.predictions})
    timing = 2 * clock * sum(bus.calls.values()) * micros
    thread, process = (end - begin for begin, end in zip(bus.began, bus.ended, strict=True))
    drains = bus.drains * micros - timing
    whole = process * micros - timing
    in_actors = sum(us for name, us in steps.items() if name in actors)
    dispatch = drains - steps.total()
    return {
        "predictions": bus.predictions,
        "cpu_us_per_prediction": whole,
        "steps_us": {
            "sockets, WebSocket, event loop": thread * micros - bus.drains * micros,
            "other threads (ledger)": (process - thread) * micros,
            "bus": dispatch,
            **{f"{'actor' if name in actors else 'edge'} {name}": us for name, us in steps.most_common()},
        },
        "bus_and_actors_us": in_actors + dispatch,
        "bus_and_actors_share": (in_actors + dispatch) / whole,
        "handlers": handlers[:30],
    }


def _cost_of_the_clock() -> float:
    """Seconds that one reading adds to what is measured."""
    begin = time.thread_time()
    for _ in range(CALIBRATION):
        time.thread_time()
    return (time.thread_time() - begin) / CALIBRATION


def measure() -> Figures:
    """The budget under the load of ``confirm``."""
    from neurons.bench.confirm import Load, push_once

    load = Load(duration=4.0)
    with running_validator(load.miners, module="neurons.bench.budget") as validator:
        folder = validator.folder
        asyncio.run(push_once(validator, load))
        validator.stop()
        figures: Figures = json.loads((folder / FILE).read_text())
    return figures


async def _run(config: Path) -> None:
    neuron = TimedValidator(load_settings(config, {}, "validator"), str(config))
    await neuron.run()
    assert isinstance(neuron.bus, TimedBus)
    (config.parent / FILE).write_text(json.dumps(budget(neuron.bus), indent=2))


if __name__ == "__main__":
    sys.setswitchinterval(launch.SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(Path(sys.argv[2])))
