"""Which faults of a model's input are new to its operator."""

from typing import Final

MAX_TOLD: Final = 1000
"""Faults of one round that are told; a file of another kind may be wrong in every row."""


class FaultRounds:
    """Tells each fault once, and again if it comes back after it was gone.

    The input is read in rounds, for example one for each version of a file. A fault that was there in the round before
    is not new; one that was not there is, however often it was told earlier.
    """

    def __init__(self) -> None:
        self._before: set[str] = set()
        self._now: set[str] = set()

    def begin(self) -> None:
        """A new round begins."""
        self._before, self._now = self._now, set()

    def is_new(self, fault: str) -> bool:
        """Whether ``fault`` is to be told; it is then known for this round and the next."""
        if fault in self._now or len(self._now) >= MAX_TOLD:
            return False
        self._now.add(fault)
        return fault not in self._before
