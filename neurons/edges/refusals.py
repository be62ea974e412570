"""What a validator says when it refuses a request: unsigned, and only a hint."""

import json


def read_refusal(body: bytes | bytearray) -> tuple[str, str] | None:
    """Its code, and code and message for people; None where it is nothing of the kind."""
    try:
        refusal = json.loads(body)
        code = str(refusal["error"])[:64]
        return code, f"{code}: {refusal['message']}"
    except (ValueError, KeyError, TypeError):
        return None
