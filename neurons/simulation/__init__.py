"""Neurons without an outside world, for your tests and ours.

Each simulated edge keeps the contract of the real one (``tests/contracts``).

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

from bettensor.bus.clock import ManualClock
from bettensor.neurons.simulation.at_once import at_once
from bettensor.neurons.simulation.event_log import EventLog
from bettensor.neurons.simulation.existing import ExistingMiner, ExistingNeuron, ExistingValidator
from bettensor.neurons.simulation.factories import (
    NETUID,
    NOW,
    make_game,
    make_hotkey,
    make_identity,
    make_prediction,
    make_soccer_game,
)
from bettensor.neurons.simulation.game_stream import SimulatedGameStream
from bettensor.neurons.simulation.keys import SimulatedKeys, SimulatedVerifier
from bettensor.neurons.simulation.ledger import SimulatedLedger
from bettensor.neurons.simulation.network import SimulatedNetwork
from bettensor.neurons.simulation.neuron import SimulatedMiner, SimulatedNeuron, SimulatedValidator
from bettensor.neurons.simulation.outbox import SimulatedOutbox
from bettensor.neurons.simulation.substrate import SimulatedSubstrate
from bettensor.neurons.simulation.timers import SimulatedTimers

__all__ = [
    "NETUID",
    "NOW",
    "EventLog",
    "ExistingMiner",
    "ExistingNeuron",
    "ExistingValidator",
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
    "SimulatedVerifier",
    "at_once",
    "make_game",
    "make_hotkey",
    "make_identity",
    "make_prediction",
    "make_soccer_game",
]
