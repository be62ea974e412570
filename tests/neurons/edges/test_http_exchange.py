"""An exchange with a server that may do all that servers may not: what it costs has bounds."""

import asyncio
import tracemalloc

import pytest

from bettensor.neurons.edges.http_exchange import (
    LARGE,
    MAX_HEAD,
    MAX_HINTS,
    MAX_PARTS,
    PART,
    NoAnswer,
    connected,
    is_crumbled,
)
from tests.loopback.existing import serving

HEADERS = [("Host", "miner.example"), ("x_Y", "z"), ("Content-Length", "4")]


async def exchange(answer: bytes, most: int = 1000, rooms: list[int] | None = None) -> tuple[int, bytes, list[bytes]]:
    """Status, body and what the server read, if it sends these bytes and closes."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"body"))
        writer.write(answer)
        await writer.drain()

    async def make_room() -> None:
        assert rooms is not None
        rooms.append(1)

    async with serving(serve) as endpoint:
        host, _, port = endpoint.rpartition(":")
        async with asyncio.timeout(10), connected(host, int(port)) as connection:
            reply = await connection.request("POST", "/path", HEADERS, b"body")
            assert reply.header("nothing") == ""
            return reply.status, await reply.read(most, make_room), heard


async def test_a_request_has_its_headers_in_their_order_and_case() -> None:
    status, body, heard = await exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (status, body) == (200, b"hi")
    assert heard == [b"POST /path HTTP/1.1\r\nHost: miner.example\r\nx_Y: z\r\nContent-Length: 4\r\n\r\nbody"]


async def test_bodies_end_by_length_by_chunk_or_with_the_connection() -> None:
    assert (await exchange(b"HTTP/1.1 200 OK\r\n\r\nhi"))[1] == b"hi"
    assert (await exchange(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))[1] == b"hi"


async def test_a_few_preliminary_answers_are_passed_over_and_many_are_not() -> None:
    hint, answer = b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
    assert (await exchange(hint * MAX_HINTS + answer))[:2] == (404, b"")
    with pytest.raises(NoAnswer, match="preliminary"):
        await exchange(hint * (MAX_HINTS + 1) + answer)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "no HTTP answer"),
        (b"SSH-2.0\r\n\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2 * MAX_HEAD, "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhi", "no HTTP answer"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi", "compressed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "an answer of more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1001, "an answer of more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1000, "far too many parts"),
    ],
)
async def test_what_is_no_answer(answer: bytes, reason: str) -> None:
    with pytest.raises(NoAnswer, match=reason):
        await exchange(answer)


async def test_room_is_made_once_for_a_large_body() -> None:
    rooms: list[int] = []
    await exchange(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * LARGE, 2 * LARGE, rooms)
    assert rooms == []
    assert len((await exchange(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2 * LARGE, 2 * LARGE, rooms))[1]) == 2 * LARGE
    assert rooms == [1]


async def test_a_large_body_is_in_memory_once() -> None:
    chunk, chunks = b" " * 65536, 128

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(chunks):
            writer.write(chunk)
            await writer.drain()

    async with serving(answer) as endpoint, connected("127.0.0.1", int(endpoint.rpartition(":")[2])) as connection:
        reply = await connection.request("GET", "/", [("Host", "validator")])
        tracemalloc.start()
        try:
            assert len(await reply.read(chunks * len(chunk))) == chunks * len(chunk)
            assert tracemalloc.get_traced_memory()[1] < 1.5 * chunks * len(chunk)
        finally:
            tracemalloc.stop()


async def test_nobody_listens() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        async with connected("127.0.0.1", 1):
            raise AssertionError("this cannot be reached")


def test_parts_of_real_servers_are_no_crumbs() -> None:
    assert not is_crumbled(MAX_PARTS, 0)
    assert not is_crumbled(4096, 4096 * PART)
    assert is_crumbled(MAX_PARTS + 1, PART - 1)


async def test_a_request_that_is_none() -> None:
    async def hear(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(hear) as endpoint:
        port = int(endpoint.rpartition(":")[2])
        async with connected("127.0.0.1", port) as connection:
            with pytest.raises(NoAnswer, match="cannot be made"):
                await connection.request("GET", "/", [("Host", "a\0b")])


async def test_requests_one_after_the_other_on_one_connection() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in (1, 2):
            head = await reader.readuntil(b"\r\n\r\n")
            last = b"Connection: close\r\n" if number == 2 else b""
            writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (last, len(head)) + head)

    async with serving(answer) as endpoint, connected("127.0.0.1", int(endpoint.rpartition(":")[2])) as connection:
        for target in ("/games", "/predictions"):
            reply = await connection.request("GET", target, [("Host", "validator")])
            assert await reply.read(1000) == b"GET %b HTTP/1.1\r\nHost: validator\r\n\r\n" % target.encode()
        with pytest.raises(NoAnswer, match="cannot be made"):
            await connection.request("GET", "/", [("Host", "validator")])
