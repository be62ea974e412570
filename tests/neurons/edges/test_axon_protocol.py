"""What strangers can do at the miner's port: little, and not for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from bettensor.bus.events import QueryReceived, QueryRefused
from bettensor.neurons.edges import request_protocol
from bettensor.neurons.edges.request_protocol import MAX_HEAD_BYTES
from tests.dendrite import Line
from tests.neurons.edges.axons import AxonBench, running_axon


@pytest.fixture
async def bench() -> AsyncIterator[AxonBench]:
    async with running_axon() as bench:
        yield bench


async def test_a_head_of_more_than_16_kib_is_refused_while_it_comes(bench: AxonBench) -> None:
    async with bench.dendrite().line() as line:
        line.writer.write(b"POST /GameData HTTP/1.1\r\n" + b"a: b\r\n" * 40)
        line.writer.write(b"a: " + b"x" * MAX_HEAD_BYTES)
        answer = await line.answer()
        assert (answer.status, answer.content) == (431, {"message": f"a head of more than {MAX_HEAD_BYTES} bytes"})
        assert await line.is_cut()
    assert bench.all(QueryReceived) == []


async def test_a_head_of_16_kib_is_read_with_the_body_behind_it(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    body = dendrite.games_body([]) + b" " * MAX_HEAD_BYTES
    for size in (14_000, MAX_HEAD_BYTES - 1100):
        assert (await dendrite.post(body, [*dendrite.head(), ("padding", "x" * size)])).status == 200
    async with dendrite.line() as line:  # in pieces, of which one ends exactly at the limit
        line.writer.write(b"POST /other HTTP/1.1\r\n".ljust(MAX_HEAD_BYTES, b"x"))
        await line.writer.drain()
        await asyncio.sleep(0.01)
        line.writer.write(b"x")
        assert (await line.answer()).status == 431


@pytest.mark.parametrize(
    "noise", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"]
)
async def test_what_is_no_http_is_refused_in_json_and_cut_off(bench: AxonBench, noise: bytes) -> None:
    async with bench.dendrite().line() as line:
        line.writer.write(noise)
        answer = await line.answer()
        assert (answer.status, list(answer.content)) == (400, ["message"])
        assert await line.is_cut()


async def test_a_connection_that_begins_no_request_is_cut_off_whatever_trickles_in() -> None:
    async with running_axon(idle_timeout=0.2) as bench:
        dendrite = bench.dendrite()
        async with dendrite.line() as line:
            assert (await line.request(dendrite.head(), dendrite.games_body([]))).status == 200
            line.writer.write(b"\r\n")
            assert await line.is_cut()
        async with dendrite.line() as line:  # a refused body that never ends
            assert (await line.request(dendrite.head(dendrite_nonce="x"), b"x", length=1000)).status == 400
            assert await line.is_cut()


async def test_a_refused_body_is_thrown_away_up_to_a_limit(bench: AxonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_protocol, "MAX_DISCARDED_BYTES", 100_000)
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        assert (await line.request(dendrite.head(dendrite_nonce="x"), b"x" * 50_000)).status == 400
        assert (await line.request(dendrite.head(), dendrite.games_body([]))).status == 200
        assert (await line.request(dendrite.head(dendrite_nonce="x"), b"x", length=1_000_000)).status == 400
        line.writer.write(b"x" * 200_000)
        assert await line.is_cut()


async def test_slow_strangers_of_one_address_make_room_for_a_validator() -> None:
    async with running_axon(strangers_per_network=4) as bench, AsyncExitStack() as lines:
        dendrite = bench.dendrite()
        strangers: list[Line] = []
        for _ in range(10):
            strangers.append(await lines.enter_async_context(dendrite.line()))
            strangers[-1].writer.write(b"POST /GameData HTTP/1.1\r\n")
        for stranger in strangers[:6]:
            assert await stranger.is_cut()
        pool = await lines.enter_async_context(dendrite.line())
        assert (await pool.request(dendrite.head(), dendrite.games_body([]))).status == 200
        for _ in range(10):
            await lines.enter_async_context(dendrite.line())
        assert (await pool.request(dendrite.head(), dendrite.games_body([]))).status == 200
        assert bench.all(QueryRefused) == []
