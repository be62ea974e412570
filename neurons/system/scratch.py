"""Temporary folders of the demo and the benchmarks: removed at the end, or by the next run if a process was killed.

The process that uses a folder holds a lock in it, which the kernel releases however the process ends.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

from bettensor.neurons.system import locks

PREFIX: Final = "bettensor-"
LOCK: Final = ".lock"
"""Hidden, and not the name in a state_dir: no folder of a neuron is looked for here."""
KINDS: Final = ("demo", "bench")
OLD: Final = 86_400.0
"""Seconds of age from which on a folder without a lock file is abandoned: earlier releases made none."""


class Cleared(NamedTuple):
    """The abandoned folders that were removed."""

    folders: int
    size: int
    """Bytes of all their files."""

    def __str__(self) -> str:
        folders = (
            "a folder that an interrupted run" if self.folders == 1 else f"{self.folders} folders that interrupted runs"
        )
        return f"removed {folders} had left in {tempfile.gettempdir()} ({self.size / 1e6:.0f} MB)"


@contextmanager
def scratch_folder(kind: Literal["demo", "bench"]) -> Iterator[Path]:
    """A new folder for the block, removed at its end."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        unlocked = folder / f"{LOCK}.new"
        lock = locks.take(unlocked)
        try:
            unlocked.rename(folder / LOCK)  # so nobody ever sees a lock file that is not locked yet
            yield folder
        finally:
            os.close(lock)


def clear_abandoned() -> Cleared | None:
    """Remove the folders of processes that were killed; None if there are none. Those in use stay, as do others'."""
    cleared = Cleared(0, 0)
    for kind in KINDS:
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}{kind}-*"):
            with contextlib.suppress(OSError):  # another process is faster, or it is not our folder
                if _is_ours(folder) and _is_abandoned(folder):
                    size = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
                    shutil.rmtree(folder)
                    cleared = Cleared(cleared.folders + 1, cleared.size + size)
    return cleared if cleared.folders else None


def _is_ours(folder: Path) -> bool:
    return folder.lstat().st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink()


def _is_abandoned(folder: Path) -> bool:
    try:
        return not locks.is_held(folder / LOCK)
    except FileNotFoundError:
        return time.time() - folder.lstat().st_mtime > OLD
