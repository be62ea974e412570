"""The decision makers of a neuron: events in, events out.

What an actor is, and each that comes with this package: inherit from one to change what it decides. Names are loaded
when they are used.
"""

from typing import TYPE_CHECKING

# the folder itself may be on the path: a second copy of these modules would have a registry of events of its own
if __name__ != "bettensor.actors":
    raise ImportError("this is bettensor.actors: import it by that name, and not actors")

from bettensor._doors import open_door

if TYPE_CHECKING:
    from bettensor.actors.actor import Actor, NoSettings, NoState, on, on_timer
    from bettensor.actors.auth import AuthActor
    from bettensor.actors.heartbeat import HeartbeatActor
    from bettensor.actors.logbook import LogbookActor
    from bettensor.actors.metagraph import MetagraphActor
    from bettensor.actors.miner.announce import MinerAnnounceActor
    from bettensor.actors.miner.connection import MinerConnectionActor
    from bettensor.actors.miner.http_fallback import HttpFallbackActor
    from bettensor.actors.miner.model import ModelActor
    from bettensor.actors.miner.outbox import OutboxActor
    from bettensor.actors.miner.reconnect import ReconnectActor
    from bettensor.actors.miner.slate import SlateActor
    from bettensor.actors.miner.synapse import MinerSynapseActor
    from bettensor.actors.monitor import MonitorActor
    from bettensor.actors.supervisor import SupervisorActor
    from bettensor.actors.validator.announce import AnnounceActor
    from bettensor.actors.validator.auth import ValidatorAuthActor
    from bettensor.actors.validator.broadcast import BroadcastActor
    from bettensor.actors.validator.connection import ValidatorConnectionActor
    from bettensor.actors.validator.games import GamesActor
    from bettensor.actors.validator.prediction import PredictionActor
    from bettensor.actors.validator.synapse import ValidatorSynapseActor
else:
    __getattr__, __dir__ = open_door(
        __name__,
        {
            "bettensor.actors.actor": ("Actor", "NoSettings", "NoState", "on", "on_timer"),
            "bettensor.actors.auth": ("AuthActor",),
            "bettensor.actors.heartbeat": ("HeartbeatActor",),
            "bettensor.actors.logbook": ("LogbookActor",),
            "bettensor.actors.metagraph": ("MetagraphActor",),
            "bettensor.actors.miner.announce": ("MinerAnnounceActor",),
            "bettensor.actors.miner.connection": ("MinerConnectionActor",),
            "bettensor.actors.miner.http_fallback": ("HttpFallbackActor",),
            "bettensor.actors.miner.model": ("ModelActor",),
            "bettensor.actors.miner.outbox": ("OutboxActor",),
            "bettensor.actors.miner.reconnect": ("ReconnectActor",),
            "bettensor.actors.miner.slate": ("SlateActor",),
            "bettensor.actors.miner.synapse": ("MinerSynapseActor",),
            "bettensor.actors.monitor": ("MonitorActor",),
            "bettensor.actors.supervisor": ("SupervisorActor",),
            "bettensor.actors.validator.announce": ("AnnounceActor",),
            "bettensor.actors.validator.auth": ("ValidatorAuthActor",),
            "bettensor.actors.validator.broadcast": ("BroadcastActor",),
            "bettensor.actors.validator.connection": ("ValidatorConnectionActor",),
            "bettensor.actors.validator.games": ("GamesActor",),
            "bettensor.actors.validator.prediction": ("PredictionActor",),
            "bettensor.actors.validator.synapse": ("ValidatorSynapseActor",),
        },
    )

__all__ = [
    "Actor",
    "AnnounceActor",
    "AuthActor",
    "BroadcastActor",
    "GamesActor",
    "HeartbeatActor",
    "HttpFallbackActor",
    "LogbookActor",
    "MetagraphActor",
    "MinerAnnounceActor",
    "MinerConnectionActor",
    "MinerSynapseActor",
    "ModelActor",
    "MonitorActor",
    "NoSettings",
    "NoState",
    "OutboxActor",
    "PredictionActor",
    "ReconnectActor",
    "SlateActor",
    "SupervisorActor",
    "ValidatorAuthActor",
    "ValidatorConnectionActor",
    "ValidatorSynapseActor",
    "on",
    "on_timer",
]
