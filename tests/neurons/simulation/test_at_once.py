"""What never waits is done at once, and what waits is refused."""

import asyncio

import pytest

from bettensor.neurons.simulation import at_once


def test_what_never_waits_is_done_to_its_end() -> None:
    done = []

    async def work() -> None:
        done.append("begun")
        await inner()
        done.append("ended")

    async def inner() -> None: ...

    at_once(work())
    assert done == ["begun", "ended"]


def test_what_waits_is_refused_and_ended() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="waits"):
        at_once(work())
    assert ended == [True]


def test_what_fails_fails_here() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        at_once(work())
