"""Real-time, authenticated communication between the miners and validators of a Bittensor subnet.

The names that most users need; each is loaded when it is used::

    from bettensor import Miner, load_settings

    async with Miner(load_settings(Path("miner.yaml"))) as miner:
        miner.bus.on("verdict_received", my_handler)

The program keeps control of signals and logging. The other doors are ``bettensor.bus`` (events, and the bus that
carries them), ``bettensor.actors``, ``bettensor.edges``, ``bettensor.models``, ``bettensor.recordings`` and
``bettensor.simulation``.
"""

from typing import TYPE_CHECKING

if __name__ != "bettensor":
    raise ImportError("this is the package bettensor itself: import bettensor")

from bettensor._doors import open_door

if TYPE_CHECKING:
    from bettensor._version import __version__
    from bettensor.neurons.config.loading import load_settings
    from bettensor.neurons.config.settings import MinerSettings, ValidatorSettings
    from bettensor.neurons.miner import Miner
    from bettensor.neurons.neuron import Neuron
    from bettensor.neurons.validator import Validator
else:
    __getattr__, __dir__ = open_door(
        __name__,
        {
            "bettensor._version": ("__version__",),
            "bettensor.neurons.config.loading": ("load_settings",),
            "bettensor.neurons.config.settings": ("MinerSettings", "ValidatorSettings"),
            "bettensor.neurons.miner": ("Miner",),
            "bettensor.neurons.neuron": ("Neuron",),
            "bettensor.neurons.validator": ("Validator",),
        },
    )

__all__ = ["Miner", "MinerSettings", "Neuron", "Validator", "ValidatorSettings", "__version__", "load_settings"]
