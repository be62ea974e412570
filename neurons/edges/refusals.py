"""Reads a validator's refusal of a request. It is unsigned, may be anything, and is only a hint."""

import msgspec

from bettensor.bus.codes import AXON


class _Refusal(msgspec.Struct):
    message: str
    error: str | None = None


def read_refusal(body: bytes | bytearray) -> tuple[str, str] | None:
    """Its code, and code and message for people; None if the body is not a refusal. An Axon's has no code: ``AXON``."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, or other keys
        return None
    if refusal.error is None:
        return AXON, f"an Axon answers: {refusal.message}"
    code = refusal.error[:64]
    return code, f"{code}: {refusal.message}"
