"""Nonces that were accepted: each is accepted once for each hotkey."""

from dataclasses import dataclass, field
from typing import Final

from bettensor.bus.identifiers import SECOND, Hotkey, Micros

NONCE_MEMORY: Final = Micros(60 * SECOND)
"""The least time that an accepted nonce is remembered, also if the wall clock steps."""
MAX_NONCES: Final = 256
"""Nonces of one hotkey that are remembered: those of 2.5 s at 100 requests a second. A request that comes later than so
many requests that were signed after it is not accepted."""


@dataclass(slots=True)
class Nonces:
    """The accepted nonces of one hotkey."""

    accepted: dict[str, Micros] = field(default_factory=dict)
    """The last ones, the oldest first, each with the monotonic time at which it was accepted."""
    floor: int = 0
    """A nonce that is not above this one is not accepted: it may be one that is not remembered any more."""


def accept_nonce(
    nonces: dict[Hotkey, Nonces], hotkey: Hotkey, nonce: str, at: Micros, mono: Micros, max_age: Micros
) -> bool:
    """Remember a nonce; False if its hotkey has used it before, or may have.

    A nonce is forgotten only when it is stale by the wall clock and old by the monotonic one, so that no step of the
    wall clock makes a replay fresh again.

    Args:
        nonces: of all hotkeys; is changed.
        hotkey: whose request it is; verified.
        nonce: digits: nanoseconds since the Unix epoch.
        at: the wall clock.
        mono: the monotonic clock.
        max_age: the age at which a request is stale.
    """
    own = nonces.setdefault(hotkey, Nonces())
    _forget_past(own, at, mono, max_age)
    number = int(nonce)
    if number <= own.floor or str(number) in own.accepted:
        return False
    if len(own.accepted) >= MAX_NONCES:
        oldest = next(iter(own.accepted))
        del own.accepted[oldest]
        own.floor = max(own.floor, int(oldest))
        if number <= own.floor:
            return False
    own.accepted[str(number)] = mono
    return True


def forget_past_nonces(nonces: dict[Hotkey, Nonces], at: Micros, mono: Micros, max_age: Micros) -> None:
    """Drop the hotkeys all of whose nonces are past; the arguments are those of ``accept_nonce``."""
    for hotkey, own in list(nonces.items()):
        _forget_past(own, at, mono, max_age)
        if not own.accepted and _is_stale(own.floor, at, max_age):
            del nonces[hotkey]


def _forget_past(own: Nonces, at: Micros, mono: Micros, max_age: Micros) -> None:
    while own.accepted:
        nonce, accepted_at = next(iter(own.accepted.items()))
        if not _is_stale(int(nonce), at, max_age) or mono - accepted_at <= NONCE_MEMORY:
            return
        del own.accepted[nonce]


def _is_stale(nonce: int, at: Micros, max_age: Micros) -> bool:
    return at - nonce // 1000 > max_age
