"""Text for people: peers' words made harmless, hotkeys shortened, counts and times, and a hint to a mistyped word."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

SIMILAR: Final = 0.6
"""Similarity, 0 to 1, from which on a word is suggested for a mistyped one."""
PART: Final = 4
"""Characters from which on a part of a word is a mistyped word."""
FEW: Final = 20
"""Valid words that are listed if none is similar."""


def printable(text: str) -> str:
    """``text`` with control, invisible and bidirectional characters escaped, as Python writes them: ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def harmless(text: str) -> str:
    """``text`` with control and bidirectional characters escaped, but with its line ends and tabs.

    For text of our own with words of others in it: a terminal obeys a control character.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def short(hotkey: str) -> str:
    """An ss58 address by its beginning and its end, as ``5DFzyX…8mTv``; a text of less than 16 characters is whole."""
    return hotkey if len(hotkey) < 16 else f"{hotkey[:6]}…{hotkey[-4:]}"


def shortened(text: str, whole: str = "") -> str:
    """``text`` with every ss58 address in its short form, but for the address ``whole``."""
    return _ADDRESS.sub(lambda found: found[0] if found[0] == whole else short(found[0]), text)


_ADDRESS: Final = re.compile(r"\b5[1-9A-HJ-NP-Za-km-z]{47}\b")


def chosen(abbreviated: str, known: Iterable[str]) -> list[str]:
    """The words that a person may mean: the word itself; or else those that begin so, or have this short form."""
    begin, _, end = abbreviated.partition("…")
    found = []
    for word in known:
        if word == abbreviated:
            return [word]
        if word.startswith(begin) and word.endswith(end):
            found.append(word)
    return found


def counted(number: int, noun: str) -> str:
    """``1 game``, ``2 games``: for nouns with a plural in *s*."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``3 min``, ``5 h``, ``2 d``; an empty text for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, name in ((86400, "d"), (3600, "h")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 60:.0f} min"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The valid word that is most similar to a mistyped one; None if none is similar.

    Capitals, and the hyphens before an option, make no word similar or different. If no word is similar, one that
    contains the mistyped word is the nearest.
    """
    plain = {_compared(valid): valid for valid in known}
    meant = _compared(word)
    similar = get_close_matches(meant, plain, n=1, cutoff=SIMILAR)
    if len(meant) >= PART:
        similar += [valid for valid in plain if meant in valid]
    return plain[similar[0]] if similar else None


def _compared(word: str) -> str:
    return word.casefold().lstrip("-")


def hint(word: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of an error message about an unknown word: the nearest valid one, or all of them if they are few.

    Args:
        word: the unknown word.
        known: all valid words.
        prefix: put before each valid word that is shown.

    Returns:
        ``"; the nearest is 'accepted'"``, ``"; expected one of 'red', 'blue'"``, or an empty text.
    """
    words = [str(valid) for valid in known]
    similar = nearest(word, words)
    if similar is not None:
        return f"; the nearest is {prefix + similar!r}"
    if not words or len(words) > FEW:
        return ""
    return f"; expected one of {', '.join(repr(prefix + valid) for valid in words)}"
