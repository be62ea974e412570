"""A validator: ``python neurons/validator.py`` in a clone, ``python -m bettensor.neurons.validator`` everywhere."""

import sys
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    try:
        from bettensor.neurons.cli.script import run_script
    except ModuleNotFoundError as error:
        here = Path(__file__).parents[1]
        sys.exit(f"{error}; run `pip install {here}`, or start this file with {here}/.venv/bin/python")
    sys.exit(run_script("validator"))

from bettensor.bus.events import NeuronDraining
from bettensor.neurons.config.settings import ValidatorSettings
from bettensor.neurons.neuron import Neuron

SHUTDOWN_TIMEOUT: Final = 10.0
"""Seconds for answering the work that was taken in, when a validator stops."""


class Validator(Neuron):
    """A validator: listens, judges, confirms."""

    settings: ValidatorSettings
    patience = SHUTDOWN_TIMEOUT

    @property
    def port(self) -> int:
        """The port on which it listens, once it is open."""
        from bettensor.neurons.edges.listener import Listener

        return self.edges[Listener].port

    async def _stop(self) -> None:
        self.bus.publish(NeuronDraining())
        await super()._stop()
