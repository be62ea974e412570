"""Instants as text, and back, to the microsecond."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import DAY, parse_rfc3339, rfc3339, utc_day


def test_text_has_microseconds_even_if_they_are_none() -> None:
    assert rfc3339(Micros(0)) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(Micros(-1)) == "1969-12-31T23:59:59.999999Z"


@given(st.integers(-(10**16), 10**17).map(Micros))
def test_no_microsecond_is_lost_on_the_way(at: Micros) -> None:
    assert parse_rfc3339(rfc3339(at)) == at


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01T01:00:01+01:00", SECOND),
        ("1969-12-31T19:00:01-05:00", SECOND),
        ("1970-01-01T00:00:00.000001Z", 1),
    ],
)
def test_every_offset_from_utc_names_the_same_instant(text: str, at: int) -> None:
    assert parse_rfc3339(text) == at


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:00"]
)
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"format|range|must be|has no offset|day"):
        parse_rfc3339(text)


def test_a_day_begins_at_midnight_utc() -> None:
    assert [utc_day(Micros(at)) for at in (0, DAY - 1, DAY, 2 * DAY)] == [0, 0, 1, 2]
    assert utc_day(Micros(-1)) == -1


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_an_instant_that_utc_cannot_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not in the years 1 to 9999 of UTC"):
        parse_rfc3339(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"])
def test_the_first_and_the_last_instant_are_read_and_written(text: str) -> None:
    assert rfc3339(parse_rfc3339(text)) == text
