"""Loads an operator's code and other packages' code by name.

A name is ``module:attribute``, such as ``my_subnet.scoring:on_prediction``, or an entry point of an installed package
(docs/plugins.md). An installed package adds its kinds of message at once; its actors, edges, models and handlers work
only if the configuration names them.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple, get_args

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.messages import KINDS
from bettensor.bus.text import hint
from bettensor.neurons.config.former_names import explain, named_today, of_today

Group = Literal["actors", "edges", "handlers", "messages", "models"]
"""The kinds of plugin; each has a group of entry points, ``bettensor.actors`` and so on."""
GROUPS: Final[tuple[Group, ...]] = get_args(Group)


class Plugin(NamedTuple):
    """One entry point of an installed package."""

    group: Group
    name: str
    value: str
    """``module:attribute``; for messages, the module alone is allowed too."""
    package: str
    """Name and version."""


def plugins(group: Group) -> list[Plugin]:
    """The plugins of the installed packages, sorted by name."""
    return sorted(_plugin(group, point) for point in entry_points(group=f"bettensor.{group}"))


def _plugin(group: Group, point: EntryPoint) -> Plugin:
    package = "unknown" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    return Plugin(group, point.name, point.value, package)


def describe() -> Iterator[str]:
    """One line for each installed plugin."""
    for group in GROUPS:
        for plugin in plugins(group):
            yield f"plugin {plugin.name!r} of bettensor.{group}: {plugin.value}, from the package {plugin.package}"


def import_from_here(module: str) -> ModuleType:
    """Import a module that is installed or lies in the working directory."""
    _look_here()
    return import_module(module)


def _look_here() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def load(name: str, where: str, group: Group | None = None) -> Any:
    """The object that ``name`` names; modules in the working directory are found too.

    Args:
        name: ``module:attribute``, or the name of an entry point.
        where: file and key, for the message.
        group: the group in which to look for entry points; None: ``name`` must be ``module:attribute``.

    Raises:
        ConfigurationError: the module, attribute or entry point does not exist, two packages bring it, or the module
            fails to import.
    """
    _look_here()
    if ":" in name or group is None:
        return _attribute(of_today(name, where), where)
    plugin = _find(name, group, where)
    return _attribute(plugin.value, f"{where}: {name!r} of the package {plugin.package}")


def module_of(name: str, group: Group) -> str:
    """The module that ``load`` would import for ``name``; nothing of another package or of the operator is imported.

    An entry point that does not exist, or that several packages bring, has an empty one: ``load`` refuses it.
    """
    if ":" not in name:
        found = [plugin.value for plugin in plugins(group) if plugin.name == name]
        name = found[0] if len(found) == 1 else ""
    _look_here()
    return named_today(name).partition(":")[0]


def import_messages() -> None:
    """Register the kinds of message that packages bring.

    Raises:
        ConfigurationError: a kind cannot be imported, is not registered, or its name or ``message_type`` is taken.
    """
    for plugin in plugins("messages"):
        where = f"the package {plugin.package}: the entry point {plugin.name!r} of bettensor.messages"
        _find(plugin.name, "messages", where)
        if ":" not in plugin.value:
            _module(plugin.value, where)
        elif _attribute(plugin.value, where) not in KINDS.values():  # a replay imports only its module
            raise ConfigurationError(f"{where}: {plugin.value} is not registered: mark it with @register")


def _find(name: str, group: Group, where: str) -> Plugin:
    known = plugins(group)
    found = [plugin for plugin in known if plugin.name == name]
    if not found:
        near = hint(name, [plugin.name for plugin in known])
        what = f"and no installed package has {name!r} among its bettensor.{group}{near}"
        raise ConfigurationError(f"{where}: expected 'module:name' or the name of a plugin, {what}")
    if len(found) > 1:
        packages = " and ".join(plugin.package for plugin in found)
        raise ConfigurationError(f"{where}: {packages} both bring {name!r}: write module:name, or uninstall one")
    return found[0]


def _attribute(name: str, where: str) -> Any:
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigurationError(f"{where}: expected 'module:name', not {name!r}")
    module = _module(module_name, where)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ConfigurationError(f"{where}: {module_name!r} has no {attribute!r}") from None


def _module(name: str, where: str) -> ModuleType:
    try:
        return import_from_here(name)
    except Exception as error:
        raise ConfigurationError(f"{where}: the module {name!r} cannot be imported: {explain(error)}") from error
