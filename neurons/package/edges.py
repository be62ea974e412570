"""The door of edges, which connect the bus to the outside world: the base class and its protocols (docs/edges.md)."""

from bettensor.neurons.edges.edge import *  # noqa: F403 - a door: its names are listed there, in __all__
from bettensor.neurons.edges.edge import __all__ as __all__
