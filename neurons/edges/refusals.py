"""Reads another neuron's refusal of a request. It is unsigned, may be anything, and is only a hint."""

from typing import Any, Final

import msgspec

from bettensor.bus.codes import AXON
from bettensor.bus.text import printable

_LONGEST_TOLD: Final = 300
"""Characters of what another neuron says."""


class _Refusal(msgspec.Struct):
    message: str
    error: str | None = None


class _Told(msgspec.Struct):
    message: Any = None
    detail: Any = None


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


def read_told(body: bytes | bytearray) -> str:
    """What an existing neuron says in a refusal, in a line; an empty text if it says nothing that can be read."""
    try:
        told = msgspec.json.decode(body, type=_Told)
        words = told.message or told.detail or ""
        text = words if isinstance(words, str) else msgspec.json.encode(words).decode()
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, or no object
        return ""
    return printable(" ".join(text[:_LONGEST_TOLD].split()))
