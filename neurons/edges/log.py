"""Log lines, as the logbook decided them, to the terminal. loguru is imported here and nowhere else."""

import sys

from loguru import logger

from bus.bus import EventBus
from bus.envelope import Envelope
from bus.events import LineLogged

_FORMAT = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | {message}"


def start_log(bus: EventBus, level: str) -> None:
    """Write every ``LineLogged`` from ``level`` up to standard error."""
    set_log_level(level)
    bus.subscribe(LineLogged, write_line, "log")


def set_log_level(level: str) -> None:
    """The least level that is written from now on, in this process."""
    logger.remove()
    logger.add(sys.stderr, level=level, format=_FORMAT)


def write_line(event: LineLogged, _: Envelope) -> None:
    """One line; the text is data, never a format."""
    logger.log(event.level, "{}", event.text)
