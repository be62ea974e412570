"""Which failures of a trouble that lasts are news."""

import pytest

from bettensor.actors.outages import MAX_CAUSES, Outage, Trouble
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import DialFailed, PostFailed
from bettensor.bus.identifiers import SECOND, ConnectionId, Micros
from tests.support import make_hotkey

VALIDATOR = make_hotkey("validator")


def at(seconds: float) -> Micros:
    return Micros(round(seconds * SECOND))


def dial(reason: str = "refused", status: int | None = None, code: str = "") -> DialFailed:
    return DialFailed(ConnectionId(1), VALIDATOR, reason, status, code=code)


def post(reason: str = "no answer", status: int | None = None, code: str = "") -> PostFailed:
    return PostFailed(ConnectionId(-1), VALIDATOR, reason, status, code=code)


@pytest.fixture
def outage() -> Outage:
    return Outage(at(0))


def test_a_cause_is_news_once_and_another_one_is_news_again() -> None:
    trouble = Trouble(at(0))
    assert [trouble.is_news(cause, at(n)) for n, cause in enumerate("aabab")] == [True, False, True, False, False]
    assert (trouble.told_at, trouble.failed_at) == (at(2), at(4))


def test_a_trouble_of_ever_new_causes_becomes_silent() -> None:
    trouble = Trouble(at(0))
    assert sum(trouble.is_news(f"cause {n}", at(n)) for n in range(100)) == MAX_CAUSES


def test_a_refusal_is_one_cause_whatever_its_words(outage: Outage) -> None:
    assert outage.dial_failed(dial("signed 60.0 s ago", 401, RefusalCode.STALE), at(0))
    assert not outage.dial_failed(dial("signed 61.0 s ago", 401, RefusalCode.STALE), at(1))
    assert outage.dial_failed(dial("403", 403, RefusalCode.BLACKLISTED), at(2))
    assert outage.dial_failed(dial("502 Bad Gateway", 502), at(3))


def test_the_same_trouble_by_http_is_no_news(outage: Outage) -> None:
    assert outage.dial_failed(dial(), at(0))
    assert not outage.http_failed(post(), at(1))
    assert not outage.dial_failed(dial(), at(2))
    assert outage.dial_failed(dial("timed out"), at(3))
    assert outage.silent == "websocket"
    refused = Outage(at(0))
    assert refused.dial_failed(dial("403 ...", 403, RefusalCode.BLACKLISTED), at(0))
    assert not refused.http_failed(post("403 ...", 403, RefusalCode.BLACKLISTED), at(1))


def test_silence_is_news_after_a_refusal_on_whichever_road_it_is_met_first(outage: Outage) -> None:
    assert outage.dial_failed(dial("404", 404, RefusalCode.WEBSOCKET_DISABLED), at(0))
    assert outage.http_answered(at(1)) is None
    assert outage.http_failed(post(), at(2))
    assert not outage.dial_failed(dial(), at(3))
    assert (outage.silent, outage.http_works) == ("http", False)


def test_an_answer_by_http_ends_the_silence_and_says_how_long_it_was(outage: Outage) -> None:
    outage.dial_failed(dial(), at(0))
    outage.http_failed(post(), at(1))
    outage.http_failed(post(), at(5))
    assert outage.http_answered(at(11)) == at(10)
    assert outage.http_answered(at(12)) is None
    assert (outage.silent, outage.http_works) == (None, True)
