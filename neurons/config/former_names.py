"""Translates names of release 0.1.0 in configurations, and explains those in import statements.

The table is ``bus/moved.py``. Names in another project's package ``neurons`` are left alone: most subnets have one.
"""

import re
import traceback
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bettensor.bus.moved import current_module, current_name
from bettensor.bus.redaction import without_named

_IMPORT: Final = re.compile(r"\s*(?:from|import)\s+([\w.]+)")


def of_today(name: str, where: str) -> str:
    """Today's ``module:attribute`` for one of 0.1.0; any other name is returned unchanged.

    Warns (``FutureWarning``) if the name has changed.

    Args:
        name: the name in the configuration.
        where: file and key, for the warning.
    """
    today = named_today(name)
    if today != name:
        told = f"{where}: {name} is called {today} since 0.2.0; 0.3.0 will not know it"
        warnings.warn_explicit(told, FutureWarning, "bettensor", 0)  # a line of our code would not help an operator
    return today


def named_today(name: str) -> str:
    """The same, without a warning."""
    today = current_name(name)
    if today == name or _is_somebody_elses(name.partition(":")[0].partition(".")[0]) or not _gives(today):
        return name
    return today


def explain(error: Exception) -> str:
    """The reason of a failed import; for a module of 0.1.0, also its new name."""
    asked = _asked_for(error)
    today = None if asked is None else current_module(asked)
    if today is None or not _exists(today):
        return without_named(repr(error))
    return f"{error!r}: {asked} of release 0.1.0 is {today} now"


def _is_somebody_elses(root: str) -> bool:
    """Whether ``import root`` would find a package other than one of our folders."""
    spec = find_spec(root)
    if spec is None:
        return False
    ours = import_module(f"bettensor.{root}").__file__
    return spec.origin is None or not Path(spec.origin).samefile(str(ours))


def _asked_for(error: Exception) -> str | None:
    """The module that an import statement named; the error may name only its first part."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    steps = traceback.extract_tb(error.__traceback__)
    statement = _IMPORT.match((steps[-1].line or "") if steps else "")
    return error.name if statement is None else statement[1]


def _gives(path: str) -> bool:
    """Whether ``path``, a path of ours, names something."""
    module, _, name = path.partition(":")
    return _exists(module) and hasattr(import_module(module), name)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # or its package is missing
        return False
