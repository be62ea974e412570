"""Neurons without a world, for tests: the door of ``bettensor.neurons.simulation``, which says how to use them."""

from bettensor.neurons.simulation import *  # noqa: F403 - a door: its names are said once, in __all__ there
from bettensor.neurons.simulation import __all__ as __all__
