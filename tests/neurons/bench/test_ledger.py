"""The ledger that a benchmark measures has the verdicts that it is said to have, of as many miners."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bettensor.bus.identifiers import Micros
from bettensor.neurons.bench import ledger as module
from bettensor.neurons.bench.ledger import HOTKEYS, BenchLedger, fill
from bettensor.neurons.bench.rig import BenchmarkFailed
from bettensor.neurons.cli.ledger_file import check_ledger


async def test_a_ledger_is_filled_up_also_by_a_last_portion_that_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILL_COMMIT", 300)
    await fill(tmp_path, 700)
    report = check_ledger(tmp_path / "ledger.sqlite3")
    assert (report.predictions, report.accepted) == (700, 700)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
        assert database.execute("SELECT count(DISTINCT hotkey) FROM predictions").fetchone() == (HOTKEYS,)
        at, expires = database.execute("SELECT max(received_at), min(expires_at) FROM predictions").fetchone()
    assert Micros(at) < expires


async def test_a_commit_that_fails_is_told(tmp_path: Path) -> None:
    async with BenchLedger(tmp_path) as store:
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
            database.execute("DROP TABLE predictions")
            database.commit()
        with pytest.raises(BenchmarkFailed, match="no such table"):
            await store.commit(module._verdicts(3))  # noqa: SLF001 - what fill commits
