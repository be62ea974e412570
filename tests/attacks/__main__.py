"""`make attack`: try all attacks, keep the results, and write their tables into docs/security.md.

With names (or their beginnings) as arguments, only those are tried. ``--short`` is the form of the suite, whose results
are not kept.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.attacks import page
from tests.attacks.attack import FULL, SHORT, Attack, Form, Outcome, faults
from tests.attacks.catalogue import ATTACKS, part_of
from tests.attacks.course import run


def main(arguments: Sequence[str]) -> int:
    """The number of attacks that did not hold, at most 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("names", nargs="*", help="names of attacks, or their beginnings; by default all")
    parser.add_argument("--short", action="store_true", help="as the suite tries them")
    chosen = parser.parse_args(arguments)
    form = SHORT if chosen.short else FULL
    names = tuple(chosen.names)
    rows = [_try(attack, form) for name, attack in ATTACKS.items() if not names or name.startswith(names)]
    failed = [row for row in rows if row["faults"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} attacks held")
    if form is FULL:
        page.keep(rows, tuple(ATTACKS))
        print(f"written: {page.RESULTS.relative_to(page.ROOT)} and {page.PAGE.relative_to(page.ROOT)}")
    return min(1, len(failed))


def _try(attack: Attack, form: Form) -> dict[str, object]:
    """Try it, and once more if the honest neurons waited too long: another program may have used the cores."""
    tried = [_measured(attack, form)]
    if any("honest" in fault for fault in tried[0][1]):
        tried.append(_measured(attack, form))
    outcome, found = min(tried, key=lambda one: len(one[1]))
    row = page.row(attack, part_of(attack), outcome, found)
    print(f"{attack.name}: {'held' if not found else 'NOT HELD'}")
    for name in ("answers", "memory_mb", "descriptors", "recorded_mb", "stored_rows", "cpu_share", "normal", "during"):
        print(f"    {name}: {row[name]}")
    for fault in found:
        print(f"    ! {fault}")
    sys.stdout.flush()
    return row


def _measured(attack: Attack, form: Form) -> tuple[Outcome, list[str]]:
    with tempfile.TemporaryDirectory(prefix="bettensor-attack-") as folder:
        outcome = asyncio.run(run(attack, form, Path(folder)))
    return outcome, faults(attack, outcome, form)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
