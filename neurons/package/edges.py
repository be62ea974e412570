"""The door of edges, which connect the bus to the outside world: the base class, its protocols, and what feeds need."""

from typing import TYPE_CHECKING

from bettensor._doors import open_door

if TYPE_CHECKING:
    from bettensor.neurons.edges.edge import (
        Edge,
        Identity,
        Isolates,
        LogSource,
        Plan,
        QuerySigner,
        Records,
        RequestSigner,
        SendQueues,
        SentTargets,
        Signer,
        StateDir,
        Stoppable,
        Store,
        Transports,
        on,
    )
    from bettensor.neurons.edges.game_file import FetchedSlate, read_games
    from bettensor.neurons.edges.odds_api_feed import OddsApiFeed
else:
    __getattr__, __dir__ = open_door(
        __name__,
        {
            "bettensor.neurons.edges.edge": (
                "Edge",
                "Identity",
                "Isolates",
                "LogSource",
                "Plan",
                "QuerySigner",
                "Records",
                "RequestSigner",
                "SendQueues",
                "SentTargets",
                "Signer",
                "StateDir",
                "Stoppable",
                "Store",
                "Transports",
                "on",
            ),
            "bettensor.neurons.edges.game_file": ("FetchedSlate", "read_games"),
            "bettensor.neurons.edges.odds_api_feed": ("OddsApiFeed",),
        },
    )

__all__ = [
    "Edge",
    "FetchedSlate",
    "Identity",
    "Isolates",
    "LogSource",
    "OddsApiFeed",
    "Plan",
    "QuerySigner",
    "Records",
    "RequestSigner",
    "SendQueues",
    "SentTargets",
    "Signer",
    "StateDir",
    "Stoppable",
    "Store",
    "Transports",
    "on",
    "read_games",
]
