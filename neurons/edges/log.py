"""Writes the log lines that the logbook decided, by loguru, which is imported here and nowhere else.

The command ``bettensor`` sets their level and writes them to standard error. A program of your own sets up loguru
itself: ``logger.add(...)``, or ``logger.disable("bettensor")`` to see none of them.
"""

import os
import sys
from typing import TYPE_CHECKING

from loguru import logger

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import LineLogged, Role
from bettensor.bus.identifiers import Hotkey
from bettensor.bus.text import short

if TYPE_CHECKING:
    import loguru

_FORMAT = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | {message}"


def set_log_level(level: str) -> None:
    """Write lines of at least ``level`` to standard error, and nowhere else."""
    logger.remove()
    colorize = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    logger.add(sys.stderr, level=level, format=_FORMAT, colorize=colorize)


class LogLines:
    """The lines of one neuron.

    loguru's default format shows the code that logged, which is the same for all lines; name and function say instead
    which neuron it was. Role, full hotkey and the event's ``seq`` are in ``extra``.
    """

    def __init__(self, role: Role, hotkey: Hotkey) -> None:
        self._role = role
        self._hotkey = hotkey

    def write(self, event: LineLogged, envelope: Envelope) -> None:
        """One line; the text is data, never a format."""

        def sign(record: "loguru.Record") -> None:
            record.update({"name": f"bettensor.{self._role}", "function": short(self._hotkey)})

        neuron = logger.bind(role=self._role, hotkey=self._hotkey, seq=envelope.seq)
        neuron.patch(sign).log(event.level, "{}", event.text)
