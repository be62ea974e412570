"""Reads a validator's refusal of a request. It is unsigned, may be anything, and is only a hint."""

import msgspec


class _Refusal(msgspec.Struct):
    error: str
    message: str


def read_refusal(body: bytes | bytearray) -> tuple[str, str] | None:
    """Its code, and code and message for people; None if the body is not a refusal."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, or other keys
        return None
    code = refusal.error[:64]
    return code, f"{code}: {refusal.message}"
