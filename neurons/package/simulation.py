"""The door of ``bettensor.neurons.simulation``: neurons without an outside world, for tests."""

from bettensor.neurons.simulation import *  # noqa: F403 - a door: its names are listed there, in __all__
from bettensor.neurons.simulation import __all__ as __all__
