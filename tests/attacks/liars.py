"""Attacks of a validator that lies to a miner: it is in the metagraph, and its signatures are good."""

import asyncio
import contextlib
import gzip
import logging
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from bettensor.bus import codec
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import GameId, MessageId, Offset, PredictionId
from bettensor.bus.messages import (
    SUBPROTOCOL,
    ConfirmationMessage,
    ErrorMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    Limits,
    PointToPoint,
    PredictionResult,
    WelcomeMessage,
)
from bettensor.neurons.bench.rig import NETUID
from tests.attacks.attack import Attack, Ceilings, Force
from tests.attacks.target import LOOPBACK, Target, key
from tests.loopback.test_liars import EPOCH, Liar
from tests.support import make_game, make_hex32, rfc3339_from_now

Answers = Counter[str]
Script = Callable[[Liar, Answers, float], Awaitable[None]]
"""What the liar does in one session until the time of ``perf_counter``."""
HTTP_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
MB: Final = 1024 * 1024


# --- over WebSocket


async def lie(target: Target, force: Force, script: Script, *, names_protocol: bool = True) -> Answers:
    """Be the validator for which the miner looks, and follow ``script`` in each session."""
    got: Answers = Counter()
    deadline = time.perf_counter() + force.seconds
    keypair = key(target.members[0])

    async def speak(socket: ServerConnection) -> None:
        got["a session"] += 1
        try:
            await script(Liar(socket, keypair), got, deadline)
        except ConnectionClosed:
            pass
        except (AssertionError, TimeoutError):
            got["no first word"] += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - time.perf_counter())):
                await socket.wait_closed()
        got["open" if socket.close_code is None else str(socket.close_code)] += 1

    def answer(_: ServerConnection, request: Request) -> Response | None:
        if request.path.startswith("/ws"):
            return None
        got[f"asks for {request.path.partition('?')[0]}"] += 1
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable", Headers({"Content-Length": "0"}), b"")

    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # it takes no POST, and says so
    names = [Subprotocol(SUBPROTOCOL)] if names_protocol else None
    unnamed = None if names_protocol else (lambda *_: None)
    async with serve(
        speak,
        LOOPBACK,
        target.port,
        subprotocols=names,
        select_subprotocol=unnamed,
        process_request=answer,
        compression=None,
        ping_interval=None,
        close_timeout=1.0,  # for a miner that does not read
        max_size=2**24,
    ):
        await asyncio.sleep(force.seconds + 0.3)
        return Counter(got)


async def flood(liar: Liar, _: Answers, deadline: float, make: Callable[[Liar, int], str | bytes]) -> None:
    """``make`` a frame as often as the miner takes one."""
    await liar.welcome_miner()
    await liar.tell(5, None)
    number = 6
    while time.perf_counter() < deadline:
        await liar.socket.send(make(liar, number))
        number += 1
        if number % 20 == 0:
            await asyncio.sleep(0)


def update(liar: Liar, number: int, games: list[TeamGame], **changes: Any) -> str:
    """A signed game update."""
    fields: dict[str, Any] = {"previous": None, "part": 1, "parts": 1} | changes
    message = GameUpdateMessage(
        netuid=NETUID,  # type: ignore[arg-type]
        epoch=EPOCH,
        offset=Offset(number),
        updated_games={game.game_id: game for game in games},
        **fields,
    )
    stamped = codec.stamp(message, message_id=MessageId(make_hex32()), sender=liar.hotkey, timestamp="")
    return liar.sign(codec.encode(stamped))


def some_games(number: int, count: int, **changes: Any) -> list[TeamGame]:
    start = rfc3339_from_now(86_400)
    return [make_game(game_id=GameId(f"{number}-{i}"), event_start_date=start, **changes) for i in range(count)]


def snapshot(liar: Liar, number: int) -> str:
    """The slate anew, with other odds."""
    return update(liar, number, some_games(0, 40, team_a_odds=1.5 + number % 100 / 100))


def growing(liar: Liar, number: int) -> str:
    """A slate that grows for ever."""
    return update(liar, number, some_games(number, 100), previous=Offset(number - 1))


def endless_part(liar: Liar, number: int) -> str:
    """One of 10,000 parts, of which the last never comes."""
    return update(liar, 9, some_games(number, 100), part=(number - 6) % 9_999 + 1, parts=10_000)


def later(liar: Liar, number: int) -> str:
    """A claim that there are updates which the miner has not got."""
    return liar.frame(HeartbeatMessage(epoch=EPOCH, offset=Offset(number * 1000)))


def unasked(liar: Liar, _: int) -> str:
    """A verdict on a prediction that was never made."""
    verdict = PredictionResult(
        prediction_id=PredictionId(make_hex32()), about=MessageId("a" * 32), success=True, code="accepted", message=""
    )
    return liar.frame(ConfirmationMessage(results=(verdict,)))


def escapes(liar: Liar, _: int) -> str:
    """An error whose text would clear a terminal."""
    return liar.frame(ErrorMessage(code="internal[/x]", message="\x1b[2J\x9b31m[/x]" * 50))


@cache
def zlib_bomb() -> bytes:
    """60 kB that unpack to 60 MB."""
    return zlib.compress(b" " * (60 * MB), 9)


def bomb(_: Liar, __: int) -> bytes:
    """A binary frame, as of a compressed update."""
    return zlib_bomb()


async def ping(liar: Liar, _: Answers, deadline: float) -> None:
    """Pings as fast as they go."""
    await liar.welcome_miner()
    while time.perf_counter() < deadline and liar.socket.close_code is None:
        liar.socket.transport.write((bytes([0x80 | Opcode.PING, 100]) + b"x" * 100) * 100)
        await asyncio.sleep(0.01)


async def offer_odd_games(liar: Liar, got: Answers, deadline: float) -> None:
    """A slate with one game of which both teams have one name, and one that can be bet on."""
    await liar.welcome_miner()
    odd = some_games(1, 1, team_a="Same", team_b="Same")
    await liar.socket.send(update(liar, 5, [*odd, *some_games(2, 5)]))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(deadline - time.perf_counter()):
            while (await liar.hear())["message_type"] != "prediction":
                pass
            got["a prediction"] += 1
            return
    got["no prediction"] += 1


async def greet_only(liar: Liar, got: Answers, _: float) -> None:
    """A welcome, and then nothing."""
    await liar.welcome_miner()
    got["a first word"] += 1


async def greet_wrongly(liar: Liar, _: Answers, __: float) -> None:
    """A welcome whose signature is another key's."""
    liar.keypair = key("//Nobody")
    await liar.welcome_miner()


class Eccentric(Liar):
    """Welcomes with numbers that no validator has."""

    changes: Mapping[str, Any]

    async def say(self, message: PointToPoint, **changes: Any) -> None:
        if isinstance(message, WelcomeMessage):
            message = replace(message, **self.changes)
        await super().say(message, **changes)


async def greet_oddly(liar: Liar, got: Answers, deadline: float, changes: Mapping[str, Any]) -> None:
    """A welcome with odd numbers; counts the heartbeats that follow."""
    odd = Eccentric(liar.socket, liar.keypair)
    odd.changes = changes
    await odd.welcome_miner()
    await odd.tell(5, None)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(deadline - time.perf_counter()):
            while True:
                said = await odd.hear(heartbeats=True)
                got[f"a {said['message_type']}"] += 1


async def close_with_escapes(liar: Liar, _: Answers, __: float) -> None:
    """A close whose reason would clear a terminal."""
    await liar.welcome_miner()
    await liar.socket.close(4999, "\x1b[2J\x9b31m[/x]" * 6)


# --- over HTTP


Answer = Callable[[bytes, asyncio.StreamWriter, float], Awaitable[None]]


async def answer_wrongly(target: Target, force: Force, answer: Answer, *, also_sessions: bool = False) -> Answers:
    """Answer each request of the miner by ``answer``, and handshakes with a plain 503 unless told otherwise."""
    got: Answers = Counter()
    deadline = time.perf_counter() + force.seconds
    writers: list[asyncio.StreamWriter] = []
    handlers: list[asyncio.Task[Any]] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if (task := asyncio.current_task()) is not None:
            handlers.append(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].partition(b"?")[0].decode()
            got[f"asks for {path}"] += 1
            if path == "/ws" and not also_sessions:
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            else:
                await answer(head, writer, deadline)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_one, LOOPBACK, target.port)
    async with server:
        await asyncio.sleep(force.seconds + 0.3)
        for writer in writers:
            writer.transport.abort()
        if handlers:
            await asyncio.wait(handlers)
        return Counter(got)


def whole(make: Callable[[], bytes], headers: bytes = b"") -> Answer:
    """A complete answer, whose body ``make`` makes; large ones are not made by who only imports this."""

    async def answer(_: bytes, writer: asyncio.StreamWriter, __: float) -> None:
        body = make()
        writer.write(HTTP_ANSWER + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return answer


def endless(beginning: bytes, piece: bytes, pause: float = 0.0) -> Answer:
    """An answer that never ends."""

    async def answer(_: bytes, writer: asyncio.StreamWriter, deadline: float) -> None:
        writer.write(beginning)
        while time.perf_counter() < deadline:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def plain(data: bytes) -> Answer:
    """These bytes."""

    async def answer(_: bytes, writer: asyncio.StreamWriter, __: float) -> None:
        writer.write(data)

    return answer


ASKS: Final = frozenset({"asks for /ws", "asks for /games", "asks for /predictions"})
SESSION_ENDS: Final = frozenset(
    {"a session", "open", "1000", "1001", "1002", "1006", "1007", "1009", "4000", "4001", "4101", "4103"}
)


@cache
def gzip_bomb() -> bytes:
    """200 kB that unpack to 200 MB."""
    return gzip.compress(b"\n" * (200 * MB))


BODIES: Final = {
    "newlines": ("16 MB of newlines", whole(lambda: b"\n" * (16 * MB - 100)), False),
    "gzip": ("200 kB that unpack to 200 MB", whole(gzip_bomb, b"Content-Encoding: gzip\r\n"), False),
    "body": ("a body without an end", endless(HTTP_ANSWER + b"\r\n", b"a" * 65536), False),
    "chunks": (
        "chunks of one byte without an end",
        endless(HTTP_ANSWER + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 1000),
        False,
    ),
    "head": ("a head without an end", endless(HTTP_ANSWER, b"abcdefgh: ijklmnop\r\n" * 3000), True),
    "interim": ("interim answers (100) without an end", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), True),
    "drip": ("an answer byte by byte", endless(HTTP_ANSWER + b"X-Slow: ", b"a", 0.2), True),
    "redirect": (
        "a redirect to another port",
        plain(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        True,
    ),
    "retry-after": (
        "a refusal with Retry-After: 99999",
        plain(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 99999\r\nContent-Length: 0\r\n\r\n"),
        True,
    ),
    "escapes": ("a refusal whose text would clear a terminal", whole(lambda: b"\x1b[2J\x9b31m[/x]" * 30), True),
}
TAKEN_MB: Final = 48.0
"""What a miner takes, it records: 32 MB at once, and 2 MB a second (`IntakeSettings`)."""
MADE_MB: Final = 40.0
"""What it records of its own bets: those that may wait, and those of one answer more, of 650 bytes each."""
CHECKPOINT_MB: Final = 24.0
"""What the next file of its event log begins with, if 20,000 predictions wait on as many games."""
WAITING: Final = Ceilings(stored=1000, recorded_mb=TAKEN_MB)
"""Predictions for a validator that gives no verdict wait for one, and are rightly kept."""
FLOODS: Final[dict[str, tuple[str, Callable[[Liar, int], str | bytes], Ceilings]]] = {
    "snapshots": (
        "snapshots of 40 games as fast as the miner reads",
        snapshot,
        Ceilings(memory_mb=96, left_mb=64, stored=20_000, recorded_mb=TAKEN_MB),
    ),
    "growth": (
        "updates that each add 100 games, without an end",
        growing,
        Ceilings(
            memory_mb=192, left_mb=160, stored=20_000, recorded_mb=TAKEN_MB + MADE_MB + CHECKPOINT_MB, cpu_share=1.2
        ),
    ),
    "parts": (
        "updates in 10,000 parts, of which the last never comes",
        endless_part,
        Ceilings(memory_mb=64, stored=1000, recorded_mb=TAKEN_MB),
    ),
    "offsets": ("heartbeats with ever later offsets", later, WAITING),
    "verdicts": ("verdicts on predictions that were never made", unasked, WAITING),
    "texts": ("errors whose text would clear a terminal", escapes, WAITING),
    "bomb": ("binary frames of 60 kB that unpack to 60 MB", bomb, WAITING),
}
LONG: Final = {"growth": 30.0}
"""Seconds of those whose honest 99th percentile must not be of one moment, as that of a new file of the event log."""

NOTHING: Final = Limits(frame_bytes=0, predictions_per_message=0, messages_per_second=1e-9, burst=1e-9)
ODDITIES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "rhythm": ("a heartbeat each microsecond", {"heartbeat_interval": 1e-6, "connection_timeout": 1e-6}),
    "eternity": ("a heartbeat in ever so long", {"heartbeat_interval": 1e300, "connection_timeout": 1e300}),
    "limits": ("messages without any byte or prediction", {"limits": NOTHING}),
}
LARGE_ANSWER: Final = Ceilings(left_mb=40.0)
"""An answer may have 16 MB, and glibc keeps as much as twice the largest block that was freed."""
LIARS: Final = (
    *(
        Attack(
            name=f"answer-{name}",
            role="miner",
            sentence=f"A validator answers a miner's requests with {sentence}.",
            strike=partial(answer_wrongly, answer=answer, also_sessions=also_sessions),
            gets=ASKS,
            short_seconds=1.5,
            ceilings=LARGE_ANSWER,
        )
        for name, (sentence, answer, also_sessions) in BODIES.items()
    ),
    *(
        Attack(
            name=f"lie-{name}",
            role="miner",
            sentence=f"A validator sends a miner {sentence}.",
            strike=partial(lie, script=partial(flood, make=make)),
            gets=SESSION_ENDS | ASKS,
            per_second={"asks for /games": 2.0},
            ceilings=ceilings,
            seconds=LONG.get(name),
            short_seconds=1.5,
        )
        for name, (sentence, make, ceilings) in FLOODS.items()
    ),
    Attack(
        name="lie-pings",
        role="miner",
        sentence="A validator sends a miner 10,000 pings a second.",
        strike=partial(lie, script=ping),
        gets=SESSION_ENDS | ASKS,
        short_seconds=1.5,
    ),
    *(
        Attack(
            name=f"lie-{name}",
            role="miner",
            sentence=f"A validator's welcome asks for {sentence}.",
            strike=partial(lie, script=partial(greet_oddly, changes=changes)),
            gets=SESSION_ENDS | ASKS | {"a heartbeat", "a prediction"},
            per_second={"a heartbeat": 20.0},
            ceilings=WAITING,
            short_seconds=1.5,
        )
        for name, (sentence, changes) in ODDITIES.items()
    ),
    Attack(
        name="lie-close",
        role="miner",
        sentence="A validator closes a miner's sessions with a text that would clear a terminal.",
        strike=partial(lie, script=close_with_escapes),
        gets=SESSION_ENDS | ASKS | {"4999"},
        short_seconds=1.5,
    ),
    Attack(
        name="lie-signature",
        role="miner",
        sentence="A validator's welcome is signed by another key.",
        strike=partial(lie, script=greet_wrongly),
        gets=frozenset({"a session", "4001", "4000"}) | ASKS,
        short_seconds=1.5,
    ),
    Attack(
        name="lie-subprotocol",
        role="miner",
        sentence="A validator switches protocols and names none.",
        strike=partial(lie, script=greet_only, names_protocol=False),
        gets=frozenset({"a session", "1002", "1006", "4000", "no first word"}) | ASKS,
        short_seconds=1.5,
    ),
    Attack(
        name="lie-odd-game",
        role="miner",
        sentence="A validator offers a game whose teams have one name, beside good ones.",
        strike=partial(lie, script=offer_odd_games),
        gets=frozenset({"a session", "a prediction", "open"}) | ASKS,
        ceilings=Ceilings(stored=10_000),
        short_seconds=1.5,
    ),
)
"""In the order of the table."""
