"""The miner's HTTP: signed requests to validators. Frames of an answer are received like any others.

An answer is nothing but bytes until all of it has the form of frames, no more of them than were asked for. Then its
frames are published one by one, and no further than actors accept them.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from http import HTTPStatus
from secrets import token_hex
from typing import Final, NamedTuple

from bettensor.bus import codec
from bettensor.bus.addresses import split_endpoint
from bettensor.bus.clock import Clock
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BettensorError, Unreadable
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    FrameReceived,
    FrameWritten,
    GamesRequested,
    PostAnswered,
    PostFailed,
    PostRequested,
    Purpose,
    TlsTrouble,
)
from bettensor.bus.identifiers import ConnectionId, MessageId, Micros
from bettensor.bus.messages import MAX_PARTS, MAX_PREDICTIONS, PointToPoint, WelcomeMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.edge import Edge, Identity, RequestSigner, on
from bettensor.neurons.edges.http_answers import read_retry_after
from bettensor.neurons.edges.http_exchange import NoAnswer, NoHttp, Reply, connected
from bettensor.neurons.edges.intake import Flooded, Intake
from bettensor.neurons.edges.refusals import read_refusal
from bettensor.neurons.edges.tls import Shown, tls_trouble, wants_tls

TIMEOUT: Final = 15.0
"""Seconds for one exchange: a validator answers within 10, or says that it has no verdict."""
MAX_GAMES: Final = 16 * 1024 * 1024
"""Bytes of an answer with games; a slate of 20,000 is about 6 MB."""
MAX_VERDICTS: Final = 1024 * 1024
"""Bytes of an answer with verdicts: 64 results whose messages are as long as they may be have less than half of it."""
MAX_TOLD: Final = 64 * 1024
"""Bytes that are read of a refusal."""
MAX_LARGE: Final = 8
"""Large answers in memory at a time: the next is read only when one of them is done. Those with verdicts never wait."""

CHECKED_TOGETHER: Final = 16
"""Frames of an answer whose form is checked in one turn of the event loop."""

Request = PostRequested | GamesRequested


class _Attempt(NamedTuple):
    """A request as it is sent, and the bounds of its answer."""

    method: str
    target: str
    body: bytes
    headers: dict[str, str]
    """Of btauth/1, signed now."""
    written: FrameWritten | None
    """To be published when it is sent, if it carries predictions."""
    most_bytes: int
    most_frames: int


class _Answer(NamedTuple):
    """An answer whose body has come."""

    reply: Reply
    content: bytes
    shown: Shown
    """Of the TLS by which it came."""


class _End(NamedTuple):
    """Why no more of an answer is published."""

    code: int
    reason: str


class HttpClient(Edge):
    """Makes the requested exchanges; each attempt is signed anew."""

    name = "http_client"

    def __init__(self, identity: Identity, signer: RequestSigner, intake: Intake, clock: Clock) -> None:
        self._netuid = identity.netuid
        self._signer = signer
        self._intake = intake
        self._clock = clock
        self._large = asyncio.Semaphore(MAX_LARGE)
        self._open: dict[ConnectionId, _End | None] = {}
        """The exchanges whose answers are being published, and why no more of one is."""

    @on(PostRequested, GamesRequested)
    def request(self, event: Request, _: Envelope) -> None:
        """Answered by ``PostAnswered`` or ``PostFailed``."""
        self._tasks.start(self._exchange(event), f"HTTP with {event.hotkey}")

    @on(CloseRequested)
    def end(self, event: CloseRequested, _: Envelope) -> None:
        """Publish nothing more of an answer."""
        if event.connection in self._open:
            self._open[event.connection] = _End(event.code, event.reason)

    async def close(self) -> None:
        """End the running exchanges; their predictions have no verdict, and are sent again after the restart."""
        await self._tasks.cancel()

    async def _exchange(self, event: Request) -> None:
        attempt = self._compose(event)
        try:
            async with AsyncExitStack() as room:
                async with asyncio.timeout(TIMEOUT):
                    answer = await self._ask(event, attempt, room)
                await self._read(event, attempt, answer)
        except TimeoutError:
            self._fail(event, f"no answer within {TIMEOUT:g} s")
        except (BettensorError, OSError, ValueError) as error:  # ValueError: not an address
            trouble = tls_trouble(error, is_plain=event.tls is None, is_no_http=isinstance(error, NoHttp))
            self._fail(event, str(error) or type(error).__name__, trouble)

    def _fail(self, event: Request, reason: str, trouble: TlsTrouble | None = None) -> None:
        self._bus.publish(PostFailed(event.connection, event.hotkey, f"{event.endpoint}: {reason}", tls=trouble))

    def _compose(self, event: Request) -> _Attempt:
        if isinstance(event, GamesRequested):
            place = event.position
            position = "" if place is None else f"&epoch={place.epoch}&offset={place.offset}"
            target = f"/games?netuid={self._netuid}{position}"
            headers = self._signer.sign_request("GET", target, b"", event.hotkey)
            return _Attempt("GET", target, b"", headers, None, MAX_GAMES, 1 + MAX_PARTS)
        message = codec.stamp(
            event.message,
            message_id=MessageId(token_hex(16)),
            sender=self._signer.hotkey,
            timestamp=rfc3339(self._clock.wall()),
        )
        assert isinstance(message, PointToPoint)  # noqa: S101 - for the type checker: predictions are
        body, target = codec.encode_body(message), f"/predictions?netuid={self._netuid}"
        headers = self._signer.sign_request("POST", target, body, event.hotkey)
        written = FrameWritten(event.connection, event.hotkey, message, len(body), "http")
        return _Attempt("POST", target, body, headers, written, MAX_VERDICTS, 1 + 2 * MAX_PREDICTIONS)

    async def _ask(self, event: Request, attempt: _Attempt, room: AsyncExitStack) -> _Answer:
        """The answer. A large one takes its place in ``room``.

        Raises:
            HandshakeFailed, OtherKey: the validator's TLS is not as requested.
            NoAnswer: there is no answer that can be read.
            OSError: the validator cannot be reached.
        """
        async with connected(*split_endpoint(event.endpoint), event.tls) as connection:
            if attempt.written is not None:
                self._bus.publish(attempt.written)  # from here on the request may have arrived
            headers = [("Host", event.endpoint), *attempt.headers.items(), ("Accept-Encoding", "identity")]
            headers += [("Content-Length", str(len(attempt.body)))] if attempt.body else []
            reply = await connection.request(attempt.method, attempt.target, headers, attempt.body)
            if reply.status == HTTPStatus.OK:
                content = await reply.read(attempt.most_bytes, lambda: room.enter_async_context(self._large))
                return _Answer(reply, content, connection.shown)
            try:
                return _Answer(reply, await reply.read(MAX_TOLD), connection.shown)
            except NoAnswer:  # the status says enough
                return _Answer(reply, b"", connection.shown)

    async def _read(self, event: Request, attempt: _Attempt, answer: _Answer) -> None:
        reply, content, _ = answer
        if reply.status != HTTPStatus.OK:
            self._bus.publish(_failure(event, reply, content, self._clock.wall()))
            return
        try:
            frames = await frames_in(content, attempt.most_frames)
        except Unreadable as fault:
            failure = _failure(event, reply, content, self._clock.wall())
            known = failure.reason if failure.code else f"{event.endpoint}: no answer of a validator: {fault}"
            self._bus.publish(replace(failure, reason=known))
            return
        await self._publish(event, attempt, answer, frames)

    async def _publish(self, event: Request, attempt: _Attempt, answer: _Answer, frames: list[slice]) -> None:
        """Publish the frames in turns, until an actor wants the end of the exchange."""
        connection, challenge = event.connection, attempt.headers["X-Bittensor-Nonce"]
        purpose: Purpose = "predictions" if isinstance(event, PostRequested) else "games"
        self._open[connection] = None
        self._bus.publish(ConnectionOpened(connection, event.hotkey, challenge, purpose, *answer.shown))
        try:
            for frame in frames:
                await self._intake.turn(event.hotkey, frame.stop - frame.start)
                if self._open[connection] is not None:
                    break
                self._bus.publish(FrameReceived(connection, answer.content[frame]))
        except Flooded as flood:
            self._open[connection] = _End(CloseCode.RATE_LIMITED, str(flood))
        finally:
            closed = self._open.pop(connection)
        if closed is None:
            self._bus.publish(PostAnswered(connection, event.hotkey))
            self._bus.publish(ConnectionClosed(connection, CloseCode.NORMAL, ""))
        else:
            self._fail(event, closed.reason)
            self._bus.publish(ConnectionClosed(connection, closed.code, closed.reason))


async def frames_in(content: bytes, most: int) -> list[slice]:
    """Where each frame of an answer is (protocol, "HTTP exchanges").

    Raises:
        Unreadable: there is something else than frames, or too many, or the first is no welcome.
    """
    frames: list[slice] = []
    start = 0
    while start < len(content):
        middle = content.find(b"\n", start)
        end = content.find(b"\n", middle + 1) if middle >= 0 else -1
        end = len(content) if end < 0 else end
        frame = codec.split(content[start:end])
        if not frame.payload.lstrip().startswith(b"{"):
            raise Unreadable("not a JSON object")
        if not frames and not isinstance(codec.read(frame.payload), WelcomeMessage):
            raise Unreadable("the first frame is not a welcome")
        if len(frames) == most:
            raise Unreadable(f"more than {most} frames")
        frames.append(slice(start, end))
        start = end + 1
        if not len(frames) % CHECKED_TOGETHER:
            await asyncio.sleep(0)
    if not frames:
        raise Unreadable("no frame")
    return frames


def _failure(event: Request, reply: Reply, content: bytes, now: Micros) -> PostFailed:
    code, said = read_refusal(content) or ("", content[:300].decode(errors="replace"))
    return PostFailed(
        event.connection,
        event.hotkey,
        f"{event.endpoint}: {reply.status} {said}"[:500],
        reply.status,
        read_retry_after(reply.values("retry-after"), now),
        code,
        wants_tls(event.tls, reply.status, code),
    )
