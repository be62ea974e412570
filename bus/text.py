"""Text for people: the words of others made harmless, and the word that was most likely meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def printable(text: str) -> str:
    """``text`` with control, invisible and bidirectional characters escaped, as Python writes them: ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """The word among ``known``, which must not be empty, that is most like ``word``."""
    return get_close_matches(word, known, n=1, cutoff=0)[0]
