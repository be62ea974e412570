"""What any answer by HTTP may have: a time to wait that is none, or never over."""

from email.utils import formatdate

import pytest

from bettensor.bus.identifiers import SECOND
from bettensor.neurons.edges.http_answers import LONGEST_WAIT, read_retry_after
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
