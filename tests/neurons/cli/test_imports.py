"""The commands that fill a database; what each takes is tried with it, in ``test_ledger_import.py`` and others."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from bettensor.neurons.cli.imports import Destination, run
from bettensor.neurons.existing.skipped import Skipped, UnusableRow


class Outcome:
    """Of an import of nothing but skipped rows."""

    imported = known = old = 0

    def __init__(self) -> None:
        self.skipped = Skipped()

    def summary(self) -> str:
        return "done"

    def as_json(self) -> dict[str, Any]:
        return {"imported": self.imported}


def test_exit_1_says_that_nothing_could_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = Namespace(file=tmp_path / "f", config=None, state_dir=tmp_path, dry_run=False, json=False)
    outcome = Outcome()
    asked: list[tuple[Path, Destination, bool]] = []

    def fill(*question: Any) -> Outcome:
        asked.append(question)
        return outcome

    assert run(arguments, "miner", fill) == 0
    assert asked == [(tmp_path / "f", Destination(tmp_path), False)]
    outcome.skipped.add(UnusableRow("unreadable", "row 1", "why"))
    assert run(arguments, "miner", fill) == 1
    assert capsys.readouterr() == ("done\ndone\n", "skipped row 1: why\n")
    outcome.known = 1
    arguments.json = True
    assert run(arguments, "miner", fill) == 0
    assert capsys.readouterr().out == '{\n  "imported": 0\n}\n'
