"""Runs a neuron in a process of its own."""

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Final

from bettensor.neurons.composition import build_actors, build_predictor, check_parts, edge_parts, load_handlers
from bettensor.neurons.config.faults import Faults
from bettensor.neurons.config.loading import Configuration
from bettensor.neurons.config.plugins import import_messages
from bettensor.neurons.config.settings import Settings, ValidatorSettings
from bettensor.neurons.config.sources import Where
from bettensor.neurons.edges.edge import Plan
from bettensor.neurons.miner import Miner
from bettensor.neurons.system.processes import allow_open_files
from bettensor.neurons.validator import Validator

SWITCH_INTERVAL: Final = 0.0002
"""Seconds after which a busy thread lets another run: the ledger's thread must not wait for Python's 5 ms."""
COLLECTOR_THRESHOLD: Final = 5_000
"""Objects between two garbage collections: events have no cycles, and are freed soon."""


def refuse_faults(loaded: Configuration) -> None:
    """Check all keys: those of the sections, and those of actors, edges, the model and handlers.

    Raises:
        ConfigurationError: keys are wrong; the message has a line for each.
    """
    import_messages()
    faults = Faults(loaded.faults)
    with faults.collect():
        check_parts(loaded.settings, loaded.sources)
    faults.tell()


def check(settings: Settings, where: Where) -> list[str]:
    """Check everything that needs no start: actors, edges with what each of them looks at, model and handlers.

    Returns:
        The faults with which the neuron would run, such as rows of metagraph and blacklist that it would skip, and
        games that it would withhold, one each.

    Raises:
        ConfigurationError: a part is wrong.
    """
    import_messages()
    actors = build_actors(settings, where)
    parts = edge_parts(settings, where)
    load_handlers(settings, where)
    faults = [fault for _, edge, own in parts for fault in edge.check(Plan(own, settings, actors))]
    if not isinstance(settings, ValidatorSettings):
        faults += getattr(build_predictor(settings, where), "faults", list)()
    return faults


def build(
    settings: Settings, where: Where = "settings", again: Callable[[], Settings] | None = None
) -> Validator | Miner:
    """The neuron that ``settings`` describe."""
    kind = Validator if isinstance(settings, ValidatorSettings) else Miner
    return kind(settings, where, again=again)


def run(settings: Settings, where: Where, again: Callable[[], Settings] | None = None) -> int:
    """Run a neuron in this process until it stops; returns the exit code.

    Args:
        settings: of either role.
        where: where the settings come from, for messages; if that is a file, it is watched.
        again: reads the settings again, when the file changes and, without a terminal, at SIGHUP.

    Raises:
        ConfigurationError: the neuron cannot start.
    """
    import uvloop

    allow_open_files()
    tune_interpreter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, where, again))


def tune_interpreter() -> None:
    """Set Python's intervals for a process that runs only a neuron."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()
    gc.set_threshold(COLLECTOR_THRESHOLD)


async def _run(settings: Settings, where: Where, again: Callable[[], Settings] | None) -> int:
    return await build(settings, where, again).run()
