"""A miner: ``python neurons/miner.py`` in a clone, ``python -m bettensor.neurons.miner`` everywhere."""

import sys
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    try:
        from bettensor.neurons.cli.script import run_script
    except ModuleNotFoundError as error:
        here = Path(__file__).parents[1]
        sys.exit(f"{error}; run `pip install {here}`, or start this file with {here}/.venv/bin/python")
    sys.exit(run_script("miner"))

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
