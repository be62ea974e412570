"""The miner's HTTP: signed requests to validators, by httpx. Frames of an answer are received like any others."""

import asyncio
from collections.abc import Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from secrets import token_hex
from typing import Any, Final

import httpx

from bettensor.bus import codec
from bettensor.bus.clock import Clock
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ConnectionClosed,
    ConnectionOpened,
    FrameReceived,
    FrameWritten,
    GamesRequested,
    PostAnswered,
    PostFailed,
    PostRequested,
    Purpose,
)
from bettensor.bus.identifiers import MessageId, Micros
from bettensor.bus.messages import PointToPoint
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.edge import Edge, Identity, RequestSigner, on
from bettensor.neurons.edges.http_answers import read_body, read_retry_after
from bettensor.neurons.edges.refusals import read_refusal

TIMEOUT: Final = 15.0
"""Seconds for one exchange: a validator answers within 10, or says that it has no verdict."""
MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of an answer; a slate of 5,000 games is about 4 MiB."""

_BEGUN: Final = "http11.send_request_headers.started"
"""httpcore's name for the moment before the first byte of a request: from here on the request may have arrived."""

Request = PostRequested | GamesRequested
_Trace = Callable[[str, dict[str, Any]], Awaitable[None]]


class HttpClient(Edge):
    """Makes the requested exchanges; each attempt is signed anew."""

    name = "http_client"

    def __init__(self, identity: Identity, signer: RequestSigner, clock: Clock) -> None:
        self._netuid = identity.netuid
        self._signer = signer
        self._clock = clock
        # no limit on connections: a hanging validator must not delay another's exchange
        self._client = httpx.AsyncClient(timeout=None, trust_env=False, limits=httpx.Limits(), cookies=_no_cookies())  # noqa: S113 - TIMEOUT covers the whole exchange

    @on(PostRequested, GamesRequested)
    def request(self, event: Request, _: Envelope) -> None:
        """Answered by ``PostAnswered`` or ``PostFailed``."""
        self._tasks.start(self._exchange(event), f"HTTP with {event.hotkey}")

    async def close(self) -> None:
        """End the running exchanges; their predictions have no verdict, and are sent again after the restart."""
        await self._tasks.cancel()
        await self._client.aclose()

    async def _exchange(self, event: Request) -> None:
        method, target, body, begun = self._compose(event)
        headers = self._signer.sign_request(method, target, body, event.hotkey)
        try:
            url = f"http://{event.endpoint}{target}"
            trace = {"trace": begun}
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.stream(method, url, content=body, headers=headers, extensions=trace) as response,
            ):
                content = await read_body(response, MAX_ANSWER)
        except TimeoutError:
            self._fail(event, f"no answer within {TIMEOUT:g} s")
            return
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # ValueError: not an address
            self._fail(event, str(error) or type(error).__name__)
            return
        lines = content.splitlines()
        if response.status_code != httpx.codes.OK or len(lines) % 2:
            self._bus.publish(_failure(event, response, content, self._clock.wall()))
            return
        self._receive(event, headers["X-Bittensor-Nonce"], lines)

    def _fail(self, event: Request, reason: str) -> None:
        self._bus.publish(PostFailed(event.connection, event.hotkey, f"{event.endpoint}: {reason}"))

    def _compose(self, event: Request) -> tuple[str, str, bytes, _Trace]:
        """Method, target, body, and the trace that follows the request's progress."""

        async def trace(step: str, _: dict[str, Any]) -> None:
            if step == _BEGUN and written is not None:
                self._bus.publish(written)

        written: FrameWritten | None = None
        if isinstance(event, GamesRequested):
            place = event.position
            position = "" if place is None else f"&epoch={place.epoch}&offset={place.offset}"
            return "GET", f"/games?netuid={self._netuid}{position}", b"", trace
        message = codec.stamp(
            event.message,
            message_id=MessageId(token_hex(16)),
            sender=self._signer.hotkey,
            timestamp=rfc3339(self._clock.wall()),
        )
        assert isinstance(message, PointToPoint)  # noqa: S101 - for the type checker: predictions are
        body = codec.encode_body(message)
        written = FrameWritten(event.connection, event.hotkey, message, len(body), "http")
        return "POST", f"/predictions?netuid={self._netuid}", body, trace

    def _receive(self, event: Request, challenge: str, lines: list[bytes]) -> None:
        purpose: Purpose = "predictions" if isinstance(event, PostRequested) else "games"
        self._bus.publish(ConnectionOpened(event.connection, event.hotkey, challenge, purpose))
        for payload, signature in zip(lines[::2], lines[1::2], strict=True):
            self._bus.publish(FrameReceived(event.connection, payload + b"\n" + signature))
        self._bus.publish(PostAnswered(event.connection, event.hotkey))
        self._bus.publish(ConnectionClosed(event.connection, CloseCode.NORMAL, ""))


def _no_cookies() -> CookieJar:
    """A jar that takes no cookies: they could grow without limit, and have no use here."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def _failure(event: Request, response: httpx.Response, content: bytes, now: Micros) -> PostFailed:
    code, said = read_refusal(content) or ("", content[:300].decode(errors="replace"))
    return PostFailed(
        event.connection,
        event.hotkey,
        f"{event.endpoint}: {response.status_code} {said}"[:500],
        response.status_code,
        read_retry_after(response.headers.get_list("Retry-After"), now),
        code,
    )
