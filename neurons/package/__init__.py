"""Real-time, authenticated communication between the miners and validators of a Bittensor subnet.

What most users need; names are loaded when they are used::

    from bettensor import Miner, load_settings

    async with Miner(load_settings(Path("miner.yaml"))) as miner:
        miner.bus.on("verdict_received", my_handler)

Signals and logging stay the program's own.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if __name__ != "bettensor":
    raise ImportError("this is the package bettensor itself: import bettensor")

if TYPE_CHECKING:
    from bettensor.neurons.config.settings import MinerSettings, ValidatorSettings, load_settings
    from bettensor.neurons.miner import Miner
    from bettensor.neurons.neuron import Neuron
    from bettensor.neurons.validator import Validator

__all__ = ["Miner", "MinerSettings", "Neuron", "Validator", "ValidatorSettings", "load_settings"]

_HOMES = {
    "bettensor.neurons.config.settings": ("MinerSettings", "ValidatorSettings", "load_settings"),
    "bettensor.neurons.miner": ("Miner",),
    "bettensor.neurons.neuron": ("Neuron",),
    "bettensor.neurons.validator": ("Validator",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("bettensor")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'bettensor' has no attribute {name!r}")
