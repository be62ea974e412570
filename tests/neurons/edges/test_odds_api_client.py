"""The client of The Odds API on real sockets: what it asks, what it makes of each answer, and where the key is not."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from typing import Any
from urllib.parse import quote_plus

import pytest

from bettensor.bus.clock import ManualClock
from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.settings import parse
from bettensor.neurons.edges import odds_api_client
from bettensor.neurons.edges.odds_api_client import Answered, Failed, OddsApiClient, Region, Service, Sport, read_key
from bettensor.neurons.odds.book import AnswerVersion
from tests.neurons.edges.odds_service import KEY, Answer, OddsService
from tests.neurons.edges.validators import serving
from tests.support import NOW

SPORT = "baseball_mlb"


@pytest.fixture
def service() -> Iterator[OddsService]:
    with OddsService().running() as service:
        yield service


@pytest.fixture
async def client(service: OddsService) -> AsyncIterator[OddsApiClient]:
    client = OddsApiClient(KEY, ["us", "eu"], ManualClock(NOW), service.url)
    yield client
    await client.close()


async def fault(client: OddsApiClient) -> Failed:
    failed = await client.ask(SPORT)
    assert isinstance(failed, Failed)
    return failed


async def test_it_asks_for_decimal_odds_with_the_key(service: OddsService, client: OddsApiClient) -> None:
    service.will(SPORT, Answer(b"[]", headers={"x-requests-remaining": "497", "ETag": '"1"', "Last-Modified": "then"}))
    assert await client.ask(SPORT) == Answered(b"[]", AnswerVersion(etag='"1"', last_modified="then"), 497)
    (asked,) = service.asked
    assert asked.query == {
        "apiKey": [KEY],
        "regions": ["us,eu"],
        "markets": ["h2h"],
        "oddsFormat": ["decimal"],
        "dateFormat": ["iso"],
    }
    assert asked.headers["Accept-Encoding"] == "identity"
    assert "If-None-Match" not in asked.headers


async def test_it_asks_only_for_what_is_new(service: OddsService, client: OddsApiClient) -> None:
    service.will(SPORT, Answer(status=304, headers={"x-requests-remaining": "12.0"}))
    known = AnswerVersion(etag='"1"', last_modified="Wed, 21 Oct 2026 07:28:00 GMT")
    assert await client.ask(SPORT, known) == Answered(None, known, 12)
    assert service.asked[0].headers["If-None-Match"] == '"1"'
    assert service.asked[0].headers["If-Modified-Since"] == known.last_modified


async def test_a_version_that_could_not_be_sent_back_does_not_count(
    service: OddsService, client: OddsApiClient
) -> None:
    service.will(SPORT, Answer(b"[]", headers={"ETag": '"\xe9"', "Last-Modified": "x" * 2000}))
    assert await client.ask(SPORT) == Answered(b"[]", AnswerVersion(), None)


@pytest.mark.parametrize(
    ("answer", "reason", "expected"),
    [
        (
            Answer({"message": "API key is not valid", "error_code": "INVALID_KEY"}, 401),
            "baseball_mlb: 401 API key is not valid; check the key in ODDS_API_KEY, and whether its quota is used up",
            {"lasting": True},
        ),
        (
            Answer({"message": "Invalid regions parameter"}, 422),
            "baseball_mlb: 422 Invalid regions parameter; check the sport and the regions: ",
            {"lasting": True, "of_this_sport": True},
        ),
        (Answer({"message": "Unknown sport"}, 404), "404 Unknown sport", {"lasting": True, "of_this_sport": True}),
        (Answer(b"", 429, {"Retry-After": "17"}), "baseball_mlb: 429", {"retry_after": 17.0}),
        (Answer(b"", 429, {"Retry-After": "soon"}), "baseball_mlb: 429", {"retry_after": None}),
        (Answer(b"<h1>\x1b[2J", 503, {"x-requests-remaining": "3"}), r"503 <h1>\x1b[2J", {"remaining": 3}),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), "baseball_mlb: 302", {}),
        (Answer(b"x", 200, {"Content-Encoding": "gzip"}), "the answer is compressed", {}),
    ],
)
async def test_each_refusal_is_told_with_its_cure(
    service: OddsService, client: OddsApiClient, answer: Answer, reason: str, expected: dict[str, Any]
) -> None:
    service.will(SPORT, answer)
    failed = await fault(client)
    assert reason in failed.reason
    defaults = {"lasting": False, "of_this_sport": False, "retry_after": None, "remaining": None}
    assert failed._asdict() == {"reason": failed.reason} | defaults | expected


async def test_a_wait_may_be_a_date_and_is_over_after_a_day(service: OddsService, client: OddsApiClient) -> None:
    soon, never = formatdate(NOW / 1e6 + 90, usegmt=True), "Fri, 31 Dec 9999 23:59:59 GMT"
    service.will(SPORT, *(Answer(b"", 429, {"Retry-After": date}) for date in (soon, never)))
    assert [(await fault(client)).retry_after for _ in range(2)] == [90, 86_400]


async def test_an_answer_that_is_too_long_is_not_read(
    service: OddsService, client: OddsApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odds_api_client, "MAX_ANSWER", 1000)
    service.will(SPORT, Answer(b" " * 1_000_000))
    assert "an answer of more than 1000 bytes" in (await fault(client)).reason


async def test_a_body_of_crumbs_is_not_read() -> None:
    async def crumbs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"1\r\n \r\n" * 100)
            await writer.drain()

    async with serving(crumbs) as endpoint:
        crumbling = OddsApiClient(KEY, ["us"], ManualClock(NOW), f"http://{endpoint}")
        assert "far too many parts" in (await fault(crumbling)).reason
        await crumbling.close()


async def test_a_service_that_is_silent_or_away_is_told(client: OddsApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odds_api_client, "TIMEOUT", 0.1)
    assert "no answer within 0.1 s" in (await fault(client)).reason
    away = OddsApiClient(KEY, ["us"], ManualClock(NOW), "http://127.0.0.1:9")
    failed = await fault(away)
    await away.close()
    assert "connect" in failed.reason.lower()
    assert not failed.lasting


async def test_the_key_is_in_no_message_and_in_no_log(
    service: OddsService, client: OddsApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"no such key: {KEY} (apiKey={quote_plus(KEY)})"
    service.will(SPORT, Answer({"message": said}, 401), Answer(b"[]"))
    failed = await fault(client)
    assert await client.ask(SPORT)
    assert "no such key: *** (apiKey=***)" in failed.reason
    assert SPORT in caplog.text, "httpx logs each request"
    for spelling in (KEY, quote_plus(KEY), "apiKey=0"):
        assert spelling not in caplog.text
        assert spelling not in failed.reason


async def test_an_exchange_can_be_cancelled(service: OddsService, client: OddsApiClient) -> None:
    asking = asyncio.create_task(client.ask(SPORT))
    while not service.asked:  # noqa: ASYNC110 - the service is in another thread
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODDS_API_KEY", f" {KEY}\n")
    assert read_key() == KEY
    monkeypatch.setenv("ODDS_API_KEY", "")
    with pytest.raises(ConfigurationError, match="ODDS_API_KEY is not set"):
        read_key()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Service, "http://api.the-odds-api.com"),
        (Service, "http://203.0.113.7"),
        (Service, "ftp://127.0.0.1"),
        (Service, "api.the-odds-api.com"),
        (Service, "https://user:pass@proxy.example"),
        (Service, "https://proxy.example/?apiKey=x"),
        (Service, "https://[::"),
        (Sport, "../sports"),
        (Sport, ""),
        (Region, "us,eu"),
    ],
)
def test_what_would_give_the_key_away_or_change_the_request_is_refused(kind: Any, value: str) -> None:
    with pytest.raises(ConfigurationError):
        parse(kind, value, "--flag")


@pytest.mark.parametrize(
    "url", ["https://proxy.example/odds/", "http://127.0.0.1:8000", "http://localhost", "http://[::1]"]
)
def test_tls_is_not_needed_within_this_machine(url: str) -> None:
    assert parse(Service, url, "--url") == url.rstrip("/")
