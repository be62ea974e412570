"""What the commands share that fill a stopped neuron's database from an existing neuron's."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import NeuronInfo, Role
from bettensor.neurons.cli import views
from bettensor.neurons.cli.control_client import find_state_dir, refuse_while_it_runs
from bettensor.neurons.cli.history import LEDGER, OUTBOX
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import MinerSettings
from bettensor.neurons.existing.metagraphs import local_neurons
from bettensor.neurons.existing.skipped import Skipped

_OTHER: dict[Role, tuple[Role, str]] = {"validator": ("miner", OUTBOX), "miner": ("validator", LEDGER)}
"""For each role the other one, and the file by which its state_dir is known."""


class Destination(NamedTuple):
    """The neuron that is filled."""

    state_dir: Path
    neurons: tuple[NeuronInfo, ...] = ()
    """Its metagraph, if this machine has one."""
    validators: tuple[str, ...] = ()
    """A miner's key ``validators``."""


class Import(Protocol):
    """The outcome of an import."""

    known: int
    old: int
    skipped: Skipped

    @property
    def imported(self) -> int:
        """New in the database."""

    def summary(self) -> str:
        """The outcome in one line."""

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain data."""


def run(arguments: Namespace, role: Role, fill: Callable[[Path, Destination, bool], Import]) -> int:
    """Fill a neuron as the command line says, and tell the outcome.

    Args:
        arguments: with ``file``, ``config``, ``state_dir``, ``dry_run`` and ``json``.
        role: of the neuron.
        fill: takes the source, the neuron, and whether nothing may be written.

    Returns:
        The exit code: 1 if the source has rows, and all of them were skipped.
    """
    target = _target(arguments, role)
    with views.progress("importing"):
        done = fill(arguments.file, target, arguments.dry_run)
    for line in done.skipped.lines():
        print(line, file=sys.stderr)
    print(json.dumps(done.as_json(), indent=2) if arguments.json else done.summary())
    return 1 if done.skipped and not (done.imported or done.known or done.old) else 0


def _target(arguments: Namespace, role: Role) -> Destination:
    state_dir = find_state_dir(arguments.state_dir, arguments.config, role)
    other, mark = _OTHER[role]
    if (state_dir / mark).exists():
        raise ConfigurationError(f"{state_dir} is the state_dir of a {other}; name that of a {role}")
    if not arguments.dry_run:
        refuse_while_it_runs(state_dir, arguments.config, role)
    if arguments.config is None:
        return Destination(state_dir, local_neurons(state_dir, None))
    settings = load_settings(arguments.config)
    if settings.role != role:
        raise ConfigurationError(f"{arguments.config} configures a {settings.role}; name the file of a {role}")
    validators = tuple(settings.validators) if isinstance(settings, MinerSettings) else ()
    return Destination(state_dir, local_neurons(state_dir, settings.metagraph.static), validators)
