"""The results of a run: what is kept of them, what of them is a fault, and the table of docs/testing.md."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parent.parent.parent / "benchmarks" / "autobahn.json"
EXPECTED: Final = {
    "7.1.5": "a close within a fragmented message: the websockets library answers it with 1000, by its own server too",
}
"""Cases that fail, and why that is not ours to repair."""

_BEHAVIOURS: Final = ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED")
Results = Mapping[str, Mapping[str, tuple[str, str]]]
"""By what was tested and by case: the behaviour, and the behaviour at the close."""


def summary(results: Results) -> dict[str, Any]:
    """How many cases had each behaviour, and which did not pass."""
    return {
        name: {
            "cases": len(cases),
            **Counter(behaviour for behaviour, _ in cases.values()),
            "failed": sorted(case for case, (behaviour, _) in cases.items() if behaviour == "FAILED"),
        }
        for name, cases in results.items()
    }


def faults(results: Results) -> Iterator[str]:
    """The cases that fail and should not, one a line."""
    for name, cases in results.items():
        for case, (behaviour, close) in cases.items():
            if behaviour == "FAILED" and case not in EXPECTED:
                yield f"{name}: case {case} failed ({close})"


def table() -> str:
    """The kept results as Markdown."""
    head = ("tested", "cases", "OK", "non-strict", "informational", "failed", "which")
    rows = [
        (name, each["cases"], *(each.get(behaviour, 0) for behaviour in _BEHAVIOURS), ", ".join(each["failed"]))
        for name, each in json.loads(FILE.read_text()).items()
    ]
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
