"""A miner's HTTP exchanges with validators that do not behave: none of them waits for ever."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from bittensor_core import Keypair

from bettensor.actors.settings import IntakeSettings
from bettensor.bus import codec
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    FrameReceived,
    GamesRequested,
    PostAnswered,
    PostFailed,
    PostRequested,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey, LedgerId, MessageId, Netuid, SessionId
from bettensor.bus.messages import (
    MAX_PARTS,
    MAX_PREDICTIONS,
    HeartbeatMessage,
    Limits,
    PointToPoint,
    PredictionMessage,
    WelcomeMessage,
)
from bettensor.neurons.edges.http_client import MAX_GAMES
from tests.neurons.edges.validators import VALIDATOR, Bench, Serve, benched, drip, hang, refuse, serving
from tests.support import NETUID, Injected, make_hotkey


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
    bomb = gzip.compress(bytes(4 * MAX_GAMES))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
        await writer.drain()

    async with serving(answer) as endpoint:
        bench.poll(endpoint)
        answered = await bench.until(PostAnswered, PostFailed)
    frames = [event.data for event in bench.heard if isinstance(event, FrameReceived)]
    assert sum(map(len, frames)) <= len(bomb), answered  # whatever it is taken for, it is no longer than it was


KEYPAIR = Keypair.create_from_uri("//Alice")
ME = Hotkey(KEYPAIR.ss58_address)


def frame(message: PointToPoint) -> bytes:
    """A frame whose signature is one by its form."""
    placed = codec.place(message, SessionId("0" * 32), 1)
    stamped = codec.stamp(placed, message_id=MessageId("0" * 32), sender=VALIDATOR, timestamp="")
    return codec.join(codec.Frame(codec.encode(stamped), bytes(64)))


WELCOME = frame(
    WelcomeMessage(
        receiver_hotkey=ME,
        challenge="1",
        salt="0" * 32,
        netuid=Netuid(NETUID),
        ledger_id=LedgerId("1" * 32),
        heartbeat_interval=60.0,
        connection_timeout=300.0,
        recovered=False,
        limits=Limits(frame_bytes=65536, predictions_per_message=64, messages_per_second=1e3, burst=2e3),
    )
)
BEAT = frame(HeartbeatMessage())


def answering(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> Serve:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"\r\n".join((b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", b""))
        writer.write(head + body)
        await writer.drain()

    return answer


def frames(bench: Bench) -> list[bytes]:
    return [event.data for event in bench.heard if isinstance(event, FrameReceived)]


async def test_the_frames_of_an_answer_are_published_between_its_opening_and_its_end(bench: Bench) -> None:
    async with serving(answering(b"".join(line + b"\n" for line in (WELCOME, BEAT)))) as endpoint:
        bench.poll(endpoint)
        await bench.until(ConnectionClosed)
    kinds = [type(event) for event in bench.heard if not isinstance(event, (GamesRequested, Injected))]
    assert kinds == [ConnectionOpened, FrameReceived, FrameReceived, PostAnswered, ConnectionClosed]
    assert frames(bench) == [WELCOME, BEAT]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "no frame"),
        (b"\n" * MAX_GAMES, "no signature"),
        (b"{}\n" * (MAX_GAMES // 3), "no signature"),
        (BEAT + b"\n" + WELCOME, "the first frame is not a welcome"),
        (WELCOME + b"\n\n\n", "no signature"),
        (WELCOME + b"\n[" + BEAT[1:], "not a JSON object"),
        (WELCOME + b"\n" + BEAT.upper(), "no signature"),
        (WELCOME + b"\n{" + b" " * 70_000 + b"}\n" + BEAT.partition(b"\n")[2], "the limit is 65536"),
        ((WELCOME + b"\n") * (MAX_PARTS + 2), f"more than {MAX_PARTS + 1} frames"),
    ],
    ids=["empty", "newlines", "no signatures", "no welcome", "empty lines", "a list", "capitals", "long", "many"],
)
async def test_nothing_of_an_answer_that_is_not_all_frames_is_published(bench: Bench, body: bytes, fault: str) -> None:
    async with serving(answering(body)) as endpoint:
        bench.poll(endpoint)
        failed = await bench.until(PostFailed, PostAnswered)
    assert isinstance(failed, PostFailed)
    assert (failed.status, fault in failed.reason) == (200, True), failed.reason
    assert not [event for event in bench.heard if isinstance(event, (ConnectionOpened, FrameReceived))]


async def test_an_answer_with_verdicts_is_shorter_than_one_with_games(bench: Bench) -> None:
    most = 1 + 2 * MAX_PREDICTIONS
    async with serving(answering(WELCOME + b"\n" + (BEAT + b"\n") * most)) as endpoint:
        bench.ask(PostRequested(ConnectionId(-1), VALIDATOR, endpoint, PredictionMessage(predictions=())))
        failed = await bench.until(PostFailed, PostAnswered)
    assert isinstance(failed, PostFailed)
    assert f"more than {most} frames" in failed.reason


async def test_the_first_frame_that_an_actor_rejects_is_the_last(bench: Bench) -> None:
    def reject(event: FrameReceived, _: Envelope) -> None:
        if event.data == BEAT:
            bench.bus.publish(CloseRequested(event.connection, CloseCode.BAD_SIGNATURE, "not yours"))

    bench.bus.subscribe(FrameReceived, reject, "test")
    async with serving(answering(b"\n".join((WELCOME, BEAT, BEAT, BEAT)))) as endpoint:
        bench.poll(endpoint)
        closed = await bench.until(ConnectionClosed)
    assert frames(bench) == [WELCOME, BEAT]
    assert closed == ConnectionClosed(ConnectionId(-1), CloseCode.BAD_SIGNATURE, "not yours")
    assert [event.reason for event in bench.heard if isinstance(event, PostFailed)] == [f"{endpoint}: not yours"]


async def test_a_validator_that_floods_by_http_is_cut_off() -> None:
    limits = IntakeSettings(bytes_per_second=1e6, burst_bytes=65536, patience=0.01)
    async with benched(limits) as bench, serving(answering((WELCOME + b"\n") * 9_000)) as endpoint:
        bench.poll(endpoint)
        closed = await bench.until(ConnectionClosed)
        assert isinstance(closed, ConnectionClosed)
        assert (closed.code, closed.reason) == (CloseCode.RATE_LIMITED, "more than 1 MB a second for 0 s")
        assert len(frames(bench)) < 9_000
        assert isinstance(await bench.until(PostFailed), PostFailed)


async def test_a_refusal_is_told_if_it_can_be_read(bench: Bench) -> None:
    for number, (answer, status, said) in enumerate(
        [
            (answering(b'{"error": "stale", "message": "late"}', b"401 No", b"Retry-After: 7"), 401, "stale: late"),
            (answering(b"x" * 100_000, b"503 No"), 503, ""),
            (answering(b"", b"302 Found", b"Location: http://elsewhere.example/"), 302, ""),
        ]
    ):
        async with serving(answer) as endpoint:
            bench.heard.clear()
            bench.poll(endpoint, -1 - number)
            failed = await bench.until(PostFailed, PostAnswered)
        assert isinstance(failed, PostFailed)
        assert (failed.status, failed.reason) == (status, f"{endpoint}: {status} {said}")
        assert failed.retry_after == (7 if status == 401 else None)
