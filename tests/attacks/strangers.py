"""Attacks of strangers: they hold no registered key, so nothing of theirs may be stored or remembered for long."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle
from secrets import token_bytes
from typing import Final

from bettensor.bus.messages import MAX_FRAME_BYTES
from tests.attacks.attack import Attack, Ceilings, Force
from tests.attacks.target import (
    HEALTH,
    LOOPBACK,
    STRANGER,
    Target,
    Wire,
    addressed,
    ask,
    dial,
    ends_in_good_order,
    handshake,
    key,
    paced,
    request,
)

Answers = Counter[str]
BODY: Final = b"x" * MAX_FRAME_BYTES
_STRANGERS: Final = tuple(key(f"//Stranger{number}") for number in range(8))

TURNED_AWAY: Final = frozenset({"not connected", "closed", "reset", "503", "503 over_capacity", "429 rate_limited"})
"""A connection that is refused, ended or answered so that another one may live."""


def networks() -> Iterator[str]:
    """Addresses of this machine, each in a /24 of its own."""
    return cycle(f"127.{100 + number // 200}.{number % 200}.9" for number in range(8_000))


# --- heads

AGAIN: Final = 0.05
"""Seconds until an attacker that was cut off begins again."""
LONG: Final = 0.5
"""Seconds after which a head without an end should have been cut off."""


async def endless(
    target: Target, force: Force, beginning: bytes, piece: bytes, sockets: int, pause: float, *, secure: bool = False
) -> Answers:
    """Send a head without an end on each of ``sockets``, again and again."""
    deadline = time.perf_counter() + force.seconds

    async def feed() -> Answers:
        got: Answers = Counter()
        while time.perf_counter() < deadline:
            try:
                wire = await dial(target, secure=secure)
            except OSError:
                got["not connected"] += 1
                await asyncio.sleep(AGAIN)
                continue
            begun = time.perf_counter()
            answer = asyncio.create_task(wire.answer(force.seconds + 5))
            goes_on = await wire.send(beginning)
            while goes_on and not answer.done() and time.perf_counter() < deadline:
                goes_on = await wire.send(piece)
                await asyncio.sleep(pause)
            if answer.done() or not goes_on:
                got[await answer] += 1
            else:
                answer.cancel()
                got["still read"] += time.perf_counter() - begun > LONG
            wire.reset()
            await asyncio.sleep(AGAIN)
        return got

    return +sum(await asyncio.gather(*(feed() for _ in range(force.some(sockets)))), Counter())


GET: Final = b"GET /games?netuid=30 HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE: Final = b"GET /ws?netuid=30 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
HEADS: Final = {
    "header": ("one header value without an end", GET + b"X-Long: ", b"a" * 65536, 1, 0.0),
    "url": ("one URL without an end", b"GET /", b"a" * 65536, 1, 0.0),
    "lines": ("short header lines without an end, on three sockets", GET, b"a: b\r\n" * 10_000, 3, 0.0),
    "pieces": ("a head without an end in pieces of 1 kB, 1 MB a second", GET + b"X-Long: ", b"a" * 1000, 1, 0.001),
    "twenty": ("header lines without an end, on twenty sockets", GET, b"abcdefgh: ijklmnop\r\n" * 3000, 20, 0.0),
    "upgrade": ("a handshake whose head has no end", UPGRADE + b"X-Long: ", b"a" * 65536, 1, 0.0),
    "chunk": (
        "a chunk whose extension has no end",
        b"POST /predictions?netuid=30 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"a" * 65536,
        1,
        0.0,
    ),
    "trailer": (
        "trailers without an end after a body",
        b"POST /predictions?netuid=30 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
        b"abcdefgh: ijklmnop\r\n" * 3000,
        1,
        0.0,
    ),
    "trailer-value": (
        "a trailer without an end in pieces of 1,500 bytes",
        b"POST /predictions?netuid=30 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"a" * 1500,
        1,
        0.0,
    ),
    "crumbs": (
        "a body in chunks of one byte",
        b"POST /unknown HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n" * 10_000,
        1,
        0.0,
    ),
}


# --- sockets that are held


async def hold(target: Target, force: Force, sockets: int, say: bytes, drip: bytes = b"", answered: int = 0) -> Answers:
    """Open ``sockets`` from many networks, say something, and count those that are still there at the end."""
    begun = time.perf_counter()
    held: list[Wire] = []
    got: Answers = Counter()
    addresses = networks()
    for _ in range(force.some(sockets)):
        try:
            held.append(await dial(target, next(addresses)))
        except (OSError, TimeoutError):
            got["not connected"] += 1
            continue
        await held[-1].send(say)
    for wire in held if answered else ():
        with ends_in_good_order():
            got[(await wire.answer()) or ""] += 1
            await wire.send(b"\r\n")
    while time.perf_counter() - begun < force.seconds:
        for wire in held if drip else ():
            if not wire.has_ended():
                await wire.send(drip)
        await asyncio.sleep(0.5)
    for wire in held:
        with ends_in_good_order():
            async with asyncio.timeout(0.001):
                while await wire.reader.read(65536):
                    pass
    got["held"] += sum(not wire.has_ended() for wire in held)
    got["closed"] += sum(wire.has_ended() for wire in held)
    return +got


POST_HEAD: Final = request("POST", addressed("/predictions"), b"Content-Length: %d\r\n" % MAX_FRAME_BYTES)


# --- requests


def pipelined(_: Target, __: int) -> bytes:
    """Many requests at once."""
    return HEALTH * 500


def health(_: Target, __: int) -> bytes:
    """What everybody may ask."""
    return HEALTH


async def flood(
    target: Target,
    force: Force,
    rate: float,
    compose: Callable[[Target, int], bytes],
    lines: int,
    *,
    once: bool = False,
) -> Answers:
    """Requests at a steady rate, on ``lines`` connections at a time.

    A connection that ended is replaced, and with ``once`` every connection after its first answer.
    """
    share = force.some(round(rate)) / lines

    async def send() -> Answers:
        got: Answers = Counter()
        wire: Wire | None = None
        async for number in paced(share, force.seconds):
            with ends_in_good_order():
                if wire is None or wire.has_ended():
                    wire = await dial(target)
                await wire.send(compose(target, number))
                got[await wire.answer()] += 1
                if once:
                    wire.reset()
                continue
            got["not connected"] += 1
            wire = None
        return got

    return sum(await asyncio.gather(*(send() for _ in range(lines))), Counter())


def health_handshake(target: Target, _: int) -> bytes:
    """An unsigned handshake for the health, as no WebSocket is."""
    return handshake(target, _STRANGERS[0]).replace(b"/ws?", b"/ws/health?", 1)


def broken_body(_: Target, __: int) -> bytes:
    """A body that waits to be asked for, and is none."""
    return (
        POST_HEAD.replace(b"Content-Length: 65536", b"Expect: 100-continue\r\nTransfer-Encoding: chunked") + b"zz\r\n"
    )


def unknown_path(_: Target, __: int) -> bytes:
    return request("POST", f"/{token_bytes(4).hex()}", body=token_bytes(MAX_FRAME_BYTES // 2).hex().encode())


def own_headers(_: Target, __: int) -> bytes:
    """As large as a head may be, none of it known."""
    return request("GET", "/unknown", b"".join(f"X-{n}: {token_bytes(100).hex()}\r\n".encode() for n in range(40)))


def forged(target: Target, number: int) -> bytes:
    """A handshake that claims a registered hotkey, and is signed by another key."""
    claimed = target.keypairs(1)[0].ss58_address
    stranger = _STRANGERS[number % len(_STRANGERS)]
    return handshake(target, stranger).replace(stranger.ss58_address.encode(), claimed.encode())


async def forge(target: Target, force: Force, rate: float, sources: Callable[[], Iterator[str]]) -> Answers:
    """Forged handshakes at a steady rate, each on a connection of its own."""
    addresses, pending = sources(), set[asyncio.Task[str]]()
    got: Answers = Counter()
    whole = forged(target, 0)
    async for number in paced(force.some(round(rate)), force.seconds):
        if number % 50 == 0:
            whole = forged(target, number)
        task = asyncio.create_task(ask(target, whole, next(addresses)))
        pending.add(task)
        if len(pending) >= 100:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            got.update(task.result() for task in done)
    done, _ = await asyncio.wait(pending) if pending else (set(), None)
    return got + Counter(task.result() for task in done)


def one(address: str) -> Callable[[], Iterator[str]]:
    """Always the same address."""
    return partial(cycle, (address,))


def one_network() -> Iterator[str]:
    """All addresses of one /24."""
    return cycle(f"127.88.88.{number}" for number in range(1, 255))


# --- one of each


def hostile(target: Target) -> Iterator[bytes]:
    """Requests that break one rule each."""
    member, stranger = target.keypairs(1)[0], _STRANGERS[0]
    games, predictions = addressed("/games"), addressed("/predictions")
    signed = partial(target.sign, member, games)
    old, future = (time.time_ns() + int(seconds * 1e9) for seconds in (-11, 5))
    yield request("GET", games, target.sign(stranger, games))
    yield request("GET", games, signed(nonce_ns=old))
    yield request("GET", games, signed(nonce_ns=future))
    yield request("GET", games, signed(receiver_ss58=stranger.ss58_address))
    yield request("GET", games, signed() + b"X-Bittensor-Nonce: 1\r\n")
    yield request("GET", games)
    yield request("GET", addressed("/nowhere"), signed())
    yield request("DELETE", games, signed())
    yield request("GET", games.replace("30", "31"), signed())
    yield request("GET", games + "&netuid=30", signed())
    yield request("GET", "/games?netuid=" + "9" * 401, signed())
    yield request("GET", "/%2e%2e/%2e%2e/etc/passwd")
    yield request("GET", "//games")
    yield request("OPTIONS", "*")
    yield request("CONNECT", "127.0.0.1:22")
    yield request("TRACE", games)
    yield request("GET", "http://127.0.0.1/games?netuid=30")
    yield request("POST", predictions, b"Content-Encoding: gzip\r\n", b"\x1f\x8b\x08")
    yield request("POST", predictions, b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\nGET /ws/health HTTP/1.1\r\n\r\n")
    yield request("POST", predictions, b"Transfer-Encoding: xchunked\r\n")
    yield b"POST /predictions?netuid=30 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    yield b"POST /predictions?netuid=30 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"
    yield b"POST /predictions?netuid=30 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"
    yield request("POST", predictions, b"", BODY + b"x")
    yield b"GET /games\r\n\r\n"
    yield b"GET /games HTTP/3.7\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield bytes.fromhex("16030100a5010000a10303") + token_bytes(160)
    yield token_bytes(2000)
    yield b"GET /games HTTP/1.1\nHost: a\n\n"
    yield b"GET /games HTTP/1.1\r\n Host: a\r\n\r\n"
    yield b"GET /games HTTP/1.1\r\nHost : a\r\n\r\n"
    yield b"GET /\x00games HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"GET /games HTTP/1.1\r\nX-Bittensor-Hotkey: \xff\xfe\x1b[2J\r\n\r\n"
    yield request("GET", games, b"X-Bittensor-Hotkey: 5[/x]\x1b[31m\r\n" + signed())
    yield handshake(target, member, version="1.0")
    yield handshake(target, member).replace(b"Version: 13", b"Version: 8")
    yield handshake(target, member).replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: !")
    yield handshake(target, member).replace(b"bettensor.v1", b"bettensor.v9")
    yield handshake(target, member).replace(b"Upgrade: websocket\r\n", b"")
    yield handshake(target, stranger)
    yield forged(target, 0)


async def one_of_each(target: Target, force: Force) -> Answers:
    """All hostile requests, as often as there is time for."""
    got: Answers = Counter()
    deadline = time.perf_counter() + force.seconds
    while not got or time.perf_counter() < deadline:
        for whole in hostile(target):
            got[await ask(target, whole)] += 1
        replayed = handshake(target, target.keypairs(2)[1])
        await ask(target, replayed)
        got[await ask(target, replayed)] += 1
        await asyncio.sleep(0.2)
    return got


async def reset_in_the_middle(target: Target, force: Force) -> Answers:
    """Half a request, and an RST."""
    got: Answers = Counter()
    halves = [HEALTH[:20], handshake(target, _STRANGERS[0])[:300], POST_HEAD + BODY[:9000]]
    async for number in paced(force.some(500), force.seconds):
        with ends_in_good_order():
            wire = await dial(target)
            await wire.send(halves[number % len(halves)])
            wire.reset()
            got["no answer"] += 1
            continue
        got["not connected"] += 1
    return got


REFUSALS: Final = frozenset(
    {
        "400 malformed",
        "400 wrong_netuid",
        "400 unsupported_protocol",
        "400 no_upgrade",
        "401 bad_signature",
        "401 replayed",
        "401 stale",
        "401 wrong_receiver",
        "403 not_registered",
        "404 not_found",
        "405 method_not_allowed",
        "413",
        "413 too_large",
        "414",
        "414 too_large",
        "426",
        "431",
        "431 too_large",
        "501",
        "505",
    }
)
BOUNDED_HEAD: Final = (
    frozenset({"400", "400 malformed", "413", "413 too_large", "414", "414 too_large", "431", "431 too_large"})
    | TURNED_AWAY
)

STRANGERS: Final = (
    *(
        Attack(
            name=f"head-{name}",
            sentence=f"A stranger sends {sentence}.",
            strike=partial(endless, beginning=beginning, piece=piece, sockets=sockets, pause=pause),
            gets=BOUNDED_HEAD,
        )
        for name, (sentence, beginning, piece, sockets, pause) in HEADS.items()
    ),
    Attack(
        name="hold-after-answer",
        sentence="Strangers ask for the health, send one CRLF, and keep their sockets.",
        strike=partial(hold, sockets=3000, say=HEALTH, answered=1),
        gets=TURNED_AWAY | {"200"},
        gets_soon=frozenset({"held"}),
        seconds=25.0,
    ),
    Attack(
        name="hold-silent",
        sentence="Strangers open sockets and say nothing.",
        strike=partial(hold, sockets=3000, say=b""),
        gets=TURNED_AWAY,
        gets_soon=frozenset({"held"}),
        seconds=14.0,
    ),
    Attack(
        name="drip-head",
        sentence="Strangers send a head byte by byte.",
        strike=partial(hold, sockets=1000, say=GET + b"X-Slow: ", drip=b"a"),
        gets=TURNED_AWAY | {"408"},
        gets_soon=frozenset({"held"}),
        seconds=14.0,
    ),
    Attack(
        name="drip-body",
        sentence="Strangers send a body byte by byte.",
        strike=partial(hold, sockets=1000, say=POST_HEAD, drip=b"a"),
        gets=TURNED_AWAY | {"408"},
        gets_soon=frozenset({"held"}),
        seconds=14.0,
    ),
    Attack(
        name="bodies-that-wait",
        sentence="Strangers send bodies of 64 KiB without their last byte, on 2,000 sockets.",
        strike=partial(hold, sockets=2000, say=POST_HEAD + BODY[:-1]),
        gets=TURNED_AWAY | {"408"},
        gets_soon=frozenset({"held"}),
        seconds=14.0,
        ceilings=Ceilings(memory_mb=64, left_mb=48),
    ),
    Attack(
        name="health-handshakes",
        sentence="A stranger sends WebSocket handshakes for the health, 500 a second.",
        strike=partial(flood, rate=500, compose=health_handshake, lines=20, once=True),
        gets=TURNED_AWAY | {"200"},
        ceilings=Ceilings(recorded_mb=0.5),
    ),
    Attack(
        name="broken-bodies",
        sentence="A stranger sends bodies that are none, and wait for 100 Continue, 250 a second.",
        strike=partial(flood, rate=250, compose=broken_body, lines=10),
        gets=TURNED_AWAY | {"400 malformed"},
    ),
    Attack(
        name="bodies-to-nowhere",
        sentence="A stranger posts bodies of 64 KiB to unknown paths, 250 a second.",
        strike=partial(flood, rate=250, compose=unknown_path, lines=10),
        gets=TURNED_AWAY | {"404 not_found"},
    ),
    Attack(
        name="headers-to-nowhere",
        sentence="A stranger sends heads of 8 kB with names of its own, 500 a second.",
        strike=partial(flood, rate=500, compose=own_headers, lines=10),
        gets=TURNED_AWAY | {"404 not_found"},
    ),
    Attack(
        name="pipelined-requests",
        sentence="A stranger sends 500 requests at once, 100 times a second, and reads the first answer.",
        strike=partial(flood, rate=100, compose=pipelined, lines=5, once=True),
        gets=TURNED_AWAY | {"200", "400"},
    ),
    Attack(
        name="health-flood",
        sentence="A stranger asks for the health, 2,000 times a second.",
        strike=partial(flood, rate=2000, compose=health, lines=20),
        gets=TURNED_AWAY | {"200"},
    ),
    Attack(
        name="forged-handshakes",
        sentence="A stranger forges handshakes of a registered hotkey, 1,300 a second.",
        strike=partial(forge, rate=1300, sources=one(STRANGER)),
        gets=TURNED_AWAY | {"401 bad_signature"},
    ),
    Attack(
        name="forged-from-one-network",
        sentence="A stranger forges handshakes from all addresses of one /24, 600 a second.",
        strike=partial(forge, rate=600, sources=one_network),
        gets=TURNED_AWAY | {"401 bad_signature"},
    ),
    Attack(
        name="forged-from-many-networks",
        sentence="Strangers forge handshakes from addresses of 8,000 networks, 600 a second.",
        strike=partial(forge, rate=600, sources=networks),
        gets=TURNED_AWAY | {"401 bad_signature"},
    ),
    Attack(
        name="shared-address",
        sentence="A stranger forges handshakes, 300 a second, from the address that all honest miners have.",
        strike=partial(forge, rate=300, sources=one(LOOPBACK)),
        gets=TURNED_AWAY | {"401 bad_signature"},
    ),
    Attack(
        name="hostile-requests",
        sentence="Requests that break one rule each, 43 kinds.",
        strike=one_of_each,
        gets=REFUSALS | TURNED_AWAY | {"426 unsupported_protocol"},
    ),
    Attack(
        name="reset-in-request",
        sentence="Strangers send half a request and an RST, 500 a second.",
        strike=reset_in_the_middle,
        gets=TURNED_AWAY | {"no answer"},
    ),
)
"""In the order of the table."""


def at_a_miner(attack: Attack) -> Attack:
    """The same attack at a miner's port."""
    return replace(attack, name=f"axon-{attack.name}", role="axon", gets=attack.gets | {"404", "403", "401"})


_AT_BOTH: Final = ("head-header", "head-lines", "hold-silent", "drip-head", "bodies-that-wait", "bodies-to-nowhere")
AT_MINERS: Final = tuple(at_a_miner(attack) for attack in STRANGERS if attack.name in _AT_BOTH)
"""What concerns each port that takes HTTP."""
