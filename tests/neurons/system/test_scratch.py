"""Temporary folders are gone at the end; those of processes that were killed go with the next run, and no others."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bettensor.neurons.system.scratch import LOCK, OLD, clear_abandoned, scratch_folder

HOLDS = """
import sys, time
from bettensor.neurons.system.scratch import scratch_folder
with scratch_folder("demo") as folder:
    (folder / "data").write_bytes(bytes(3_000_000))
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All temporary folders are made below this one."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def holder() -> "Iterator[tuple[subprocess.Popen[str], Path]]":
    """A process that uses a folder, and that folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_is_there_for_the_block_only(temporary: Path) -> None:
    with scratch_folder("bench") as folder:
        assert folder.parent == temporary
        (folder / "data").touch()
        assert clear_abandoned() is None
        assert folder.exists()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_told(holder: "tuple[subprocess.Popen[str], Path]") -> None:
    process, folder = holder
    assert clear_abandoned() is None, "its process is alive"
    process.kill()
    process.wait()
    cleared = clear_abandoned()
    assert str(cleared) == f"removed a folder that an interrupted run had left in {tempfile.gettempdir()} (3 MB)"
    assert not folder.exists()
    assert clear_abandoned() is None


def test_several_are_counted(temporary: Path) -> None:
    for name in ("bettensor-demo-1", "bettensor-bench-2"):
        (temporary / name).mkdir()
        (temporary / name / LOCK).touch()
    assert str(clear_abandoned()).startswith("removed 2 folders that interrupted runs had left in ")


def test_a_folder_without_a_lock_file_goes_when_it_is_old(temporary: Path) -> None:
    folder = temporary / "bettensor-demo-of-an-earlier-release"
    folder.mkdir()
    assert clear_abandoned() is None
    then = time.time() - OLD - 1
    os.utime(folder, (then, then))
    assert clear_abandoned() is not None
    assert not folder.exists()


def test_what_is_no_folder_of_ours_stays(temporary: Path) -> None:
    target = temporary / "valuable"
    target.mkdir()
    (target / LOCK).touch()
    (temporary / "bettensor-demo-link").symlink_to(target)
    (temporary / "bettensor-demo-file").touch()
    (temporary / "bettensor-ci.1").mkdir()
    before = sorted(temporary.rglob("*"))
    assert clear_abandoned() is None
    assert sorted(temporary.rglob("*")) == before


def test_the_folder_of_another_user_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = temporary / "bettensor-demo-1"
    folder.mkdir()
    (folder / LOCK).touch()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert clear_abandoned() is None
    assert folder.exists()
