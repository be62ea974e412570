"""Locks of files. A process holds one by an open file, so the kernel releases it when the process ends, in any way."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from bettensor.neurons.system.private import NotPrivate, open_private

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
        OSError: the file cannot be opened, locked or written, or is not this user's alone.
    """
    lock = open_private(file)
    with contextlib.ExitStack() as unless_taken:
        unless_taken.callback(os.close, lock)
        if os.fstat(lock).st_nlink > 1:  # another file of ours would be overwritten
            raise NotPrivate(file, "it is another name of a file (a hard link); delete it")
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
    lock = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its writer
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
