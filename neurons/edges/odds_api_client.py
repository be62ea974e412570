"""Asks The Odds API, version 4, for the odds of one sport.

The key comes from the environment. The service wants it in the address, so it is added below httpx's client, which logs
addresses: it appears in no message, no log and no exception.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Annotated, Final, NamedTuple
from urllib.parse import quote_plus

import httpx
import msgspec
from pydantic import AfterValidator, Field

from bettensor.bus.clock import Clock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.text import printable
from bettensor.neurons.edges.http_answers import read_retry_after
from bettensor.neurons.edges.http_exchange import is_crumbled
from bettensor.neurons.odds.book import AnswerVersion
from bettensor.neurons.odds.odds_api import MARKET
from bettensor.neurons.system.proxies import is_loopback

KEY: Final = "ODDS_API_KEY"
"""The environment variable with the key."""
URL: Final = "https://api.the-odds-api.com"
TIMEOUT: Final = 15.0
"""Seconds for one exchange."""
MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of an answer; all events of a large sport from all regions are about 2 MiB."""
HIDDEN: Final = "***"
"""Stands for the key in what the service says."""
_COUNT: Final = re.compile(r"[0-9]{1,15}")


def _service(url: str) -> str:
    expected = f"expected an address like {URL}"
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError(expected) from None
    if not parts.host or parts.query or parts.userinfo:
        raise ValueError(expected)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.host)):
        raise ValueError("expected https://, or http:// and this machine: the key is part of each request")
    return url.rstrip("/")


Service = Annotated[str, AfterValidator(_service)]
"""Scheme and host of The Odds API, or of a proxy with the same paths."""
Sport = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=64)]
"""A ``sport_key``, such as ``baseball_mlb``."""
Region = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=16)]
"""Whose bookmakers are asked for: ``us``, ``us2``, ``uk``, ``eu`` or ``au``."""


class Answered(NamedTuple):
    """The odds of one sport."""

    body: bytes | None
    """None: they have not changed since the version that the caller has."""
    version: AnswerVersion
    remaining: int | None
    """Requests that are left of the quota; None if the service does not say."""


class Failed(NamedTuple):
    """The odds of one sport could not be had."""

    reason: str
    """Without the key."""
    lasting: bool = False
    """It fails until an operator changes something."""
    of_this_sport: bool = False
    """Other sports may be answered."""
    retry_after: float | None = None
    """Seconds that the service asks to wait."""
    remaining: int | None = None


class _Said(msgspec.Struct):
    message: str


def read_key() -> str:
    """The operator's key.

    Raises:
        ConfigurationError: the environment has none.
    """
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise ConfigurationError(f"the environment variable {KEY} is not set: it must hold your key of The Odds API")
    return key


class OddsApiClient:
    """One connection to the service."""

    def __init__(self, key: str, regions: Sequence[str], clock: Clock, service: str = URL) -> None:
        self._spellings = (key, quote_plus(key))
        self._service = service
        self._params = {"regions": ",".join(regions), "markets": MARKET, "oddsFormat": "decimal", "dateFormat": "iso"}
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=None, transport=_WithKey(key))  # noqa: S113 - TIMEOUT covers the whole exchange

    async def close(self) -> None:
        """End the connection."""
        await self._client.aclose()

    async def ask(self, sport: str, known: AnswerVersion = AnswerVersion()) -> Answered | Failed:  # noqa: B008 - immutable
        """The odds of ``sport``; ``known`` is the version of the answer that the caller has."""
        headers = {"Accept-Encoding": "identity"}
        if known.etag is not None:
            headers["If-None-Match"] = known.etag
        if known.last_modified is not None:
            headers["If-Modified-Since"] = known.last_modified
        url = f"{self._service}/v4/sports/{sport}/odds"
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.stream("GET", url, params=self._params, headers=headers) as response,
            ):
                _refuse_compression(response)
                body = await _read_body(response, MAX_ANSWER)
        except TimeoutError:
            return self._failed(sport, f"no answer within {TIMEOUT:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return self._failed(sport, str(error) or type(error).__name__)
        return self._answered(sport, response, body, known)

    def _answered(self, sport: str, response: httpx.Response, body: bytes, known: AnswerVersion) -> Answered | Failed:
        remaining = _remaining(response)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return Answered(None, known, remaining)
        if response.status_code == httpx.codes.OK:
            return Answered(body, _version(response), remaining)
        said = f"{response.status_code} {_said(body)}".strip()
        failed = self._failed(sport, f"{said}{_CURES.get(response.status_code, '')}")
        return failed._replace(
            lasting=response.status_code in _CURES,
            of_this_sport=response.status_code in _OF_THIS_SPORT,
            retry_after=read_retry_after(response.headers.get_list("Retry-After"), self._clock.wall()),
            remaining=remaining,
        )

    def _failed(self, sport: str, reason: str) -> Failed:
        for spelling in self._spellings:
            reason = reason.replace(spelling, HIDDEN)
        return Failed(f"{sport}: {printable(reason)[:500]}")


_CURES: Final[dict[int, str]] = {
    httpx.codes.UNAUTHORIZED: f"; check the key in {KEY}, and whether its quota is used up",
    httpx.codes.FORBIDDEN: f"; check the key in {KEY}",
    httpx.codes.NOT_FOUND: "; check the sport: https://the-odds-api.com lists them",
    httpx.codes.UNPROCESSABLE_ENTITY: "; check the sport and the regions: https://the-odds-api.com lists them",
}
"""Statuses that the same request would get again, and what repairs it."""
_OF_THIS_SPORT: Final[tuple[int, ...]] = (httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY)


class _WithKey(httpx.AsyncBaseTransport):
    """Adds the key to the address of each request."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_merge_params({"apiKey": self._key})
        return await self._wire.handle_async_request(
            httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        )

    async def aclose(self) -> None:
        await self._wire.aclose()


async def _read_body(response: httpx.Response, most: int) -> bytes:
    """The raw body; it is not unpacked if it is compressed, so it is never longer than what was sent.

    Args:
        response: an answer that is read as a stream.
        most: bytes.

    Raises:
        httpx.DecodingError: the body has more bytes, or comes in far too many parts.
    """
    content, parts = BytesIO(), 0
    async for chunk in response.aiter_raw():
        content.write(chunk)
        parts += 1
        if is_crumbled(parts, content.tell()):
            raise httpx.DecodingError("an answer in far too many parts", request=response.request)
        if content.tell() > most:
            raise httpx.DecodingError(f"an answer of more than {most} bytes", request=response.request)
    return content.getvalue()


def _refuse_compression(response: httpx.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise httpx.DecodingError("the answer is compressed, which was not asked for", request=response.request)


def _version(response: httpx.Response) -> AnswerVersion:
    """Empty if it could not be sent back: headers of a service may have any bytes."""
    headers = {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}
    try:
        return msgspec.convert(headers, AnswerVersion)
    except msgspec.ValidationError:
        return AnswerVersion()


def _remaining(response: httpx.Response) -> int | None:
    found = _COUNT.match(response.headers.get("x-requests-remaining", ""))
    return None if found is None else int(found[0])


def _said(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Said).message
    except (ValueError, RecursionError):
        return body[:300].decode(errors="replace")
