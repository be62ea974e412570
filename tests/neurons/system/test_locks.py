"""A lock belongs to one process at a time, and says to which."""

import os
import stat
from pathlib import Path

import pytest

from bettensor.neurons.system import locks


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    file = tmp_path / locks.NAME
    lock = locks.take(file)
    assert locks.is_held(file)
    with pytest.raises(locks.Held, match=f"^{os.getpid()}$"):
        locks.take(file)
    os.close(lock)
    assert not locks.is_held(file)
    os.close(locks.take(file))


def test_a_holder_that_has_not_said_who_it_is_is_unknown(tmp_path: Path) -> None:
    lock = locks.take(tmp_path / "lock")
    os.ftruncate(lock, 0)
    with pytest.raises(locks.Held, match=r"^$"):
        locks.take(tmp_path / "lock")
    os.close(lock)


def test_a_lock_is_for_its_owner_alone_and_tells_its_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("4194304 and more\n")
    os.close(locks.take(file))
    assert file.read_text() == f"{os.getpid()}\n"
    file.unlink()
    os.close(locks.take(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_not_there_is_held_by_nobody_and_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        locks.is_held(tmp_path / "lock")
    with pytest.raises(FileNotFoundError):
        locks.take(tmp_path / "absent" / "lock")
