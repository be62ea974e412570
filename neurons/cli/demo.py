"""A whole subnet on one machine for a short time: one validator and some miners, each in its own process.

The view shows the status that the neurons give over their control sockets; the outcome is read from the miners'
outboxes at the end. Each miner reaches the validator through a wire that can be cut. A neuron that is killed, by a key
or from outside, is started again. A visitor breaks some rules on purpose, so that there is a rejection of each kind.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType

from bettensor.neurons.cli import views
from bettensor.neurons.cli.demo_existing import RELEASE
from bettensor.neurons.cli.demo_outcome import outcome_of, print_outcome
from bettensor.neurons.cli.demo_subnet import TICK, Demo, latency_of, verdicts_of
from bettensor.neurons.cli.demo_view import demo_view
from bettensor.neurons.existing.environment import CannotInstall, Environment, home_of, requirements_of
from bettensor.neurons.system.processes import allow_open_files
from bettensor.neurons.system.scratch import clear_abandoned, scratch_folder
from bettensor.neurons.system.signals import ends_in_order

DURATION: Final = 20.0
LIVE_DURATION: Final = 60.0
"""Default duration in seconds: without and with a terminal."""


def run_demo(*, miners: int, existing: int = 0, duration: float | None = None, as_json: bool = False) -> int:
    """Run the demo.

    Args:
        miners: number of miners, at least one.
        existing: number of existing miners, which run with bittensor 10; the first time they take a minute more.
        duration: seconds, above 0; by default 60 in a terminal, otherwise 20.
        as_json: print only the outcome, as JSON.

    Returns:
        0 if predictions were accepted and every prediction has its verdict, otherwise 1.

    Raises:
        CannotInstall: what existing miners need cannot be installed; the message says why.
        DemoFailed: a process did not start, or ended by itself; the message has the end of its log.
    """
    watched = not as_json and sys.stdout.isatty() and sys.stdin.isatty()
    if duration is None:
        duration = LIVE_DURATION if watched else DURATION
    say = _silence if as_json else _say
    allow_open_files()
    if (cleared := clear_abandoned()) is not None:
        say(str(cleared))
    with ends_in_order(), scratch_folder("demo") as folder:
        python = _python_of_existing(_say_aside if as_json else _say) if existing else Path()
        say("creating throwaway wallets, metagraph files and configurations")
        demo = Demo(folder, miners, duration, existing, python)
        try:
            demo.start()
            say("the validator is running; starting the miners")
            if watched:
                _show(demo)
            else:
                _tell(demo, say)
            say("stopping: the miners wait for their last verdicts")
            demo.stop(say)
            demo.look()  # at what is on disk
            say(_progress(demo))
        finally:
            demo.close()
        outcome = outcome_of(demo)
        if as_json:
            print(json.dumps(outcome, indent=2))
        else:
            print_outcome(demo, outcome)
    return 0 if outcome["ok"] else 1


def _say(text: str) -> None:
    print(text, flush=True)


def _say_aside(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silence(_: str) -> None:
    pass


def _python_of_existing(say: Callable[[str], None]) -> Path:
    """The Python that runs existing miners; its environment is made if it is not there yet."""
    environment = Environment(home_of(RELEASE), requirements_of(RELEASE))
    try:
        environment.make(say)
    except CannotInstall as failure:
        what = f"existing miners need bittensor {RELEASE}, which cannot be installed in {environment.folder}"
        raise CannotInstall(f"{what}: {failure}; without --existing, the demo needs none") from None
    return environment.python


def _tell(demo: Demo, say: Callable[[str], None]) -> None:
    told = 0.0
    while (age := demo.age()) < demo.duration:
        time.sleep(min(TICK, demo.duration - age))
        for line in demo.tick():
            say(line)
        if age >= told + 1.0:
            told = age
            say(_progress(demo))


def _progress(demo: Demo) -> str:
    verdicts = verdicts_of(demo)
    accepted = verdicts.pop("accepted", 0)
    made = sum(miner.codes.total() for miner in demo.betting) + demo.visitor.codes.total()
    return f"{made} predictions pushed, {accepted} accepted, {verdicts.total()} rejected{_latencies(demo)}"


def _latencies(demo: Demo) -> str:
    latency = latency_of(demo)
    return "" if latency is None else f"; push to verdict: p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"


def _show(demo: Demo) -> None:
    def draw(screen: Console) -> RenderableType:
        demo.tick()
        return demo_view(demo, demo.age(), demo.duration, screen)

    views.live(draw, demo.press, lambda: demo.age() >= demo.duration)
