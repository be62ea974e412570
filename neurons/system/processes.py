"""This process and its children: limits, and child processes that end with their parent."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_DIE_WITH_PARENT: Final = 1
"""``PR_SET_PDEATHSIG`` of prctl(2)."""
_prctl: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
"""Looked up before any fork: after one, a thread that no longer exists may hold a lock."""


def most_open_files() -> int:
    """Open files, sockets included, that this process may have after ``allow_open_files``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def open_file_limit() -> int:
    """Open files, sockets included, that this process may have now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def allow_open_files() -> None:
    """Raise the soft limit of open files to the hard limit: the usual 1,024 are fewer than the sessions of a validator.

    If the system refuses, the limit stays.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def dying_with_parent() -> Callable[[], None]:
    """A ``preexec_fn``: the new process ends when the thread that starts it ends, in any way.

    On other systems than Linux it does nothing.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        if _prctl is not None:
            _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            if os.getppid() != parent:  # it ended before, and no signal will come
                os.kill(os.getpid(), signal.SIGKILL)

    return die_with_parent


def spawn(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start ``command``, without input and with its output appended to ``log``; it ends with the calling thread."""
    with log.open("ab") as sink:
        return subprocess.Popen(  # noqa: S603 - our own neurons
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=dying_with_parent(),  # noqa: PLW1509 - it only makes system calls
        )
