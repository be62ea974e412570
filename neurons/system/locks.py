"""Locks of files. A process holds one by an open file, so the kernel releases it when the process ends, in any way."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

NAME: Final = "lock"
"""The file that a running neuron holds open and locked in its state_dir."""


class Held(Exception):
    """Another process holds the lock; the message is its number, or empty if it is unknown."""


def take(file: Path) -> int:
    """Lock ``file`` for this process, and write the number of this process into it.

    Returns:
        The descriptor of the open file. If it is closed, the lock is released.

    Raises:
        Held: another process holds the lock.
        OSError: the file cannot be opened, locked or written.
    """
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.ExitStack() as unless_taken:
        unless_taken.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held(os.read(lock, 32).decode(errors="replace").strip()) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        unless_taken.pop_all()
    return lock


def is_held(file: Path) -> bool:
    """Whether a process holds the lock of ``file``.

    Raises:
        OSError: the file cannot be opened.
    """
    with file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
