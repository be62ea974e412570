"""A miner's HTTP exchanges with validators that do not behave: none of them waits for ever."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from bettensor.bus.events import FrameReceived, PostAnswered, PostFailed
from bettensor.neurons.edges.http_client import MAX_ANSWER
from tests.neurons.edges.validators import VALIDATOR, Bench, benched, drip, hang, refuse, serving
from tests.support import make_hotkey


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with benched() as bench:
        yield bench


async def test_an_exchange_has_its_time_however_slowly_its_answer_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.http_client.TIMEOUT", 0.3)
    async with serving(drip) as endpoint:
        bench.poll(endpoint)
        failed = await bench.until(PostFailed, PostAnswered)
        assert isinstance(failed, PostFailed), failed


async def test_exchanges_that_hang_are_in_nobodys_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.http_client.TIMEOUT", 600.0)
    async with serving(hang) as hanging, serving(refuse) as endpoint:
        for number in range(150):
            bench.poll(hanging, -2 - number, make_hotkey(f"hanging-{number}"))
        bench.poll(endpoint)
        failed = await bench.until(PostFailed)
        assert isinstance(failed, PostFailed)
        assert (failed.hotkey, failed.status) == (VALIDATOR, 503)


async def test_an_answer_that_is_compressed_is_not_unpacked(bench: Bench) -> None:
    bomb = gzip.compress(bytes(4 * MAX_ANSWER))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
        await writer.drain()

    async with serving(answer) as endpoint:
        bench.poll(endpoint)
        answered = await bench.until(PostAnswered, PostFailed)
    frames = [event.data for event in bench.heard if isinstance(event, FrameReceived)]
    assert sum(map(len, frames)) <= len(bomb), answered  # whatever it is taken for, it is no longer than it was
