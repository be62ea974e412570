"""Reads what any answer by HTTP may have. The other side may send anything, of any length."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Final

import httpx

from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.edges.http_exchange import is_crumbled

LONGEST_WAIT: Final = 86_400
"""Seconds: whoever asks for more is asked again after a day."""


async def read_body(response: httpx.Response, most: int) -> bytes:
    """The raw body; it is not unpacked if it is compressed, so it is never longer than what was sent.

    Args:
        response: an answer that is read as a stream.
        most: bytes.

    Raises:
        httpx.DecodingError: the body has more bytes, or comes in far too many parts.
    """
    content, parts = bytearray(), 0
    async for chunk in response.aiter_raw():
        content += chunk
        parts += 1
        if is_crumbled(parts, len(content)):
            raise httpx.DecodingError("an answer in far too many parts", request=response.request)
        if len(content) > most:
            raise httpx.DecodingError(f"an answer of more than {most} bytes", request=response.request)
    return bytes(content)


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
