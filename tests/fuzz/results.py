"""The results of a run of ``make fuzz``: what is kept of them, and the table of docs/testing.md."""

import json
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = Path(__file__).parent.parent.parent / "benchmarks" / "fuzz.json"


class Result(NamedTuple):
    """One target."""

    inputs: int
    peak_mib: int
    """Memory of the process."""


def keep(results: dict[str, Result]) -> None:
    """Write the results down."""
    FILE.write_text(json.dumps({name: result._asdict() for name, result in results.items()}, indent=2) + "\n")


def table() -> str:
    """The kept results as Markdown."""
    rows = [
        f"| `{name}` | {each['inputs']:,} | {each['peak_mib']} MiB |"
        for name, each in json.loads(FILE.read_text()).items()
    ]
    return "\n".join(["| target | inputs | memory at most |", "|---|---|---|", *rows])
