"""Says what is wrong with a configuration, for operators, and collects faults so that all are told at once."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.redaction import is_whole_address, names_a_secret, names_an_address, without_secrets
from bettensor.bus.text import hint
from bettensor.neurons.config.documents import safe_repr
from bettensor.neurons.config.sources import Where, blame, blame_together

Location = tuple[str | int, ...]
"""The path to a value: the keys of mappings, and places in lists."""
_EXPECTED: Final = {
    "dataclass_type": "expected keys with values",
    "dict_type": "expected keys with values",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
}
"""The messages for pydantic's faults whose own text is for programmers, by pydantic's name."""
_MOST_SHOWN: Final = 500
"""Characters of a wrong value that a message shows."""
_UNKNOWN: Final = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING: Final = ("missing", "missing_argument")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    locations: tuple[Location, ...]
    """The wrong key, or the keys that contradict each other."""
    text: str
    """What is wrong; for several keys it names them."""
    section: str = ""
    """For several keys: the dotted key of the section in which the text names them."""

    def told(self, where: Where, prefix: str = "") -> str:
        """The message.

        Args:
            where: where the keys come from.
            prefix: of the keys, with its dot.
        """
        if len(self.locations) == 1:
            return f"{blame(where, (prefix + dotted(self.locations[0])).rstrip('.'))}: {self.text}"
        section = (prefix + self.section).rstrip(".")
        source = blame_together(where, [prefix + dotted(location) for location in self.locations])
        return f"{source}: {section}: {self.text}" if section else f"{source}: {self.text}"


class Faults:
    """Collects faults until all checks are made."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        """
        Args:
            lines: the first faults.
        """
        self._lines = list(lines)

    def add(self, line: str) -> None:
        """Add one fault."""
        self._lines.append(line)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Add the faults of the block, which ends with the first ``ConfigurationError``."""
        try:
            yield
        except ConfigurationError as error:
            self._lines += str(error).splitlines()

    def tell(self) -> None:
        """
        Raises:
            ConfigurationError: there are faults; the message has a line for each.
        """
        if self._lines:
            raise ConfigurationError("\n".join(dict.fromkeys(self._lines)))


def faults_of(kind: Any, error: ValidationError) -> Iterator[Fault]:
    """Each fault that pydantic has found in data for ``kind``, a dataclass."""
    for details in error.errors():
        yield _fault(kind, details)


def dotted(location: Location) -> str:
    """``location`` as a dotted key."""
    return ".".join(map(str, location))


def _fault(kind: Any, details: ErrorDetails) -> Fault:
    location = tuple(part for part in details["loc"] if part != "[key]")  # for a wrong key of a mapping, that key
    if details["type"] in _UNKNOWN:
        *section, last = location
        prefix = "".join(f"{part}." for part in section)
        return Fault((location,), f"there is no such key{hint(str(last), _keys_at(kind, section), prefix)}")
    if details["type"] in _MISSING:
        return Fault((location,), "this key is required")
    text = _EXPECTED.get(details["type"], details["msg"].removeprefix("Value error, "))
    text = text.partition(", unable to parse")[0].replace("Input should be", "must be")
    text = f"{text[0].lower()}{text[1:]}"
    if details["type"] == "value_error" and isinstance(details["input"], dict):  # a rule about several keys
        named = [(*location, key) for key in _keys_at(kind, location) if re.search(rf"\b{key}\b", text)]
        return Fault(tuple(named) or (location,), text, dotted(location))
    return Fault((location,), f"{text}, but it is {shown_value(dotted(location), details['input'])}")


def shown_value(key: str, value: Any) -> str:
    """A wrong value for a message; of what may be a secret nothing but that, and of an address scheme and host."""
    if names_a_secret(key):
        return "a secret"
    if names_an_address(key) and not (isinstance(value, str) and is_whole_address(value)):
        return "something else"  # the key of a service may be anywhere in it
    if isinstance(value, list):
        return "a list"
    text = safe_repr(without_secrets(value))
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _keys_at(kind: Any, location: Sequence[int | str]) -> list[str]:
    for key in location:
        is_list = isinstance(key, int)  # all entries of a list have the same rule
        kind = get_args(kind)[0] if is_list else next(f.type for f in fields(kind) if f.name == key)
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []
