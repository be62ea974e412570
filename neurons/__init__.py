"""A validator or a miner in a program of one's own::

    from neurons import Miner, load_settings

    async with Miner(load_settings(Path("miner.yaml"))) as miner:
        miner.bus.on("verdict_received", my_handler)
        ...

Signals and logging stay the program's own. Names are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurons.launch import Miner, Neuron, Validator
    from neurons.models import Forecast, ModelHost, Predictor
    from neurons.settings import MinerSettings, ValidatorSettings, load_settings

__all__ = [
    "Forecast",
    "Miner",
    "MinerSettings",
    "ModelHost",
    "Neuron",
    "Predictor",
    "Validator",
    "ValidatorSettings",
    "load_settings",
]

_HOMES = {
    "neurons.launch": ("Miner", "Neuron", "Validator"),
    "neurons.models": ("Forecast", "ModelHost", "Predictor"),
    "neurons.settings": ("MinerSettings", "ValidatorSettings", "load_settings"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'neurons' has no attribute {name!r}")
