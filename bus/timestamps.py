"""Instants as text, RFC 3339, and back. Reads no clock."""

from datetime import UTC, datetime, timedelta

from bettensor.bus.identifiers import SECOND, Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
DAY = Micros(86_400 * SECOND)


def rfc3339(at: Micros) -> str:
    """``at`` in UTC with microseconds: ``2026-01-31T18:00:00.000000Z``."""
    return f"{(_EPOCH + timedelta(microseconds=at)).isoformat(timespec='microseconds')[:26]}Z"


def parse_rfc3339(text: str) -> Micros:
    """The instant that ``text`` names.

    Raises:
        ValueError: not a date and time of RFC 3339, without its offset from UTC, or not in the years 1 to 9999 of UTC.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC; write for example 2026-01-31T18:00:00Z")
    if not _FIRST <= instant <= _LAST:
        raise ValueError(f"{text!r} is not in the years 1 to 9999 of UTC")
    return Micros((instant - _EPOCH) // timedelta(microseconds=1))


def utc_day(at: Micros) -> int:
    """The UTC day of ``at``, counted from 1970-01-01."""
    return at // DAY
