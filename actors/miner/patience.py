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
