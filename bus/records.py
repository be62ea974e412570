"""Dataclasses that are cheap enough to be made thousands of times a second.

A frozen dataclass sets each field by name through ``object.__setattr__``; ``quick`` sets the same fields through their
slots, in half the time. The mixin of dataclasses-json is an abstract base class, and ``isinstance`` takes four times as
long with subclasses of one; ``JsonRecord`` is the same mixin as a plain class. Each saves a twentieth of what a
prediction costs.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dataclasses_json import DataClassJsonMixin, config
from msgspec import UNSET

Record = TypeVar("Record")

LEFT_OUT_IF_UNSET: Final = config(exclude=lambda value: value is UNSET)
"""Metadata of a field that ``to_dict`` leaves out if its value is ``UNSET``, as msgspec does."""

if TYPE_CHECKING:
    JsonRecord = DataClassJsonMixin
else:
    _METHODS = ("dataclass_json_config", "to_dict", "from_dict", "to_json", "from_json", "schema")
    JsonRecord = type("JsonRecord", (), {"__slots__": ()} | {name: vars(DataClassJsonMixin)[name] for name in _METHODS})
    """``to_dict``, ``from_dict``, ``to_json`` and ``from_json``, for people and tools."""
    DataClassJsonMixin.register(JsonRecord)


def quick(cls: type[Record]) -> type[Record]:
    """Make instances of a frozen, slotted dataclass faster to create; stands above ``@dataclass``.

    Raises:
        TypeError: the class has what this does not know: ``__post_init__``, a default factory, a field without init,
            or fields by position beside others by keyword.
    """
    parts = fields(cls)  # type: ignore[arg-type]
    known = all(f.init and f.default_factory is MISSING and f.kw_only is parts[0].kw_only for f in parts)
    if hasattr(cls, "__post_init__") or not known:
        raise TypeError(f"{cls.__name__} has more than plain fields; use dataclass alone")
    cls.__init__ = _initialiser(cls)  # type: ignore[method-assign]
    return cls


def _initialiser(cls: type[Any]) -> Callable[..., None]:
    """The dataclass's own ``__init__``, signature and defaults included, but for how it sets a field."""
    names = [f.name for f in fields(cls)]
    keywords = "*, " if any(f.kw_only for f in fields(cls)) else ""
    setters = {f"set_{name}": getattr(cls, name).__set__ for name in names}
    body = "\n".join(f"    set_{name}(self, {name})" for name in names) or "    pass"
    scope: dict[str, Any] = {}
    exec(f"def __init__(self, {keywords}{', '.join(names)}):\n{body}", setters, scope)  # noqa: S102 - our own fields
    made: Any = scope["__init__"]
    slow: Any = cls.__init__
    made.__defaults__, made.__kwdefaults__ = slow.__defaults__, slow.__kwdefaults__
    made.__annotations__, made.__qualname__ = slow.__annotations__, slow.__qualname__
    return made  # type: ignore[no-any-return]
