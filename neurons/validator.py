"""A validator; ``python -m bettensor.neurons.validator --config FILE`` runs one."""

import sys
from typing import Final

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


if __name__ == "__main__":
    from bettensor.neurons.cli.main import main

    sys.exit(main(["validator", *sys.argv[1:]]))
