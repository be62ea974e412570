"""What strangers can do at the miner's port: little, and not for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bettensor.bus.events import QueryReceived, QueryRefused
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.edges import axon_protocol, protocols
from bettensor.neurons.edges.axon_protocol import MAX_HEAD_BYTES, Crowd
from tests.dendrite import Line
from tests.neurons.edges.axons import AxonBench, running_axon


@pytest.fixture
async def bench() -> AsyncIterator[AxonBench]:
    async with running_axon() as bench:
        yield bench


async def test_a_head_of_more_than_16_kib_is_refused_while_it_comes(bench: AxonBench) -> None:
    async with bench.dendrite().line() as line:
        line.writer.write(b"POST /GameData HTTP/1.1\r\n" + b"a: b\r\n" * 2000)
        line.writer.write(b"a: " + b"x" * MAX_HEAD_BYTES)
        answer = await line.answer()
        assert (answer.status, answer.content) == (400, {"message": f"a head of more than {MAX_HEAD_BYTES} bytes"})
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
        assert (await line.answer()).status == 400


@pytest.mark.parametrize(
    "noise", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"]
)
async def test_what_is_no_http_is_refused_in_json_and_cut_off(bench: AxonBench, noise: bytes) -> None:
    async with bench.dendrite().line() as line:
        line.writer.write(noise)
        answer = await line.answer()
        assert (answer.status, list(answer.content)) == (400, ["message"])
        assert await line.is_cut()


async def test_a_head_that_does_not_end_is_cut_off(bench: AxonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "REQUEST_TIMEOUT", 0.2)
    async with bench.dendrite().line() as silent, bench.dendrite().line() as dripping:
        dripping.writer.write(b"POST /GameData HTTP/1.1\r\na: ")
        assert await silent.is_cut()
        assert await dripping.is_cut()


async def test_a_connection_that_begins_no_request_is_cut_off_whatever_trickles_in(
    bench: AxonBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "ANSWER_TIMEOUT", 0.2)
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        assert (await line.request(dendrite.head(), dendrite.games_body([]))).status == 200
        line.writer.write(b"\r\n")
        assert await line.is_cut()
    async with dendrite.line() as line:  # a refused body that never ends
        assert (await line.request(dendrite.head(dendrite_nonce="x"), b"x", length=1000)).status == 400
        assert await line.is_cut()


async def test_a_refused_body_is_thrown_away_up_to_a_limit(bench: AxonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axon_protocol, "MAX_DISCARDED_BYTES", 100_000)
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        assert (await line.request(dendrite.head(dendrite_nonce="x"), b"x" * 50_000)).status == 400
        assert (await line.request(dendrite.head(), dendrite.games_body([]))).status == 200
        assert (await line.request(dendrite.head(dendrite_nonce="x"), b"x", length=1_000_000)).status == 400
        line.writer.write(b"x" * 200_000)
        assert await line.is_cut()


async def test_slow_strangers_of_one_address_make_room_for_a_validator(
    bench: AxonBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axon_protocol, "MAX_STRANGERS_OF_ADDRESS", 4)
    dendrite = bench.dendrite()
    async with AsyncExitStack() as lines:
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


class Guest:
    """A connection, as the crowd sees it."""

    def __init__(self) -> None:
        self.transport: Any = self
        self.is_here = True

    def abort(self) -> None:
        self.is_here = False


def test_who_has_waited_longest_leaves_and_a_validator_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axon_protocol, "MAX_STRANGERS", 3)
    monkeypatch.setattr(axon_protocol, "MAX_CONNECTIONS", 5)
    crowd = Crowd()
    guests: list[Any] = [Guest() for _ in range(12)]

    def come(number: int) -> None:
        crowd.enter(guests[number], f"203.0.113.{number}")

    def recognise(number: int) -> None:
        crowd.recognise(guests[number], Hotkey(str(number)))

    def here() -> list[int]:
        return [number for number, guest in enumerate(guests) if guest.is_here]

    for number in range(3):
        come(number)
    recognise(0)
    recognise(1)
    for number in range(3, 6):
        come(number)
    assert here() == [0, 1, 3, 4, 5, *range(6, 12)]
    recognise(3)
    come(6)
    assert here() == [0, 1, 3, 5, 6, *range(7, 12)]
    recognise(5)
    recognise(6)
    come(7)  # only validators are here: the first of them makes room
    assert here() == [1, 3, 5, 6, 7, *range(8, 12)]
    crowd.leave(guests[7])
    crowd.leave(guests[7])
    recognise(7)
    come(8)
    assert here() == [1, 3, 5, 6, 7, *range(8, 12)]


def test_strangers_of_many_addresses_do_not_crowd_out_who_comes_from_a_validators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(axon_protocol, "MAX_STRANGERS", 3)
    monkeypatch.setattr(axon_protocol, "MAX_HOMES", 2)
    crowd = Crowd()

    def come(address: str) -> Any:
        guest: Any = Guest()
        crowd.enter(guest, address)
        return guest

    def prove(hotkey: str, address: str) -> None:
        guest = come(address)
        crowd.recognise(guest, Hotkey(hotkey))
        crowd.leave(guest)

    prove("one", "203.0.113.1")
    again = come("203.0.113.1")
    for number in range(9):
        come(f"198.51.100.{number}")
    assert again.is_here
    for _ in range(3):
        come("203.0.113.1")  # only guests of that address are left
    assert not again.is_here
    prove("one", "203.0.113.2")  # it has moved
    prove("two", "203.0.113.3")
    former, moved, other = come("203.0.113.1"), come("203.0.113.2"), come("203.0.113.3")
    come("198.51.100.1")
    assert (former.is_here, moved.is_here, other.is_here) == (False, True, True)
    prove("three", "203.0.113.4")  # of too many, the one that was not seen for longest is forgotten
    come("198.51.100.2")
    come("198.51.100.3")
    assert (moved.is_here, other.is_here) == (False, True)
