"""Log lines, as the logbook decided them, by loguru, which is imported here and nowhere else.

A neuron that has the process to itself decides where they go and from which level; in a program of your own, that is
your program's affair: ``logger.add(...)`` of loguru.
"""

import os
import sys
from typing import TYPE_CHECKING

from loguru import logger

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import LineLogged
from bettensor.neurons.edges.edge import Edge, Identity, on

if TYPE_CHECKING:
    import loguru

_FORMAT = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | {message}"


def set_log_level(level: str) -> None:
    """Write lines from ``level`` up to standard error, and nowhere else."""
    logger.remove()
    colorize = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    logger.add(sys.stderr, level=level, format=_FORMAT, colorize=colorize)


class LogLines(Edge):
    """The lines of one neuron. Whose they are stands where loguru has the caller: role, hotkey, and the event's seq."""

    name = "log"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    @on(LineLogged)
    def write(self, event: LineLogged, envelope: Envelope) -> None:
        """One line; the text is data, never a format."""

        def sign(record: "loguru.Record") -> None:
            record.update(
                {"name": f"neurons.{self._identity.role}", "function": self._identity.hotkey, "line": envelope.seq}
            )

        logger.patch(sign).log(event.level, "{}", event.text)
