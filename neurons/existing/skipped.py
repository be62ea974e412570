"""Rows that an import could not use: all are counted, and the first are named."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from bettensor.bus.text import printable

MANY: Final = 20
"""Skipped rows that are named; the others are only counted."""
MAX_REASON: Final = 300
"""Characters of a reason."""


class UnusableRow(Exception):
    """A row cannot be imported.

    Args:
        kind: the fault in a few words, by which such rows are counted.
        row: the row's place or id.
        reason: the fault with its values.
    """

    def __init__(self, kind: str, row: str, reason: str) -> None:
        super().__init__(f"{row}: {reason}")
        self.kind = kind
        self.row = printable(row)
        self.reason = printable(reason)[:MAX_REASON]


class _Named(NamedTuple):
    row: str
    reason: str


class Skipped:
    """Takes any number of rows, in bounded memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: list[_Named] = []

    def add(self, fault: UnusableRow) -> None:
        """Count a row."""
        self._counts[fault.kind] += 1
        if len(self._first) < MANY:
            self._first.append(_Named(fault.row, fault.reason))

    def __len__(self) -> int:
        return self._counts.total()

    def lines(self) -> Iterator[str]:
        """The first rows, a line each, and then how many there are of each kind."""
        yield from (f"skipped {row}: {reason}" for row, reason in self._first)
        if len(self) > len(self._first):
            counts = ", ".join(f"{count} {kind}" for kind, count in self._counts.most_common())
            yield f"... {len(self)} rows skipped in all: {counts}"

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "count": len(self),
            "kinds": dict(self._counts.most_common()),
            "first": [named._asdict() for named in self._first],
        }
