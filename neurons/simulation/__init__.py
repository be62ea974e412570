"""Edges without a world: for tests, ours and yours. Each keeps the contract of the real one (``tests/contracts``)."""

from neurons.simulation.game_stream import SimulatedGameStream
from neurons.simulation.keys import SimulatedKeys
from neurons.simulation.ledger import SimulatedLedger
from neurons.simulation.outbox import SimulatedOutbox
from neurons.simulation.timers import SimulatedTimers

__all__ = ["SimulatedGameStream", "SimulatedKeys", "SimulatedLedger", "SimulatedOutbox", "SimulatedTimers"]
