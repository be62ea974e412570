"""Log lines, as the logbook decided them, by loguru, which is imported here and nowhere else.

A neuron that has the process to itself decides where they go and from which level; in a program of your own, that is
your program's affair: ``logger.add(...)`` of loguru.
"""

import os
import sys

from loguru import logger

from bus.envelope import Envelope
from bus.events import LineLogged

_FORMAT = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | {message}"


def set_log_level(level: str) -> None:
    """Write lines from ``level`` up to standard error, and nowhere else."""
    logger.remove()
    colorize = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    logger.add(sys.stderr, level=level, format=_FORMAT, colorize=colorize)


def write_line(event: LineLogged, _: Envelope) -> None:
    """One line; the text is data, never a format."""
    logger.log(event.level, "{}", event.text)
