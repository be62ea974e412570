"""Reads what any answer by HTTP may have. The other side may send anything."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Final

from bettensor.bus.identifiers import SECOND, Micros

LONGEST_WAIT: Final = 86_400
"""Seconds: whoever asks for more is asked again after a day."""


def read_retry_after(values: list[str], now: Micros) -> int | None:
    """Seconds to wait, at most ``LONGEST_WAIT`` (RFC 9110, section 10.2.3); None if ``values`` do not say.

    Args:
        values: those of the header ``Retry-After``: a number of seconds, or a date.
        now: wall clock.
    """
    if len(values) != 1:
        return None
    (value,) = values
    if value.isascii() and value.isdecimal():
        digits = value.lstrip("0") or "0"
        return min(LONGEST_WAIT, int(digits[:6]))
    try:
        then = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0, min(LONGEST_WAIT, ceil(then.timestamp() - now / SECOND)))
