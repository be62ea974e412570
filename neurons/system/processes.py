"""This process and its children: limits, signals, child processes that end with their parent, and free ports."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

_DIE_WITH_PARENT: Final = 1
"""``PR_SET_PDEATHSIG`` of prctl(2)."""
_prctl: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
"""Looked up before any fork: after one, a thread that no longer exists may hold a lock."""


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


def die_with_parent() -> Callable[[], None]:
    """A ``preexec_fn``: the process ends when the thread that started it ends, in any way.

    On other systems than Linux it does nothing.
    """
    parent = os.getpid()

    def agree() -> None:
        if _prctl is not None:
            _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            if os.getppid() != parent:  # it has ended already, and no signal will come
                os.kill(os.getpid(), signal.SIGKILL)

    return agree


def spawn(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start ``command``, without input and with its output appended to ``log``; it ends with the calling thread."""
    with log.open("ab") as sink:
        return subprocess.Popen(  # noqa: S603 - our own neurons
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - it only makes system calls
        )


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP raise ``KeyboardInterrupt`` once, so that the block cleans up.

    Further ones are ignored meanwhile. A signal that this process was started to ignore, as by nohup(1), stays ignored.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_port() -> int:
    """A port of loopback that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
