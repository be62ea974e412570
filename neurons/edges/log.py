"""Writes the logbook's lines by loguru, which is imported here and nowhere else.

The command ``bettensor`` sets their level and writes them to standard error. Your own program sets up loguru itself:
``logger.add(...)``, or ``logger.disable("bettensor")`` to hide them.
"""

import os
import sys
from typing import TYPE_CHECKING

from loguru import logger

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import LineLogged
from bettensor.bus.text import short
from bettensor.neurons.edges.edge import Edge, Identity, on

if TYPE_CHECKING:
    import loguru

_FORMAT = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | {message}"


def set_log_level(level: str) -> None:
    """Write lines of at least ``level`` to standard error only."""
    logger.remove()
    colorize = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    logger.add(sys.stderr, level=level, format=_FORMAT, colorize=colorize)


class LogLines(Edge):
    """Writes the log lines of one neuron.

    loguru's default format shows the code that logged, which is the same for all lines. Name and function therefore
    identify the neuron instead. Role, full hotkey and the event's ``seq`` are in ``extra``.
    """

    name = "log"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    @on(LineLogged)
    def write(self, event: LineLogged, envelope: Envelope) -> None:
        """Write a line of the logbook."""
        self.line(event.level, event.text, envelope)

    def line(self, level: str, text: str, envelope: Envelope) -> None:
        """Write one line about an event; its text is data, never a format."""

        def sign(record: "loguru.Record") -> None:
            record.update({"name": f"bettensor.{identity.role}", "function": short(identity.hotkey)})

        identity = self._identity
        neuron = logger.bind(role=identity.role, hotkey=identity.hotkey, seq=envelope.seq)
        neuron.patch(sign).log(level, "{}", text)
