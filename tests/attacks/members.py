"""Attacks of registered hotkeys: their signatures are good, and their sessions are open."""

import asyncio
import contextlib
import json
import socket
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from bittensor_core import Keypair
from websockets.frames import Frame, Opcode

from bettensor.bus import codec
from bettensor.bus.identifiers import Hotkey, MessageId
from bettensor.bus.messages import MAX_FRAME_BYTES, HeartbeatMessage, PredictionMessage
from bettensor.neurons.bench.load import prediction_message, text_frame
from bettensor.neurons.cli.control_client import ask as ask_neuron
from tests.attacks.attack import Attack, Ceilings, Force
from tests.attacks.strangers import TURNED_AWAY, flood
from tests.attacks.target import (
    Speaker,
    Target,
    Wire,
    addressed,
    dial,
    ends_in_good_order,
    handshake,
    paced,
    request,
    speakers,
)

Answers = Counter[str]
LIMITED: Final = frozenset({"rate_limited", "4103", "overloaded"})
"""A session above its limits is told so, and closed if it goes on."""
OPEN: Final = frozenset({"open"})
VIOLATION: Final = frozenset({"malformed", "4000"})


# --- sessions in number


async def open_silently(target: Target, force: Force, rate: float, hotkeys: int) -> Answers:
    """Open sessions that never say a word, and count those that are open at the end."""
    keypairs = target.keypairs(hotkeys)
    got: Answers = Counter()
    held: list[Wire] = []

    async def open_one(number: int) -> None:
        with ends_in_good_order():
            wire = await dial(target, f"127.66.6.{1 + number % 200}")
            await wire.send(handshake(target, keypairs[number % hotkeys]))
            got[await wire.answer()] += 1
            held.append(wire)
            return
        got["not connected"] += 1

    async with asyncio.TaskGroup() as group:
        async for number in paced(rate, force.seconds):
            group.create_task(open_one(number))
    return got


async def reconnect(target: Target, force: Force, times: int) -> Answers:
    """Open a session, wait for the beginning of the slate, leave, and begin again."""
    keypairs = target.keypairs(5)
    got: Answers = Counter()

    async def come_again(keypair: Keypair) -> None:
        async for _ in paced(force.some(times) / len(keypairs) / force.seconds, force.seconds):
            try:
                async with speakers(target, [keypair]):
                    got["a slate"] += 1
            except Exception as refused:  # noqa: BLE001 - whatever refuses it
                got[_refusal(refused)] += 1

    await asyncio.gather(*(come_again(keypair) for keypair in keypairs))
    return got


def _refusal(refused: Exception) -> str:
    return next((status for status in ("503", "429") if f"with {status}" in str(refused)), "not connected")


# --- readers that do not read


async def stall_and_end(target: Target, force: Force, sessions: int, *, secure: bool = False) -> Answers:
    """Open sessions, leave the slate unread, end each in another way or not at all, and keep the sockets."""
    got: Answers = Counter()
    held: list[Wire] = []
    for keypair in target.keypairs(force.some(sessions)):
        with ends_in_good_order():
            wire = await dial(target, receive_buffer=4096, segment=1460, secure=secure)
            await wire.send(handshake(target, keypair))
            head = await wire.reader.readuntil(b"\r\n\r\n")
            welcome = await _text(wire)
            wire.pause()
            await wire.send(_first_word(keypair, welcome))
            got[head[9:12].decode()] += 1
            held.append(wire)
    await asyncio.sleep(0.3)
    for wire, end in zip(held, cycle(ENDS), strict=False):
        with ends_in_good_order():
            wire.writer.write(end)
            if not end and wire.writer.can_write_eof():
                wire.writer.write_eof()
    await asyncio.sleep(force.seconds)
    _KEPT.extend(held)
    return got


_KEPT: list[Wire] = []
"""Wires that stay open until the process ends."""


async def _text(wire: Wire) -> bytes:
    head = await wire.reader.readexactly(2)
    length = head[1]
    if length == 126:
        length = int.from_bytes(await wire.reader.readexactly(2), "big")
    return await wire.reader.readexactly(length)


def _first_word(keypair: Keypair, welcome: bytes) -> bytes:
    session = json.loads(welcome.partition(b"\n")[0])["session"]
    message = codec.stamp(
        HeartbeatMessage(),
        message_id=MessageId(token_hex(16)),
        sender=Hotkey(keypair.ss58_address),
        timestamp="2026-01-01T00:00:00.000000Z",
    )
    payload = codec.encode(codec.place(message, session, 1))
    signature = bytes(keypair.sign(codec.SIGNED_PREFIX + payload))
    return text_frame(codec.join(codec.Frame(payload, signature)))


async def leave_answers(target: Target, force: Force, sockets: int) -> Answers:
    """Ask for the slate over HTTP on many sockets, and read none of the answers."""
    keypairs = target.keypairs(40)
    got: Answers = Counter()
    held: list[Wire] = []
    for number in range(force.some(sockets)):
        with ends_in_good_order():
            wire = await dial(target, f"127.66.{number % 50}.6", receive_buffer=4096, segment=1460)
            wire.pause()
            path = addressed("/games")
            await wire.send(request("GET", path, target.sign(keypairs[number % 40], path)))
            held.append(wire)
            got["asked"] += 1
            continue
        got["not connected"] += 1
    await asyncio.sleep(force.seconds)
    _KEPT.extend(held)
    return got


async def read_slowly(target: Target, force: Force, games: int) -> Answers:
    """Read a large slate as over a link with an MTU of 1,500 bytes, at some megabytes a second."""
    (keypair,) = target.keypairs(1)
    got: Answers = Counter()
    wire = await dial(target, receive_buffer=64 * 1024, segment=1460)
    await wire.send(handshake(target, keypair))
    got[(await wire.reader.readuntil(b"\r\n\r\n"))[9:12].decode()] += 1
    await wire.send(_first_word(keypair, await _text(wire)))
    deadline, seen = time.perf_counter() + force.seconds, set[str]()
    with ends_in_good_order():
        while len(seen) < games and time.perf_counter() < deadline:
            async with asyncio.timeout(deadline - time.perf_counter()):
                opcode, payload = await _frame_of(wire)
            if opcode == Opcode.CLOSE:
                got[str(int.from_bytes(payload[:2], "big"))] += 1
                return got
            said = json.loads(payload.partition(b"\n")[0])
            seen |= said.get("updated_games", {}).keys()
            await asyncio.sleep(len(payload) / SLOW)
    got["the whole slate" if len(seen) == games else "a part of the slate"] += 1
    wire.reset()
    return got


SLOW: Final = 2e6
"""Bytes a second of a slow reader."""


async def _frame_of(wire: Wire) -> tuple[int, bytes]:
    head = await wire.reader.readexactly(2)
    length = head[1]
    if length == 126:
        length = int.from_bytes(await wire.reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await wire.reader.readexactly(8), "big")
    return head[0] & 0x0F, await wire.reader.readexactly(length)


# --- requests in number


def full_post(target: Target, number: int) -> bytes:
    """64 predictions by HTTP, of one of five hotkeys."""
    keypair, path = target.keypairs(5)[number % 5], addressed("/predictions")
    message = codec.stamp(
        prediction_message(64),
        message_id=MessageId(token_hex(16)),
        sender=Hotkey(keypair.ss58_address),
        timestamp="2026-01-01T00:00:00.000000Z",
    )
    assert isinstance(message, PredictionMessage)
    body = codec.encode_body(message)
    return request("POST", path, target.sign(keypair, path, "POST", body), body)


def whole_slate(target: Target, number: int) -> bytes:
    """The slate by HTTP, for one of three hotkeys."""
    keypair, path = target.keypairs(3)[number % 3], addressed("/games")
    return request("GET", path, target.sign(keypair, path))


# --- frames in number


@asynccontextmanager
async def counted(target: Target, hotkeys: int) -> AsyncIterator[tuple[list[Speaker], Answers]]:
    """Sessions of attackers, and all that they are told until the end of the block and half a second later."""
    got: Answers = Counter()
    async with speakers(target, target.keypairs(hotkeys)) as opened:
        yield opened, got
        await asyncio.sleep(0.5)
        for speaker in opened:
            got.update(speaker.ends or ["open"])


Make = Callable[[Speaker], bytes]


async def push(target: Target, force: Force, make: Make, rate: float, hotkeys: int = 1) -> Answers:
    """``make`` a frame at a steady rate on each session; one that was closed is opened again."""
    rate *= 1 if force.share == 1 else 0.5
    deadline = time.perf_counter() + force.seconds
    got: Answers = Counter()
    while time.perf_counter() < deadline:
        try:
            async with counted(target, hotkeys) as (opened, heard):
                async for _ in paced(rate, deadline - time.perf_counter()):
                    living = [speaker for speaker in opened if not speaker.transport.is_closing()]
                    for speaker in living:
                        if speaker.transport.get_write_buffer_size() < 2**20:
                            speaker.write(make(speaker))
                    if not living:
                        break
            got += heard
        except Exception as refused:  # noqa: BLE001 - whatever refuses it
            got[_refusal(refused)] += 1
            await asyncio.sleep(0.2)
    return got


def predictions(speaker: Speaker, batch: int = 64) -> bytes:
    """Predictions that are all accepted."""
    return speaker.frame(prediction_message(batch))


def signed(speaker: Speaker, payload: bytes) -> bytes:
    """Any JSON with the session's good signature."""
    signature = bytes(speaker.keypair.sign(codec.SIGNED_PREFIX + payload))
    return text_frame(codec.join(codec.Frame(payload, signature)))


def altered(speaker: Speaker, change: Callable[[dict[str, Any]], None], batch: int = 1) -> bytes:
    """A prediction message in its place, with a ``change`` of its JSON."""
    speaker.seq += 1
    message = codec.stamp(
        prediction_message(batch),
        message_id=MessageId(token_hex(16)),
        sender=speaker.hotkey,
        timestamp="2026-01-01T00:00:00.000000Z",
    )
    said = json.loads(codec.encode(codec.place(message, speaker.session, speaker.seq)))
    change(said)
    return signed(speaker, json.dumps(said, separators=(",", ":")).encode())


def deep(speaker: Speaker) -> bytes:
    """64 predictions that nobody can read, as deep as a frame may be."""

    def nest(said: dict[str, Any]) -> None:
        for prediction in said["predictions"]:
            prediction["wager"] = _nested(28)

    return altered(speaker, nest, 64)


def _nested(levels: int) -> Any:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested, nested] if levels < 6 else [nested]
    return nested


def long_number(speaker: Speaker) -> bytes:
    """One prediction of three with an integer of 5,000 digits, which no field takes."""
    placed = altered(speaker, lambda said: said["predictions"][1].update(wager="@"), 3)
    payload = _unmask(placed).partition(b"\n")[0].replace(b'"@"', b"9" * 5000)
    return signed(speaker, payload)


def _unmask(frame: bytes) -> bytes:
    start = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    mask, masked = frame[start : start + 4], frame[start + 4 :]
    return bytes(byte ^ mask[number % 4] for number, byte in enumerate(masked))


def heartbeat(speaker: Speaker) -> bytes:
    return speaker.frame(HeartbeatMessage())


def unknown_kind(speaker: Speaker) -> bytes:
    return altered(speaker, lambda said: said.update(message_type="news"))


def junk(_: Speaker) -> bytes:
    return text_frame(b"x" * (MAX_FRAME_BYTES - 200))


def _frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, data, fin=fin).serialize(mask=True))


ENDS: Final = (b"", _frame(Opcode.CLOSE, b"\x03\xe8"), b"\xff\xff\xff\xff", _frame(Opcode.PING, b""))
"""What the readers that read nothing send at last; an empty one is a FIN."""


def _compressed(frame: bytes) -> bytes:
    """``frame`` with the bit of permessage-deflate, which nobody has agreed to."""
    return bytes([frame[0] | 0x40]) + frame[1:]


CRUMBS: Final = (
    _frame(Opcode.PING, b"x" * 100) * 20,
    _frame(Opcode.PONG, b"") * 50,
    _frame(Opcode.TEXT, b"", fin=False) + _frame(Opcode.CONT, b"", fin=False) * 100,
    _frame(Opcode.TEXT, b"") * 20,
)
"""Pings, pongs, empty fragments, empty texts: frames that cost a peer next to nothing."""


def crumbs(speaker: Speaker) -> bytes:
    """Of one kind in each session."""
    return CRUMBS[speaker.keypair.public_key[0] % len(CRUMBS)]


# --- one of each


def hostile(speaker: Speaker) -> Sequence[bytes]:
    """Frames that break one rule each; each ends its session, or is answered."""
    good = heartbeat(speaker)
    payload = _unmask(good)
    bomb = zlib.compress(b" " * 10_000_000)
    return [
        _frame(Opcode.TEXT, payload[:-1] + (b"1" if payload.endswith(b"0") else b"0")),
        _frame(Opcode.TEXT, payload + b"\n"),
        _frame(Opcode.TEXT, payload.replace(b"\n", b"\r\n")),
        _frame(Opcode.TEXT, b"\xef\xbb\xbf" + payload),
        _frame(Opcode.TEXT, b"\xff\xfe"),
        _compressed(_frame(Opcode.TEXT, payload)),
        _frame(Opcode.BINARY, payload),
        _frame(Opcode.BINARY, bomb[:60_000]),
        _frame(Opcode.TEXT, b"x" * (MAX_FRAME_BYTES + 1)),
        _frame(Opcode.CONT, payload),
        _frame(Opcode.CLOSE, b"\x00"),
        _frame(Opcode.CLOSE, b"\x0f\xff" + b"\x1b[2J" * 20),
        bytes([0x81, 0x05]) + b"hello",
        bytes([0x81, 0xFF]) + (2**62).to_bytes(8, "big") + b"abcd",
        bytes([0x83, 0x80]) + b"abcd",
        signed(speaker, b'{"message_type":' * 5000),
        signed(speaker, b"[" * 60_000),
        signed(speaker, b"NaN"),
        signed(speaker, b'{"message_type":"heartbeat","message_id":"' + b"0" * 32 + b'"}'),
        signed(speaker, payload.partition(b"\n")[0].replace(b'"seq":', b'"seq":9')),
        signed(speaker, payload.partition(b"\n")[0].replace(b'"seq":', b'"seq":1e400,"x":')),
    ]


LONG: Final = 8.0
"""Seconds that a session may take to end: an attacker's process has what others leave of the cores."""


async def one_of_each(target: Target, force: Force) -> Answers:
    """Each hostile frame in a session of its own."""
    got: Answers = Counter()
    keypairs = target.keypairs(30)
    deadline = time.perf_counter() + force.seconds
    number = 0
    while number < 21 or time.perf_counter() < deadline:
        async with speakers(target, [keypairs[number % 30]]) as (speaker,):
            frames = hostile(speaker)
            speaker.write(frames[number % len(frames)])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONG):
                    await speaker.ended.wait()
            got.update(speaker.ends or ["open"])
        number += 1
        if number >= 21 and time.perf_counter() < deadline:
            await asyncio.sleep(0.1)
    return got


async def reset_in_frame(target: Target, force: Force) -> Answers:
    """Half a frame of predictions, and an RST."""
    got: Answers = Counter()
    keypairs = target.keypairs(30)
    async for number in paced(force.some(50), force.seconds):
        try:
            async with speakers(target, [keypairs[number % 30]]) as (speaker,):
                whole = predictions(speaker)
                speaker.write(whole[: len(whole) // 2])
                await asyncio.sleep(0)
                plain: socket.socket = speaker.transport.get_extra_info("socket")
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            got["no answer"] += 1
        except Exception as refused:  # noqa: BLE001 - whatever refuses it
            got[_refusal(refused)] += 1
    return got


# --- the operator


async def watch(target: Target, force: Force) -> Answers:
    """What an open `top` asks, from the operator's own terminal."""
    got: Answers = Counter()
    async for _ in paced(2.0, force.seconds):
        await asyncio.to_thread(ask_neuron, Path(target.folder), {"ask": "status", "slates": False})
        got["a status"] += 1
    return got


UNLIMITED: Final = {"prediction": {"daily_wager_limit": 1e9}}
MANY: Final = {"actors": UNLIMITED}

WORK: Final = Ceilings(memory_mb=64, left_mb=48, cpu_share=1.2, stored=10**6, recorded_mb=200)
"""What a hotkey may do, it may do: its verdicts are stored and recorded, by one core, and the pages of the ledger and
the miners' days stay in memory."""

MEMBERS: Final = (
    Attack(
        name="sessions-of-one",
        sentence="One hotkey opens sessions that never say a word, 100 a second.",
        strike=partial(open_silently, rate=95.0, hotkeys=1),
        gets=TURNED_AWAY | {"101"},
        ceilings=Ceilings(descriptors=100),
    ),
    Attack(
        name="silent-slots",
        sentence="Nine hotkeys take all 64 sessions of a validator, and say nothing.",
        strike=partial(open_silently, rate=250.0, hotkeys=9),
        gets=TURNED_AWAY | {"101"},
        changes={"actors": {"auth": {"max_connections": 64}}},
    ),
    Attack(
        name="reconnecting",
        sentence="Five hotkeys reconnect 500 times to a slate of 3,000 games.",
        strike=partial(reconnect, times=500),
        gets=TURNED_AWAY | {"a slate", "429"},
        games=3000,
        ceilings=Ceilings(memory_mb=64, left_mb=48),
    ),
    Attack(
        name="unread-slates",
        sentence="Slow readers leave a slate of 3,000 games unread on 200 sessions, send a FIN, a close, "
        "a bad frame or nothing, and keep their sockets.",
        strike=partial(stall_and_end, sessions=200),
        gets=TURNED_AWAY | {"101"},
        games=3000,
        short_games=2000,
        seconds=18.0,
        ceilings=Ceilings(memory_mb=64, left_mb=40),
    ),
    Attack(
        name="unread-answers",
        sentence="Hotkeys ask for a slate of 3,000 games over HTTP on 200 sockets, and read nothing.",
        strike=partial(leave_answers, sockets=200),
        gets=TURNED_AWAY | {"asked"},
        games=3000,
        short_games=2000,
        ceilings=Ceilings(memory_mb=64, left_mb=40),
    ),
    Attack(
        name="large-slate",
        sentence="A miner on a link with an MTU of 1,500 bytes reads a slate of 20,000 games at 2 MB a second.",
        strike=partial(read_slowly, games=20_000),
        gets=frozenset({"101", "the whole slate"}),
        games=20_000,
        seconds=25.0,
        short_seconds=15.0,
        ceilings=Ceilings(memory_mb=96, left_mb=64),
    ),
    Attack(
        name="full-frames",
        sentence="One miner sends 64 predictions a frame, 900 frames a second.",
        strike=partial(push, make=predictions, rate=900.0),
        gets=LIMITED | OPEN | {"accepted", "429", "503"},
        changes=MANY,
        ceilings=WORK,
    ),
    Attack(
        name="full-frames-of-five",
        sentence="Five miners send 64 predictions a frame, 200 frames a second each.",
        strike=partial(push, make=predictions, rate=200.0, hotkeys=5),
        gets=LIMITED | OPEN | {"accepted", "429", "503"},
        changes=MANY,
        ceilings=WORK,
    ),
    Attack(
        name="full-posts",
        sentence="Five hotkeys post 64 predictions each time, 95 times a second each.",
        strike=partial(flood, rate=475, compose=full_post, lines=60),
        gets=TURNED_AWAY | {"200", "503 no_verdict"},
        changes=MANY,
        ceilings=WORK,
    ),
    Attack(
        name="slates-by-http",
        sentence="Three hotkeys ask for a slate of 3,000 games, 95 times a second each.",
        strike=partial(flood, rate=285, compose=whole_slate, lines=20),
        gets=TURNED_AWAY | {"200", "200 in part"},
        games=3000,
        ceilings=Ceilings(memory_mb=64, left_mb=48),
    ),
    Attack(
        name="unreadable-predictions",
        sentence="A miner sends 64 predictions a frame that are nested too deep to be read, 50 frames a second.",
        strike=partial(push, make=deep, rate=50.0),
        gets=LIMITED | OPEN | VIOLATION | {"missing_data", "429", "503"},
        ceilings=Ceilings(stored=10**5, recorded_mb=60),
    ),
    Attack(
        name="long-numbers",
        sentence="A miner sends an integer of 5,000 digits as the wager of one prediction among three.",
        strike=partial(push, make=long_number, rate=5.0),
        gets=OPEN | {"missing_data", "accepted"},
        ceilings=Ceilings(stored=10**4),
    ),
    Attack(
        name="junk-frames",
        sentence="A miner sends frames of 64 KiB of junk, 1,000 a second, and opens its session again each time.",
        strike=partial(push, make=junk, rate=1000.0),
        gets=LIMITED | VIOLATION | {"4001", "429", "503", "reset"},
    ),
    Attack(
        name="heartbeats",
        sentence="A miner sends 900 heartbeats a second.",
        strike=partial(push, make=heartbeat, rate=900.0),
        gets=OPEN | LIMITED,
        ceilings=Ceilings(recorded_mb=10),
    ),
    Attack(
        name="unknown-kinds",
        sentence="A miner sends messages of no known kind, 500 a second.",
        strike=partial(push, make=unknown_kind, rate=500.0),
        gets=OPEN | LIMITED | {"unknown_type"},
        ceilings=Ceilings(recorded_mb=10),
    ),
    Attack(
        name="crumbs",
        sentence="Miners send pings, pongs, empty fragments and empty texts, thousands a second, and open their "
        "sessions again each time.",
        strike=partial(push, make=crumbs, rate=100.0, hotkeys=12),
        gets=LIMITED | VIOLATION | OPEN | {"4001", "1009", "429", "503", "reset"},
    ),
    Attack(
        name="hostile-frames",
        sentence="Frames that break one rule each, 21 kinds, each in a session of its own.",
        strike=one_of_each,
        gets=VIOLATION | {"1000", "1002", "1007", "1009", "4001", "4095", "4103", "reset"},
    ),
    Attack(
        name="reset-in-frame",
        sentence="Miners send half a frame and an RST, 50 times a second.",
        strike=reset_in_frame,
        gets=TURNED_AWAY | {"no answer", "429"},
    ),
    Attack(
        name="watching",
        sentence="An operator watches a validator with 3,000 games by `top`.",
        strike=watch,
        gets=frozenset({"a status"}),
        games=3000,
    ),
)
"""In the order of the table."""
