"""The miners of a benchmark: raw sockets, so that the load costs little beside what it measures."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, Final, TypeVar

from bittensor import http_auth
from bittensor_core import Keypair
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from bettensor.bus import codec
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import GameId, Hotkey, MessageId, PredictionId, SessionId
from bettensor.bus.messages import SUBPROTOCOL, HeartbeatMessage, PredictionMessage, WebSocketMessage
from bettensor.neurons.bench.rig import NETUID, ODDS, BenchmarkFailed, BenchValidator

WAGER: Final = 0.01
OPENING: Final = 32
"""Sessions that are opened at a time."""
OPEN_TIMEOUT: Final = 30.0
"""Seconds that one may take."""
TICK: Final = 0.001
"""Seconds between two looks at what is due."""


class RawSocket(asyncio.Protocol):
    """A WebSocket client with nothing but its framing (RFC 6455), whose peer is known to obey it."""

    def __init__(self, target: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.fault: str | None = None
        """Why it is of no use any more."""
        self._target = target
        self._headers = headers
        self._buffer = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker: it is a socket's
        self.transport = transport
        lines = [
            f"GET {self._target} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in self._headers),
        ]
        self.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection has ended: {exc or 'closed'}")

    def leave(self) -> None:
        """End it at once: a validator that stops would wait for an answer to its close."""
        self.transport.abort()

    def write(self, data: bytes) -> None:
        """Bytes that are framed already."""
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            status = head.split(b" ", 2)[1].decode()
            if status != "101":
                self.refused(status)
                return
            self._upgraded, self._buffer = True, rest
            self.upgraded()
        while (frame := self._take_frame()) is not None:
            self.receive(frame)

    def refused(self, status: str) -> None:
        """The handshake was answered with this HTTP status."""
        self._fail(f"refused with {status}: {self._buffer.decode()}")

    def upgraded(self) -> None:
        """The handshake has succeeded."""
        self.opened.set_result(None)

    def receive(self, frame: bytes) -> None:
        """The payload of one frame."""
        raise NotImplementedError

    def _fail(self, reason: str) -> None:
        self.fault = self.fault or reason
        if not self.opened.done():
            self.opened.set_exception(BenchmarkFailed(reason))
        self.transport.close()

    def _take_frame(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1], 2
        if length == 126:
            length, start = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < start + length:
            return None
        self._buffer = buffer[start + length :]
        if buffer[0] & 0x0F == Opcode.CLOSE:
            self._fail(f"closed: {buffer[start : start + length]!r}")
            return None
        return buffer[start : start + length]


def text_frame(data: bytes) -> bytes:
    """``data`` as a client sends it."""
    return bytes(WebSocketFrame(Opcode.TEXT, data).serialize(mask=True))


class LoadMiner(RawSocket):
    """A session: welcomed, active by a first heartbeat, and open when it has the slate."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        target = f"/ws?netuid={NETUID}"
        signed = http_auth.sign(keypair, method="GET", path=target, receiver_ss58=validator)
        super().__init__(target, [("Sec-WebSocket-Protocol", SUBPROTOCOL), *signed.items()])
        self.keypair = keypair
        self.hotkey = Hotkey(keypair.ss58_address)
        self.session = SessionId("")
        self.seq = 0

    def upgraded(self) -> None:
        """It is not open yet."""

    def receive(self, frame: bytes) -> None:
        payload = frame.partition(b"\n")[0]
        if b'"message_type":"heartbeat"' in payload:
            self.heartbeat()
        elif b'"message_type":"welcome"' in payload:
            self.session = SessionId(json.loads(payload)["session"])
            self.write(self.frame(HeartbeatMessage()))
        elif not self.opened.done() and b'"message_type":"game_update"' in payload:
            self.opened.set_result(None)
        else:
            self.hear(payload)

    def heartbeat(self) -> None:
        """The validator is there."""

    def hear(self, payload: bytes) -> None:
        """The JSON of whatever comes after the first slate; heartbeats apart."""
        self._fail(f"unexpected: {payload!r}")

    def frame(self, message: WebSocketMessage) -> bytes:
        """The bytes of a signed frame in a masked WebSocket frame."""
        self.seq += 1
        placed = codec.place(stamped(message, self.hotkey), self.session, self.seq)  # type: ignore[arg-type]
        payload = codec.encode(placed)
        signature = bytes(self.keypair.sign(codec.SIGNED_PREFIX + payload))
        return text_frame(codec.join(codec.Frame(payload, signature)))


class LoadPredictor(LoadMiner):
    """Pushes what was signed beforehand; knows when each frame was due, and when it was confirmed."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        super().__init__(keypair, validator)
        self.batch = 1
        self.frames: list[bytes] = []
        self.due: list[float] = []
        self.latencies: list[float] = []
        self.results = 0
        self.rejected = 0
        self.pushing = False
        self.exhausted = asyncio.Event()

    def hear(self, payload: bytes) -> None:
        """A confirmation, of one frame, of several, or of a part of one."""
        if b'"message_type":"confirmation"' not in payload:
            super().hear(payload)
            return
        now = time.perf_counter()
        count = payload.count(b'"about":')
        self.results += count
        self.rejected += count - payload.count(b'"success":true')
        for _ in range(self.results // self.batch - len(self.latencies)):
            self.latencies.append(now - self.due[len(self.latencies)])
            if self.pushing:
                self.push(now)

    def push(self, due: float) -> None:
        """The next frame, which was due at this time of ``perf_counter``."""
        if len(self.due) >= len(self.frames):
            self.exhausted.set()
            return
        self.due.append(due)
        self.write(self.frames[len(self.due) - 1])

    @property
    def outstanding(self) -> int:
        """Frames without all their verdicts."""
        return len(self.due) - len(self.latencies)

    def sign_beforehand(self, frames: int, batch: int) -> None:
        """Forget what was pushed, and what was not, and prepare ``frames`` of ``batch`` predictions."""
        self.seq -= len(self.frames) - len(self.due)
        self.batch, self.results = batch, 0
        self.due, self.latencies = [], []
        self.exhausted.clear()
        self.frames = [self.frame(prediction_message(batch)) for _ in range(frames)]


class Bystander(LoadPredictor):
    """Pushes many predictions at a fixed pace; if it is stalled it reads nothing, not even the close that follows."""

    INTERVAL: Final = 0.05
    """Seconds between two frames."""
    BATCH: Final = 64

    def start(self, *, stalled: bool) -> None:
        """Push until nothing is left."""
        if stalled:
            transport: Any = self.transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            transport.pause_reading()
        self._push_on()

    def _push_on(self) -> None:
        if self.transport.is_closing() or self.exhausted.is_set():
            return
        self.push(time.perf_counter())
        asyncio.get_running_loop().call_later(self.INTERVAL, self._push_on)


Arrivals = dict[bytes, tuple[bytes, list[float]]]
"""By how an update begins, its frame, and when it was there; both processes share the wall clock."""


class LoadListener(LoadMiner):
    """Notes when each update came, with as little work as the audience of the bare stack does."""

    BEGINNING: Final = slice(64)
    """With the ``message_id``."""

    def __init__(self, keypair: Keypair, validator: Hotkey, arrivals: Arrivals) -> None:
        super().__init__(keypair, validator)
        self.arrivals = arrivals

    def receive(self, frame: bytes) -> None:
        if self.opened.done() and b'"message_type":"game_update"' in frame:
            self.arrivals.setdefault(frame[self.BEGINNING], (frame, []))[1].append(time.time())
        else:
            super().receive(frame)


class Sitter(LoadMiner):
    """Sits there, and answers heartbeats."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        super().__init__(keypair, validator)
        self.heard: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heartbeat(self) -> None:
        """It is answered with one, as HeartbeatActor does."""
        self.heard.append(time.monotonic())
        if self.opened.done():
            self.write(self.frame(HeartbeatMessage()))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.ended.done():
            self.ended.set_result(None)


class Poster(asyncio.Protocol):
    """An HTTP client that posts one signed request after the other on one connection."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        self.keypair = keypair
        self.hotkey = Hotkey(keypair.ss58_address)
        self.validator = validator
        self.requests: list[bytes] = []
        self.latencies: list[float] = []
        self.results = 0
        self.rejected = 0
        self.failed: list[str] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pushing = False
        self._next = 0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.failed.append(f"the connection has ended: {exc}")
            self.done.set_result(None)

    def sign_beforehand(self, requests: int, batch: int) -> None:
        """Not longer beforehand than a signature is fresh."""
        for _ in range(requests):
            body = codec.encode_body(stamped(prediction_message(batch), self.hotkey))  # type: ignore[arg-type]
            path = f"/predictions?netuid={NETUID}"
            signed = http_auth.sign(self.keypair, method="POST", path=path, body=body, receiver_ss58=self.validator)
            headers = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            self.requests.append(head.encode() + body)

    def push(self) -> None:
        """The next request."""
        if not self.pushing or self._next >= len(self.requests):
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self.transport.write(self.requests[self._next])  # type: ignore[attr-defined]
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = int(head.lower().rpartition(b"content-length: ")[2].split(b"\r\n")[0]) if end else 1
        if len(body) < length:
            return
        self._buffer = b""
        self.latencies.append(time.perf_counter() - self._sent_at)
        count = body.count(b'"about":')
        self.results += count
        self.rejected += count - body.count(b'"success":true')
        if not head.startswith(b"HTTP/1.1 200"):
            self.failed.append(head.partition(b"\r\n")[0].decode())
        self.push()


AnyMiner = TypeVar("AnyMiner", bound=LoadMiner)


@asynccontextmanager
async def sessions(
    validator: BenchValidator, kind: type[AnyMiner], *arguments: Any, keypairs: Sequence[Keypair] | None = None
) -> AsyncIterator[list[AnyMiner]]:
    """A session of every miner, or of those of ``keypairs``, each with the slate, while the block runs."""
    waiting = iter(validator.keypairs if keypairs is None else keypairs)
    miners: list[AnyMiner] = []

    async def work() -> None:
        for keypair in waiting:
            miner = await open_session(validator, kind, keypair, *arguments)
            miners.append(miner)

    try:
        await asyncio.gather(*(work() for _ in range(OPENING)))
        yield miners
    finally:
        for miner in miners:
            miner.leave()


async def open_session(validator: BenchValidator, kind: type[AnyMiner], keypair: Keypair, *arguments: Any) -> AnyMiner:
    """One session with the slate.

    Raises:
        BenchmarkFailed: it was refused, or took too long.
        OSError: nobody listens.
    """
    loop = asyncio.get_running_loop()
    _, miner = await loop.create_connection(
        lambda: kind(keypair, validator.hotkey, *arguments), "127.0.0.1", validator.port
    )
    async with asyncio.timeout(OPEN_TIMEOUT):
        await miner.opened
    return miner


def stamped(message: WebSocketMessage, sender: Hotkey) -> WebSocketMessage:
    """``message`` as its sender writes it."""
    return codec.stamp(
        message, message_id=MessageId(token_hex(16)), sender=sender, timestamp="2026-01-01T00:00:00.000000Z"
    )


def prediction_message(batch: int) -> PredictionMessage:
    """New predictions, each of which is to be accepted."""
    return PredictionMessage(
        predictions=tuple(
            TeamGamePrediction(
                prediction_id=PredictionId(token_hex(16)),
                game_id=GameId("bench-0"),
                prediction_date="2026-01-01T00:00:00.000000Z",
                predicted_outcome="Home",
                predicted_odds=ODDS[0],
                team_a="Home",
                team_b="Away",
                wager=WAGER,
                team_a_odds=ODDS[0],
                team_b_odds=ODDS[1],
                model_name="bench",
            )
            for _ in range(batch)
        )
    )
