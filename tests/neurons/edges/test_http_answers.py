"""What any answer by HTTP may have: a body without end, and a time to wait that is none, or never over."""

from collections.abc import AsyncIterator
from email.utils import formatdate

import httpx
import pytest

from bettensor.bus.identifiers import SECOND
from bettensor.neurons.edges.http_answers import LONGEST_WAIT, read_body, read_retry_after
from tests.support import NOW


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("5", 5),
        ("00030", 30),
        ("0000000000000030", 30),
        ("86399", 86_399),
        ("86401", LONGEST_WAIT),
        ("9" * 10_000, LONGEST_WAIT),
        (formatdate(NOW / SECOND + 90, usegmt=True), 90),
        (formatdate(NOW / SECOND + 90), 90),
        (formatdate(NOW / SECOND - 90, usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
    ],
)
def test_a_time_to_wait_is_a_number_of_seconds_or_a_date_and_at_most_a_day(value: str, seconds: int) -> None:
    assert read_retry_after([value], NOW) == seconds


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["-1"],
        ["+1"],
        ["1.5"],
        [" 5"],
        ["5", "5"],
        ["²"],
        ["٣"],
        ["soon"],
        ["Fri, 31 Dec 99999999999999 23:59:59 GMT"],
        ["Fri, 31 Dec 2026 23:59:59 +99999999999999"],
    ],
)
def test_anything_else_says_nothing_that_can_be_used(values: list[str]) -> None:
    assert read_retry_after(values, NOW) is None


async def test_a_body_is_read_up_to_its_limit_and_no_further() -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"0123456789"

    def response() -> httpx.Response:
        return httpx.Response(200, content=chunks(), request=httpx.Request("GET", "http://127.0.0.1"))

    assert len(await read_body(response(), 1000)) == 1000
    sent = 0
    with pytest.raises(httpx.DecodingError, match="an answer of more than 25 bytes"):
        await read_body(response(), 25)
    assert sent == 3


async def test_a_body_of_crumbs_is_not_read() -> None:
    async def crumbs() -> AsyncIterator[bytes]:
        while True:
            yield b" "

    response = httpx.Response(200, content=crumbs(), request=httpx.Request("GET", "http://validator"))
    with pytest.raises(httpx.DecodingError, match="far too many parts"):
        await read_body(response, 1_000_000)
