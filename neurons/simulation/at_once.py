"""Edges without an event loop: what never waits can be done at once."""

from collections.abc import Coroutine
from typing import Any


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work``, which never waits: ``at_once(ledger.open())``.

    Raises:
        RuntimeError: it waits for something.
    """
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("an edge of a simulated neuron waits for something when it is opened; it must not")
