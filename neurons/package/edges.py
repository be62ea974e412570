"""Edges, where the outside world meets the bus: the base class, and what an edge may ask for (docs/edges.md)."""

from bettensor.neurons.edges.edge import *  # noqa: F403 - a door: its names are said once, in __all__ there
from bettensor.neurons.edges.edge import __all__ as __all__
