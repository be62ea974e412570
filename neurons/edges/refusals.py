"""What a validator says when it refuses a request: unsigned, and only a hint. It may be anything."""

import msgspec


class _Refusal(msgspec.Struct):
    error: str
    message: str


def read_refusal(body: bytes | bytearray) -> tuple[str, str] | None:
    """Its code, and code and message for people; None where it is nothing of the kind."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (ValueError, RecursionError):  # a ValueError: no JSON, no UTF-8, or not these keys
        return None
    code = refusal.error[:64]
    return code, f"{code}: {refusal.message}"


def read_retry_after(values: list[str]) -> int | None:
    """Seconds to wait, of the header's values; None where they say nothing that can be used."""
    value = values[0] if len(values) == 1 else ""
    return int(value) if value.isdecimal() and len(value) < 6 else None
