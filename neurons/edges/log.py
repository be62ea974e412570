"""Writes the logbook's lines by loguru, which is imported here and nowhere else.

The command ``bettensor`` writes them to standard error. As in any library, they are off in a program of your own until
it calls ``logger.enable("bettensor")``: they then go wherever the program's loguru writes.
"""

import os
import sys
from typing import TYPE_CHECKING, Final

from loguru import logger

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import LineLogged
from bettensor.bus.redaction import traceback_of
from bettensor.bus.text import harmless, short, shortened
from bettensor.neurons.edges.edge import Edge, Identity, on

if TYPE_CHECKING:
    import loguru

_LIBRARY: Final = "bettensor"
_FORMAT: Final = (
    "<green>{time:YYYY-MM-DD HH:mm:ss.SSSZ}</green> | <level>{level: <8}</level> | {extra[shown]}\n{extra[traceback]}"
)

logger.disable(_LIBRARY)


def set_log_level(level: str) -> None:
    """Write lines of at least ``level`` to standard error only; on a terminal with short addresses of other neurons."""
    on_terminal = sys.stderr.isatty()

    def layout(record: "loguru.Record") -> str:
        extra = record["extra"]
        if "text" not in extra:  # a line that a handler writes by itself
            extra["shown"] = record["message"]
        else:
            extra["shown"] = _brief(extra["text"], own=extra["hotkey"]) if on_terminal else extra["text"]
        extra["shown"] = harmless(extra["shown"])
        extra["traceback"] = harmless(_traceback(record["exception"]))
        return _FORMAT

    logger.remove()
    logger.enable(_LIBRARY)
    colorize = on_terminal and not os.environ.get("NO_COLOR")
    # with diagnose, the values of variables would stand in tracebacks, and with them secrets
    logger.add(sys.stderr, level=level, format=layout, colorize=colorize, backtrace=False, diagnose=False)


def _traceback(exception: "loguru.RecordException | None") -> str:
    """The traceback of an exception that a handler logs; not the values of its variables."""
    return "" if exception is None or exception.value is None else traceback_of(exception.value)


def _brief(text: str, *, own: str) -> str:
    """The line with short addresses; the neuron's own one, which its operator may need, and a traceback are whole."""
    line, end, traceback = text.partition("\n")
    return shortened(line, whole=own) + end + traceback


class LogLines(Edge):
    """Writes the log lines of one neuron.

    A program may run several: the message begins with the role and the short hotkey. The text alone, role, full hotkey
    and the event's ``seq`` are in ``extra``.
    """

    name = "log"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._who = f"{identity.role} {short(identity.hotkey)}"

    @on(LineLogged)
    def write(self, event: LineLogged, envelope: Envelope) -> None:
        """Write a line of the logbook."""
        self.line(event.level, event.text, envelope)

    def line(self, level: str, text: str, envelope: Envelope) -> None:
        """Write one line about an event; its text is data, never a format."""
        role, hotkey = self._identity.role, self._identity.hotkey
        neuron = logger.bind(role=role, hotkey=hotkey, seq=envelope.seq, text=text)
        neuron.log(level, "{}: {}", self._who, text)
