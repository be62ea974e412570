"""The names of things, as types: a validator's hotkey can never be passed where a session is meant.

Knows nothing but these names. All of them are plain strings and integers at run time.
"""

from typing import NewType

__all__ = [
    "SECOND",
    "ConnectionId",
    "Epoch",
    "GameId",
    "Hotkey",
    "LedgerId",
    "MessageId",
    "Micros",
    "Millionths",
    "Netuid",
    "Offset",
    "PredictionId",
    "SessionId",
    "Uid",
    "micros",
]

Hotkey = NewType("Hotkey", str)
"""A neuron's identity: the ss58 address of its hotkey."""

Netuid = NewType("Netuid", int)
"""The number of a subnet."""

Uid = NewType("Uid", int)
"""A neuron's place in the metagraph of its subnet; it may pass to another hotkey."""

ConnectionId = NewType("ConnectionId", int)
"""One socket, or one HTTP request, for this run of this neuron; never reused, never sent to a peer."""

SessionId = NewType("SessionId", str)
"""32 hex digits that bind every frame to both parties, the subnet and one handshake (protocol, "Session")."""

MessageId = NewType("MessageId", str)
"""32 random hex digits, which name one message from the moment that it is written."""

PredictionId = NewType("PredictionId", str)
"""1 to 64 of ``[A-Za-z0-9_-]``, chosen by the miner; with its hotkey the key of one verdict."""

GameId = NewType("GameId", str)
"""A game on the slate."""

Epoch = NewType("Epoch", str)
"""32 random hex digits: one unbroken history of the game stream."""

Offset = NewType("Offset", int)
"""How many updates of the game stream there have been in its epoch."""

LedgerId = NewType("LedgerId", str)
"""32 random hex digits, made with the ledger: a miner notices by it that a validator lost its database."""

Micros = NewType("Micros", int)
"""Microseconds: since the Unix epoch (UTC) in names with ``at``; since the start of the neuron in ``mono``."""

Millionths = NewType("Millionths", int)
"""Money and odds in integer millionths, so that comparison and addition are exact (protocol, "Numbers")."""

SECOND = Micros(1_000_000)


def micros(seconds: float) -> Micros:
    """A duration in seconds, as settings give it, in microseconds."""
    return Micros(round(seconds * SECOND))
