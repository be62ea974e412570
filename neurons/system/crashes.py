"""Errors that nothing caught: Python writes their tracebacks to standard error, and operators paste these into reports.

They are written without the secrets that can be recognised. A program that has its own hooks keeps them.
"""

import logging
import sys
import threading
from types import TracebackType

from bettensor.bus.redaction import traceback_of, without_named


def hide_secrets() -> None:
    """From now on, for this process."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _write
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _write_of_thread
    if logging.lastResort is not None:  # for asyncio and libraries, which nobody configures here
        logging.lastResort.setFormatter(_Formatter())


def _write(_: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    sys.stderr.write(traceback_of(error))


def _write_of_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        name = "a thread" if failed.thread is None else failed.thread.name
        sys.stderr.write(f"Exception in thread {name}:\n{traceback_of(failed.exc_value)}")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_named(super().format(record))
