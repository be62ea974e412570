"""A miner; ``python -m bettensor.neurons.miner --config FILE`` runs one."""

import sys
from typing import Any, Final

from bettensor.bus.clock import Clock
from bettensor.neurons.composition import build_predictor
from bettensor.neurons.config.settings import MinerSettings
from bettensor.neurons.edges.keys import Keypair
from bettensor.neurons.models.model import Predictor
from bettensor.neurons.neuron import Neuron

FAREWELL_TIMEOUT: Final = 3.0
"""Seconds that a stopping miner waits for verdicts that are on their way."""


class Miner(Neuron):
    """A miner: dials, predicts, waits for verdicts."""

    settings: MinerSettings
    patience = FAREWELL_TIMEOUT

    def _gives(self, clock: Clock, keypair: Keypair) -> dict[Any, object]:
        return super()._gives(clock, keypair) | {Predictor: build_predictor(self.settings, self._where)}


if __name__ == "__main__":
    from bettensor.neurons.cli.main import main

    sys.exit(main(["miner", *sys.argv[1:]]))
