"""Doors: packages that offer names of other modules, and load a module only when one of its names is used (PEP 562).

A door lists its names three times, because type checkers cannot read tables: under ``TYPE_CHECKING``, in ``__all__``
and in the table of homes. ``tests/test_doors.py`` compares the three.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def open_door(door: str, homes: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a door.

    Args:
        door: the ``__name__`` of the package.
        homes: names by the module that defines them; under the package's own name, its submodules.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {door!r} has no attribute {name!r}")
        value = import_module(f"{home}.{name}") if home == door else getattr(import_module(home), name)
        setattr(sys.modules[door], name, value)  # the next use needs no lookup
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[door]), *home_of})

    return load, names
