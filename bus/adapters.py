"""pydantic's readers and writers of our classes. Each takes milliseconds to make, so it is made once."""

from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

Kind = TypeVar("Kind")
_MADE: Final[dict[type[Any], TypeAdapter[Any]]] = {}


def adapter_of(kind: type[Kind]) -> TypeAdapter[Kind]:
    """The only ``TypeAdapter`` of ``kind``."""
    if kind not in _MADE:
        _MADE[kind] = TypeAdapter(kind)
    return _MADE[kind]
