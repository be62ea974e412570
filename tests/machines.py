"""State machines by hypothesis: how long they run, and what holds at the end of every run.

``make fuzz`` sets ``EXAMPLES``: so many runs, each other than before. Without it there are a few runs, always the same.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings

from bettensor.bus.events import ActorFailed, Event, NeuronFailed
from bettensor.bus.identifiers import ConnectionId
from bettensor.neurons.recordings.recording import Recording
from bettensor.neurons.recordings.text import explain_replay
from bettensor.neurons.simulation import SimulatedNeuron

EXAMPLES: Final = "EXAMPLES"
"""The environment variable with the number of runs."""
PROFILE: Final = settings(
    max_examples=int(os.environ.get(EXAMPLES, "30")),
    stateful_step_count=50,
    derandomize=EXAMPLES not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=[Phase.generate],
)
FIRST_CONNECTION: Final = 7_000_000_000_000
"""Connections have numbers that are nothing else's, so that they are found in any state."""


def check_no_failure(neuron: SimulatedNeuron, since: int = 0) -> None:
    """No actor and no edge of ``neuron`` has failed."""
    for envelope in neuron.envelopes[since:]:
        event: Event = envelope.event
        assert not isinstance(event, ActorFailed), event.error
        assert not isinstance(event, NeuronFailed), event.reason


def check_replay(neuron: SimulatedNeuron) -> None:
    """The log of the whole run is read again, and every decision in it is made again."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "events.jsonl"
        neuron.save(file)
        replayed = Recording(file).replay()
    assert replayed.difference is None, explain_replay(replayed)
    assert not replayed.surplus, explain_replay(replayed)


def numbers_in(data: Any) -> Iterator[int]:
    """All numbers in plain JSON data, those of keys too."""
    if isinstance(data, dict):
        for key, value in data.items():
            if isinstance(key, int) or (isinstance(key, str) and key.isdigit()):
                yield int(key)
            yield from numbers_in(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from numbers_in(value)
    elif isinstance(data, int):
        yield data


def connections_in(data: Any) -> set[ConnectionId]:
    """The connections that a state knows."""
    return {ConnectionId(number) for number in numbers_in(data) if FIRST_CONNECTION <= number < 2 * FIRST_CONNECTION}
