"""How long a miner waits at most before it tries a validator again, over either transport."""

from typing import Final

from bettensor.bus.codes import RefusalCode

SOON: Final = 30.0
"""Seconds; the longest wait after a refusal whose cause passes by itself, or by a hand at a clock of either side."""
PASSING: Final = frozenset({RefusalCode.STALE, RefusalCode.NO_METAGRAPH})
"""Refusals with such a cause."""


def longest_wait(code: str, configured: float) -> float:
    """The ceiling of the back-off after a refusal with ``code``, in seconds; ``configured`` after any other failure."""
    return min(SOON, configured) if code in PASSING else configured


def hinted_wait(retry_after: int | None, longest: float) -> float:
    """Seconds that ``Retry-After`` asks for, at most ``longest``: it is unsigned, and must not stop a miner for hours.

    Args:
        retry_after: seconds; None if the refusal has no such header.
        longest: the longest wait that the miner chooses by itself, in seconds.
    """
    return min(retry_after or 0, longest)
