"""Runs a neuron in a process of its own."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from bettensor.actors.actor import Actor
from bettensor.actors.validator.games import GamesActor, doubted
from bettensor.bus.clock import SystemClock
from bettensor.neurons.composition import build_actors, build_predictor, check_edges, load_handlers
from bettensor.neurons.config.plugins import import_messages
from bettensor.neurons.config.settings import Settings, ValidatorSettings
from bettensor.neurons.edges.static_files import read_blacklist, read_metagraph
from bettensor.neurons.miner import Miner
from bettensor.neurons.system.processes import allow_open_files
from bettensor.neurons.validator import Validator

SWITCH_INTERVAL: Final = 0.001
"""Seconds after which a busy thread lets another run: the ledger's thread must not wait for Python's 5 ms."""
COLLECTOR_THRESHOLD: Final = 20_000
"""Objects between two garbage collections: events have no cycles, and are freed soon."""


def check(settings: Settings, where: str) -> list[str]:
    """Check everything that needs no start: actors, edges, model, handlers and files.

    Returns:
        The faults without which the neuron would run: rows of metagraph and blacklist that it would skip, and games
        that it would withhold, one each.

    Raises:
        ConfigurationError: a part is wrong.
    """
    import_messages()
    actors = build_actors(settings, where)
    check_edges(settings, where)
    load_handlers(settings, where)
    faults: list[str] = []
    if settings.metagraph.static is not None:
        faults += _faults_of(settings.metagraph.static, read_metagraph(settings.metagraph.static).faults)
    if isinstance(settings, ValidatorSettings):
        faults += _faults_of_games(settings, actors)
        if settings.blacklist is not None:
            faults += _faults_of(settings.blacklist, read_blacklist(settings.blacklist).faults)
    else:
        build_predictor(settings, where)
    return faults


def _faults_of(file: Path, faults: Iterable[str]) -> list[str]:
    return [f"{file}: {fault}" for fault in faults]


def _faults_of_games(settings: ValidatorSettings, actors: Iterable[Actor]) -> list[str]:
    """What is wrong in the games file: by its own rules, and by the odds that the actor finds plausible."""
    from bettensor.neurons.edges.game_feed import SHIPPED
    from bettensor.neurons.edges.game_file import read_games

    file, now = settings.games.path or SHIPPED, SystemClock().wall()
    slate = read_games(file, now, now)
    withheld = [*slate.withheld]
    for limits in (actor.settings for actor in actors if isinstance(actor, GamesActor)):
        withheld += doubted(slate.games, limits)
    return _faults_of(file, (f"game {game.game_id!r}: {game.reason}" for game in withheld if not game.started))


def build(
    settings: Settings, where: str = "settings", again: Callable[[], Settings] | None = None
) -> Validator | Miner:
    """The neuron that ``settings`` describe."""
    kind = Validator if isinstance(settings, ValidatorSettings) else Miner
    return kind(settings, where, again=again)


def run(settings: Settings, where: str, again: Callable[[], Settings] | None = None) -> int:
    """Run a neuron in this process until it stops; returns the exit code.

    Args:
        settings: of either role.
        where: the file that the settings come from, for messages.
        again: reads the settings again, at SIGHUP and when the file changes.

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


async def _run(settings: Settings, where: str, again: Callable[[], Settings] | None) -> int:
    return await build(settings, where, again).run()
