"""The miners of a benchmark: raw sockets, so that the load costs little beside the measured validator."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, ClassVar, Final, TypeVar

from bittensor import http_auth
from bittensor_core import Keypair
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from bettensor.bus import codec, packing
from bettensor.bus.codes import CloseCode
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import GameId, Hotkey, MessageId, PredictionId, SessionId
from bettensor.bus.messages import SUBPROTOCOL, HeartbeatMessage, PredictionMessage, WebSocketMessage
from bettensor.neurons.bench.rig import NETUID, ODDS, BenchmarkFailed, BenchValidator

WAGER: Final = 0.01
OPENING: Final = 32
"""Sessions that are opened in parallel."""
OPEN_TIMEOUT: Final = 30.0
"""Seconds for opening one session."""
TICK: Final = 0.001
"""Seconds between two checks for due frames."""


class RawSocket(asyncio.Protocol):
    """A WebSocket client with only the framing (RFC 6455), for a peer that is known to obey it."""

    def __init__(self, target: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.fault: str | None = None
        """The reason if it has failed."""
        self.close_code: int | None = None
        """The code of the other side's close."""
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
        """Abort it: a validator that stops would wait for an answer to its close."""
        self.transport.abort()

    def write(self, data: bytes) -> None:
        """Send bytes that are framed already."""
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
        """The handshake was refused with this HTTP status."""
        self._fail(f"refused with {status}: {self._buffer.decode()}")

    def upgraded(self) -> None:
        """The handshake has succeeded."""
        self.opened.set_result(None)

    def receive(self, frame: bytes) -> None:
        """The payload of one frame has arrived."""
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
            self.close_code = int.from_bytes(buffer[start : start + 2], "big") if length else CloseCode.NO_STATUS
            self._fail(f"closed: {buffer[start : start + length]!r}")
            return None
        return buffer[start : start + length]


def text_frame(data: bytes) -> bytes:
    """``data`` in a client's masked frame."""
    return bytes(WebSocketFrame(Opcode.TEXT, data).serialize(mask=True))


class LoadMiner(RawSocket):
    """A session: welcomed, active after its first heartbeat, and open once it has the slate."""

    QUERY: ClassVar[str] = ""
    """What its handshake asks for."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        target = f"/ws?netuid={NETUID}{self.QUERY}"
        signed = http_auth.sign(keypair, method="GET", path=target, receiver_ss58=validator)
        super().__init__(target, [("Sec-WebSocket-Protocol", SUBPROTOCOL), *signed.items()])
        self.keypair = keypair
        self.hotkey = Hotkey(keypair.ss58_address)
        self.session = SessionId("")
        self.seq = 0

    def upgraded(self) -> None:
        """The session is not open yet."""

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
        """The validator sent a heartbeat."""

    def hear(self, payload: bytes) -> None:
        """A message after the first slate has arrived, as JSON; heartbeats excepted."""
        self._fail(f"unexpected: {payload!r}")

    def frame(self, message: WebSocketMessage) -> bytes:
        """The bytes of a signed frame in a masked WebSocket frame."""
        self.seq += 1
        placed = codec.place(stamped(message, self.hotkey), self.session, self.seq)  # type: ignore[arg-type]
        payload = codec.encode(placed)
        signature = bytes(self.keypair.sign(codec.SIGNED_PREFIX + payload))
        return text_frame(codec.join(codec.Frame(payload, signature)))


class LoadPredictor(LoadMiner):
    """Pushes frames that were signed beforehand; knows the due time and the confirmation of each."""

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
        """A confirmation has arrived: of one frame, of several, or of a part of one."""
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
        """Push the next frame, which was due at this time of ``perf_counter``."""
        if len(self.due) >= len(self.frames):
            self.exhausted.set()
            return
        self.due.append(due)
        self.write(self.frames[len(self.due) - 1])

    @property
    def outstanding(self) -> int:
        """Number of frames that lack a verdict."""
        return len(self.due) - len(self.latencies)

    def sign_beforehand(self, frames: int, batch: int) -> None:
        """Forget all earlier frames, and sign ``frames`` of ``batch`` predictions."""
        self.seq -= len(self.frames) - len(self.due)
        self.batch, self.results = batch, 0
        self.due, self.latencies = [], []
        self.exhausted.clear()
        self.frames = [self.frame(prediction_message(batch)) for _ in range(frames)]


class Bystander(LoadPredictor):
    """Pushes many predictions at a fixed pace; if stalled, it reads nothing, not even the close that follows."""

    INTERVAL: Final = 0.05
    """Seconds between two frames."""
    BATCH: Final = 64

    def start(self, *, stalled: bool) -> None:
        """Push until no frame is left."""
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
"""By the beginning of an update: its frame, and its arrival times; both processes share the wall clock."""


class LoadListener(LoadMiner):
    """Notes the arrival of each update, with as little work as the audience of the bare stack."""

    BEGINNING: Final = slice(64)
    """The part of a frame that includes the ``message_id``."""

    def __init__(self, keypair: Keypair, validator: Hotkey, arrivals: Arrivals) -> None:
        super().__init__(keypair, validator)
        self.arrivals = arrivals

    def receive(self, frame: bytes) -> None:
        if self.opened.done() and b'"message_type":"game_update"' in frame:
            self.arrivals.setdefault(frame[self.BEGINNING], (frame, []))[1].append(time.time())
        else:
            super().receive(frame)


class PackedListener(LoadListener):
    """The same for compressed updates, which it does not inflate."""

    QUERY = f"&encoding={packing.DEFLATE}"

    def receive(self, frame: bytes) -> None:
        if frame.startswith(b"{"):
            super().receive(frame)
        elif self.opened.done():
            self.arrivals.setdefault(frame[self.BEGINNING], (frame, []))[1].append(time.time())
        else:
            self.opened.set_result(None)


class Sitter(LoadMiner):
    """Only answers heartbeats."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        super().__init__(keypair, validator)
        self.heard: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heartbeat(self) -> None:
        """Answer with a heartbeat, as HeartbeatActor does."""
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
        """Sign requests; a signature must still be fresh when it is sent."""
        for _ in range(requests):
            body = codec.encode_body(stamped(prediction_message(batch), self.hotkey))  # type: ignore[arg-type]
            path = f"/predictions?netuid={NETUID}"
            signed = http_auth.sign(self.keypair, method="POST", path=path, body=body, receiver_ss58=self.validator)
            headers = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            self.requests.append(head.encode() + body)

    def push(self) -> None:
        """Send the next request."""
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
    """Open a session for every miner, or for those of ``keypairs``, each with the slate, while the block runs."""
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
    """Open one session, and wait for its slate.

    Raises:
        BenchmarkFailed: the session was refused, or took too long.
        OSError: nothing listens at the address.
    """
    loop = asyncio.get_running_loop()
    _, miner = await loop.create_connection(
        lambda: kind(keypair, validator.hotkey, *arguments), "127.0.0.1", validator.port, ssl=validator.tls
    )
    async with asyncio.timeout(OPEN_TIMEOUT):
        await miner.opened
    return miner


def stamped(message: WebSocketMessage, sender: Hotkey) -> WebSocketMessage:
    """``message`` with the stamps of its sender."""
    return codec.stamp(
        message, message_id=MessageId(token_hex(16)), sender=sender, timestamp="2026-01-01T00:00:00.000000Z"
    )


def prediction_message(batch: int) -> PredictionMessage:
    """New predictions, all acceptable."""
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
