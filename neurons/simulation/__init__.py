"""Neurons without a world: for tests, ours and yours.

Each edge keeps the contract of the real one (``tests/contracts``).

::

    network = SimulatedNetwork()
    validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(clock=network.clock)
    network.add(validator, miner)
    validator.offer(make_game())
    network.advance(1)
    miner.predict("p1", validator.hotkey)
    network.advance(1)
    assert miner.last(VerdictReceived).code == "accepted"
"""

from bus.clock import ManualClock
from neurons.simulation.event_log import EventLog
from neurons.simulation.factories import NETUID, NOW, make_game, make_hotkey, make_prediction, make_soccer_game
from neurons.simulation.game_stream import SimulatedGameStream
from neurons.simulation.keys import SimulatedKeys
from neurons.simulation.ledger import SimulatedLedger
from neurons.simulation.network import SimulatedNetwork
from neurons.simulation.neuron import SimulatedMiner, SimulatedNeuron, SimulatedValidator
from neurons.simulation.outbox import SimulatedOutbox
from neurons.simulation.substrate import SimulatedSubstrate
from neurons.simulation.timers import SimulatedTimers

__all__ = [
    "NETUID",
    "NOW",
    "EventLog",
    "ManualClock",
    "SimulatedGameStream",
    "SimulatedKeys",
    "SimulatedLedger",
    "SimulatedMiner",
    "SimulatedNetwork",
    "SimulatedNeuron",
    "SimulatedOutbox",
    "SimulatedSubstrate",
    "SimulatedTimers",
    "SimulatedValidator",
    "make_game",
    "make_hotkey",
    "make_prediction",
    "make_soccer_game",
]
