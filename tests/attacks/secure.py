"""Attacks on TLS. The honest miners beside them speak plain, on the same port."""

import asyncio
import ssl
from collections import Counter
from functools import partial
from secrets import token_bytes
from typing import Final

from bettensor.actors.settings import AxonSettings
from tests.attacks.attack import Attack, Ceilings, Force
from tests.attacks.members import stall_and_end
from tests.attacks.strangers import BOUNDED_HEAD, GET, TURNED_AWAY, hold
from tests.attacks.strangers import endless as endless_head
from tests.attacks.target import HEALTH, Target, Wire, believing, dial, ends_in_good_order, paced

Answers = Counter[str]
IS_THERE: Final = hasattr(AxonSettings(), "tls")
"""Whether this checkout speaks TLS."""
SHAKING: Final = 7.0
"""Seconds after which no handshake may still be waited for."""
CHANGES: Final = {"axon": {"tls": {"certificate": "tls.pem", "key": "tls.key"}}}


def hello() -> bytes:
    """The first flight of an honest client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = believing().wrap_bio(incoming, outgoing)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without an answer")


async def shake(target: Target, force: Force, rate: float) -> Answers:
    """Whole handshakes at a steady rate; every second one also asks for the health."""
    got: Answers = Counter()

    async def one(number: int) -> None:
        try:
            wire = await dial(target, secure=True)
        except (OSError, TimeoutError, ssl.SSLError):
            got["not connected"] += 1
            return
        if number % 2:
            await wire.send(HEALTH)
            got[await wire.answer()] += 1
        else:
            got["a handshake"] += 1
        wire.reset()

    async with asyncio.TaskGroup() as group:
        async for number in paced(force.some(round(rate)), force.seconds):
            group.create_task(one(number))
    return got


async def send_garbage(target: Target, force: Force, rate: float) -> Answers:
    """The first byte of a handshake, and then anything."""
    got: Answers = Counter()

    async def one(number: int) -> None:
        with ends_in_good_order():
            wire = await dial(target)
            await wire.send(b"\x16" + (b"\x03\x01\x40\x00" if number % 2 else b"") + token_bytes(2000))
            got[await _end(wire)] += 1
            wire.reset()
            return
        got["not connected"] += 1

    async with asyncio.TaskGroup() as group:
        async for number in paced(force.some(round(rate)), force.seconds):
            group.create_task(one(number))
    return got


async def _end(wire: Wire) -> str:
    """Whether the other side ended it, perhaps after an alert."""
    try:
        async with asyncio.timeout(SHAKING):
            await wire.reader.read()
    except TimeoutError:
        return "held"
    except OSError:
        return "reset"
    return "closed"


SECURE: Final = (
    Attack(
        name="tls-stall",
        sentence="Strangers send the first byte of a handshake on 1,000 sockets, and nothing more.",
        strike=partial(hold, sockets=1000, say=b"\x16"),
        gets=TURNED_AWAY,
        gets_soon=frozenset({"held"}),
        changes=CHANGES,
        seconds=9.0,
    ),
    Attack(
        name="tls-hello",
        sentence="Strangers send a good ClientHello on 1,000 sockets, and nothing more.",
        strike=partial(hold, sockets=1000, say=hello()),
        gets=TURNED_AWAY,
        gets_soon=frozenset({"held"}),
        changes=CHANGES,
        seconds=9.0,
    ),
    Attack(
        name="tls-drip",
        sentence="Strangers send a ClientHello byte by byte.",
        strike=partial(hold, sockets=500, say=hello()[:20], drip=b"\0"),
        gets=TURNED_AWAY,
        gets_soon=frozenset({"held"}),
        changes=CHANGES,
        seconds=9.0,
    ),
    Attack(
        name="tls-garbage",
        sentence="A stranger sends the first byte of a handshake and then garbage, 300 times a second.",
        strike=partial(send_garbage, rate=300),
        gets=TURNED_AWAY,
        changes=CHANGES,
    ),
    Attack(
        name="tls-handshakes",
        sentence="A stranger makes 150 whole handshakes a second.",
        strike=partial(shake, rate=150),
        gets=TURNED_AWAY | {"a handshake", "200"},
        changes=CHANGES,
        ceilings=Ceilings(memory_mb=64),
    ),
    Attack(
        name="tls-head",
        sentence="A stranger sends header lines without an end on three sockets, inside TLS.",
        strike=partial(endless_head, beginning=GET, piece=b"a: b\r\n" * 10_000, sockets=3, pause=0.0, secure=True),
        gets=BOUNDED_HEAD,
        changes=CHANGES,
    ),
    Attack(
        name="tls-unread-slates",
        sentence="Slow readers leave a slate of 3,000 games unread on 100 sessions inside TLS, and keep their sockets.",
        strike=partial(stall_and_end, sessions=100, secure=True),
        gets=TURNED_AWAY | {"101"},
        changes=CHANGES,
        games=3000,
        short_games=2000,
        seconds=18.0,
        ceilings=Ceilings(memory_mb=80, left_mb=48),
    ),
)
"""In the order of the table."""
