"""Code of the operator's own, by name: ``"my_subnet.scoring:on_prediction"``."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from bettensor.bus.errors import ConfigurationError


def import_from_here(module: str) -> ModuleType:
    """A module that is installed, or lies in the working directory."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return import_module(module)


def load(name: str, where: str) -> Any:
    """What ``name`` names; modules in the working directory are found too.

    Args:
        name: ``module:attribute``.
        where: file and key, for the message.

    Raises:
        ConfigurationError: there is no such module or attribute, or the module fails to import.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigurationError(f"{where}: expected 'module:name', not {name!r}")
    try:
        module = import_from_here(module_name)
    except Exception as error:
        raise ConfigurationError(f"{where}: the module {module_name!r} cannot be imported: {error!r}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ConfigurationError(f"{where}: {module_name!r} has no {attribute!r}") from None
