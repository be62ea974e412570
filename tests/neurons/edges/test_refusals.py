"""What a validator says when it refuses: it may be anything, and is believed in nothing."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from bettensor.bus.codes import AXON
from bettensor.bus.events import DialFailed, PostFailed
from bettensor.neurons.edges.refusals import read_refusal
from tests.neurons.edges.validators import Bench, benched, refusal, serving


def test_a_refusal_has_its_code_and_a_text_for_people() -> None:
    body = json.dumps({"error": "stale", "message": "signed 60 s ago", "more": [1]}).encode()
    assert read_refusal(body) == ("stale", "stale: signed 60 s ago")
    assert read_refusal(bytearray(body)) == read_refusal(body)


def test_a_code_is_cut_before_it_fills_a_log() -> None:
    refusal = read_refusal(json.dumps({"error": "x" * 10_000, "message": ""}).encode())
    assert refusal == ("x" * 64, f"{'x' * 64}: ")


def test_an_axon_refuses_without_a_code() -> None:
    assert read_refusal(b'{"message":"Synapse name ws not found"}') == (
        AXON,
        "an Axon answers: Synapse name ws not found",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"7",
        b"[]",
        b"null",
        b"{}",
        b'{"error":"stale"}',
        b'{"error":401,"message":"x"}',
        b'{"error":"stale","message":null}',
        b'{"error":"\xff","message":"x"}',
        b'{"error":"stale","message":"x"',
        b'{"error":"stale","message":"x","more":' + b"[" * 50_000,
    ],
)
def test_anything_else_is_no_refusal(body: bytes) -> None:
    assert read_refusal(body) is None


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with benched() as bench:
        yield bench


async def test_no_redirect_is_followed(bench: Bench) -> None:
    followed: list[bytes] = []

    async def note(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        followed.append(await reader.readline())

    async with serving(note) as elsewhere:

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            place = f"Location: ws://{elsewhere}/\r\n".encode()
            writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n" + place + b"\r\n")

        async with serving(redirect) as endpoint:
            bench.dial(endpoint)
            bench.poll(endpoint)
            for kind in (DialFailed, PostFailed):
                failed = await bench.until(kind)
                assert isinstance(failed, (DialFailed, PostFailed))
                assert failed.status == 302
    assert followed == []


REFUSALS = {
    "a body that is nested without end": refusal(b"[" * 100_000),
    "a number without end": refusal(b'{"error": ' + b"1" * 10_000 + b', "message": ""}'),
    "two times to wait": refusal(b"{}", b"Retry-After: 1", b"Retry-After: 2"),
    "digits of another script": refusal(b"{}", "Retry-After: ٣".encode()),
    "no text": refusal(b'{"error": "\xff\xfe", "message": "\xff"}'),
    "half a character": refusal(b'{"error": "\\ud800", "message": "\\ud800"}'),
    "a body that is no gzip": refusal(b"no", b"Content-Encoding: gzip"),
    "a charset that is none": refusal(b"no", b"Content-Type: text/plain; charset=\x00nothing"),
    "a cookie": refusal(b"{}", b"Set-Cookie: a=b; Max-Age=999999999999999999999", b"Set-Cookie: b=c"),
    "two lengths": refusal(b"{}", b"Content-Length: 3"),
    "two protocols": b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "a line without end": b"HTTP/1.1 503 " + b"x" * 200_000,
    "a status that is none": b"HTTP/1.1 99999 Yes\r\n\r\n",
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
async def test_whatever_a_validator_refuses_with_is_a_failed_dial_and_a_failed_exchange(
    bench: Bench, answer: bytes
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with serving(refuse) as endpoint:
        bench.dial(endpoint)
        dial = await bench.until(DialFailed)
        bench.poll(endpoint)
        post = await bench.until(PostFailed)
    assert isinstance(dial, DialFailed), dial
    assert isinstance(post, PostFailed), post
    assert (dial.reason + post.reason).encode()  # a text that can be recorded
