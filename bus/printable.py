"""Texts of others, made harmless for terminals and files."""


def printable(text: str) -> str:
    """``text`` with everything escaped that could move a cursor, or hide or turn round what stands beside it."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
