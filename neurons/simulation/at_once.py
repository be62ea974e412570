"""Runs the coroutines of simulated edges without an event loop, because they never wait."""

from collections.abc import Coroutine
from typing import Any


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, which must not wait: ``at_once(ledger.open())``.

    Raises:
        RuntimeError: ``work`` waits.
    """
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("an edge of a simulated neuron waits for something when it is opened; it must not")
