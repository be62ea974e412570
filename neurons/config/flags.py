"""Reads the flags of a command line that set keys.

``--KEY=VALUE`` and ``--KEY VALUE`` set a key. If a key is true or false, ``--KEY`` and ``--no-KEY`` suffice.
``--no-KEY`` also unsets a key that may be null, and disables a section that has the key ``enabled``. If a key is set
twice, the last flag wins.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, get_args

from bettensor.bus.events import Role
from bettensor.bus.text import hint
from bettensor.neurons.config.keys import Key, groups_of
from bettensor.neurons.config.sources import ALIASES, FALSE, LETTERS, SWITCHES, TRUE

_NEGATED: Final = "no-"


class Flags(NamedTuple):
    """The flags of a command line."""

    values: dict[str, str]
    """Keys in the spelling of the command line, with their values as text, the last flag last."""
    faults: tuple[str, ...]


def read_flags(words: Sequence[str]) -> Flags:
    """The flags that ``words`` are."""
    values: dict[str, str] = {}
    faults: list[str] = []
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        try:
            for key, value in _flag(word, rest):
                values.pop(key, None)  # its place is that of the last flag
                values[key] = value
        except ValueError as error:
            faults.append(str(error))
    return Flags(values, tuple(faults))


def _flag(word: str, rest: list[str]) -> Iterator[tuple[str, str]]:
    """The key and the value of one flag, whose value may be the next word: the last one of ``rest``.

    Raises:
        ValueError: it is no such flag, or has no value.
    """
    name, equals, value = _split(word)
    base = name.removeprefix(_NEGATED)
    if base != name and not _known(name):
        yield _negated(name, base, equals)
    elif equals:
        yield name, value
    elif _is_switch(name):
        is_value = bool(rest) and rest[-1].lower() in TRUE + FALSE
        yield f"{name}{_enabled(name)}", rest.pop() if is_value else "true"
    elif rest and not _is_flag(rest[-1]):
        yield name, rest.pop()
    elif _known(name):
        raise ValueError(f"{word}: expected a value, for example {word}=VALUE")
    else:
        yield name, "true"  # a key of an operator's own part, or none: its settings class decides


def _split(word: str) -> tuple[str, str, str]:
    """The name of a flag, and its value if they are one word.

    Raises:
        ValueError: the word is no flag.
    """
    if word.startswith("--") and word != "--":
        return word[2:].partition("=")
    if not word.startswith("-") or word in ("-", "--"):
        raise ValueError(f"unrecognized argument: {word}")
    letter, value = word[1], word[2:]
    if letter not in LETTERS:
        raise ValueError(f"{word}: there is no such flag; `bettensor ROLE --help` lists all flags")
    return LETTERS[letter], "=" if value else "", value.removeprefix("=")


def _negated(name: str, base: str, equals: str) -> tuple[str, str]:
    """
    Raises:
        ValueError: there is nothing to negate.
    """
    key = _keys().get(ALIASES.get(base, base))
    if equals:
        raise ValueError(f"--{name}: expected no value")
    if _is_switch(base):
        return f"{base}{_enabled(base)}", "false"
    if key is not None and key.may_be_null:
        return base, "null"
    what = (
        f"there is no such key{hint(base, _keys())}"
        if key is None
        else "it is neither true or false, nor may it be null"
    )
    raise ValueError(f"--{name}: {base}: {what}")


def _is_flag(word: str) -> bool:
    return word.startswith("--") or (len(word) > 1 and word[0] == "-" and word[1] in LETTERS)


def _is_switch(name: str) -> bool:
    """Whether a flag needs no value."""
    key = _keys().get(ALIASES.get(name, name))
    return name in SWITCHES or bool(_enabled(name)) or (key is not None and bool in (key.kind, *get_args(key.kind)))


def _enabled(name: str) -> str:
    """``.enabled`` for the name of a section that can be disabled."""
    return ".enabled" if f"{name}.enabled" in _keys() else ""


def _known(name: str) -> bool:
    return name in SWITCHES or ALIASES.get(name, name) in _keys()


@cache
def _keys() -> dict[str, Key]:
    """All keys of both roles by their paths."""
    roles: tuple[Any, ...] = get_args(Role)
    return {key.path: key for role in roles for group in groups_of(role) for key in group.keys}
