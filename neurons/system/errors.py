"""Errors of the system that keep a neuron from its start: those that may pass, and those that are to be corrected."""

import errno
import socket
from typing import Final

from bettensor.bus.errors import ConfigurationError, Unavailable

_LASTING: Final = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS),  # rights
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),  # something else is in the place of a file or folder
        *(errno.ENAMETOOLONG, errno.ELOOP),
        errno.EAFNOSUPPORT,
    )
)
"""Numbers of errors that come again at each start. A port in use, an address that the machine does not have yet, or a
full disk are no such errors."""


def start_fault(text: str, error: OSError) -> ConfigurationError | Unavailable:
    """The error to raise if ``error`` keeps a neuron from its start; ``text`` is its message."""
    lasts = isinstance(error, socket.gaierror) or error.errno in _LASTING
    return ConfigurationError(text) if lasts else Unavailable(text)
