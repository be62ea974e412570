"""This process and its children: limits, child processes that end with their parent, and free ports for them."""

import contextlib
import ctypes
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_DIE_WITH_PARENT: Final = 1
"""``PR_SET_PDEATHSIG`` of prctl(2)."""
_prctl: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
"""Looked up before any fork: after one, locks may be held by threads that are not there any more."""


def most_open_files() -> int:
    """Open files, sockets included, that this process may have after ``allow_open_files``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def allow_open_files() -> None:
    """Raise the soft limit of open files to the hard limit: the usual 1,024 are fewer than the sessions of a validator.

    If the system refuses, the limit stays.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def die_with_parent() -> None:
    """For ``preexec_fn``: however the thread that starts a process ends, the process ends with it.

    Where the system cannot do that, nothing happens.
    """
    if _prctl is not None:
        _prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def spawn(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start ``command``, which reads nothing, appends what it says to ``log``, and ends with whoever calls this."""
    with log.open("ab") as sink:
        return subprocess.Popen(  # noqa: S603 - our own neurons
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it only calls prctl
        )


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
