"""Signals that this process handles for the time of a block."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN: Final = 0.05
"""Seconds until an interruption that was swallowed comes again."""


@contextmanager
def handling(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call ``handler`` for these signals within the block; after it, their former handlers are there again.

    A signal that this process was started to ignore, as by nohup(1), stays ignored.
    """
    before = {number: former for number in numbers if (former := signal.getsignal(number)) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP raise ``KeyboardInterrupt`` once, so that the block cleans up.

    Further ones are ignored meanwhile. Python swallows what is raised in some callbacks, such as those around a fork:
    the interruption then comes again.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in _ENDS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def stop_again(swallowed: "sys.UnraisableHookArgs") -> None:
        if swallowed.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            former(swallowed)

    former, sys.unraisablehook = sys.unraisablehook, stop_again
    try:
        with handling((*_ENDS, signal.SIGALRM), stop):
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        sys.unraisablehook = former


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """The SIGTERM and SIGHUP that come in the block, which can give the terminal back as it was before it ends."""
    came: list[int] = []
    with handling((signal.SIGTERM, signal.SIGHUP), lambda number, _: came.append(number)):
        yield came
