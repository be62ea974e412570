"""The terminal from which this process was started, if there is one, and its end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_CONTROLLING: Final = "/dev/tty"


def has_terminal() -> bool:
    """Whether a terminal controls this process, in the foreground or in the background: its end is a SIGHUP.

    False for services (systemd, docker, pm2) and after ``setsid``. After its end a terminal controls nothing any more,
    so ask before.
    """
    try:
        terminal = os.open(_CONTROLLING, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(terminal)
    return True


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """The SIGTERM and SIGHUP that come in the block, which can give the terminal back as it was before it ends."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
