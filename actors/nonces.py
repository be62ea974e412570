"""Nonces that were accepted: each is accepted once for each hotkey."""

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from bettensor.bus.envelope import Envelope
from bettensor.bus.identifiers import SECOND, Hotkey, Micros

NONCE_MEMORY: Final = Micros(60 * SECOND)
"""The least time that an accepted nonce is remembered, also if the wall clock steps."""


@dataclass(slots=True)
class Nonce:
    """An accepted request: not to be accepted again."""

    hotkey: Hotkey
    nonce: str
    accepted_at: Micros
    """Monotonic."""


class RemembersNonces(Protocol):
    """The state of an actor that judges requests."""

    nonces: dict[str, None]
    """The accepted nonces, each with its hotkey."""
    nonce_order: deque[Nonce]
    """The same, the oldest first."""


def accept_nonce(state: RemembersNonces, hotkey: Hotkey, nonce: str, envelope: Envelope, max_age: Micros) -> bool:
    """Remember a nonce; False if its hotkey has used it before.

    A nonce is forgotten only when it is stale by the wall clock and old by the monotonic one, so that no step of the
    wall clock makes a replay fresh again.

    Args:
        state: is changed.
        hotkey: whose request it is; verified.
        nonce: digits: nanoseconds since the Unix epoch.
        envelope: of the event that is being handled.
        max_age: the age at which a request is stale.
    """
    order = state.nonce_order
    while order and _is_past(order[0], envelope, max_age):
        past = order.popleft()
        del state.nonces[f"{past.hotkey} {past.nonce}"]
    number = str(int(nonce))
    key = f"{hotkey} {number}"
    if key in state.nonces:
        return False
    state.nonces[key] = None
    order.append(Nonce(hotkey, number, envelope.mono))
    return True


def _is_past(nonce: Nonce, envelope: Envelope, max_age: Micros) -> bool:
    stale = envelope.at - int(nonce.nonce) // 1000 > max_age
    return stale and envelope.mono - nonce.accepted_at > NONCE_MEMORY
