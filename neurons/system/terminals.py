"""The terminal from which this process was started, if there is one."""

import os
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
