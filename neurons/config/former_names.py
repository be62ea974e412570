"""Names of release 0.1.0 in configurations and in import statements: taken as today's, or explained.

The table is ``bus/moved.py``. A package ``neurons`` of somebody else, as most subnets have one, is theirs.
"""

import re
import traceback
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bettensor.bus.moved import current_module, current_name

_IMPORT: Final = re.compile(r"\s*(?:from|import)\s+([\w.]+)")


def of_today(name: str, where: str) -> str:
    """``module:attribute`` of 0.1.0 as it is called today; any other name as it is.

    Warns (``FutureWarning``) where the name is another.

    Args:
        name: as the configuration has it.
        where: file and key, for the warning.
    """
    today = current_name(name)
    if today == name or _is_somebody_elses(name.partition(":")[0].partition(".")[0]) or not _gives(today):
        return name
    told = f"{where}: {name} is called {today} since 0.2.0; 0.3.0 will not know it"
    warnings.warn_explicit(told, FutureWarning, "bettensor", 0)  # a line of our code would help no operator
    return today


def explain(error: Exception) -> str:
    """Why an import failed; where a module of 0.1.0 was asked for, what it is called today."""
    asked = _asked_for(error)
    today = None if asked is None else current_module(asked)
    if today is None or not _exists(today):
        return repr(error)
    return f"{error!r}: {asked} of release 0.1.0 is {today} now"


def _is_somebody_elses(root: str) -> bool:
    """Whether ``import root`` would find a package that is not one of our folders."""
    spec = find_spec(root)
    if spec is None:
        return False
    ours = import_module(f"bettensor.{root}").__file__
    return spec.origin is None or not Path(spec.origin).samefile(str(ours))


def _asked_for(error: Exception) -> str | None:
    """The module that an import statement named, of which the error may name only the first part."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    steps = traceback.extract_tb(error.__traceback__)
    statement = _IMPORT.match((steps[-1].line or "") if steps else "")
    return error.name if statement is None else statement[1]


def _gives(path: str) -> bool:
    """Whether ``path``, which is one of ours, names something."""
    module, _, name = path.partition(":")
    return _exists(module) and hasattr(import_module(module), name)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor the package that it would be in
        return False
