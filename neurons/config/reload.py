"""Decides which changes of a configuration a running neuron takes."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from bettensor.neurons.config.settings import Settings

RELOADABLE: Final = (
    "blacklist",
    "metagraph.static",
    "logging.level",
    "websocket.*",
    "auth.schemes",
    "tls.*",
    "synapse.query_interval",
    "synapse.concurrency",
    "actors.*.*",
)
"""Keys that a running neuron takes. All others wait for a restart."""
_SOURCE: Final = "metagraph.static"
"""Another file is taken. Whether it is a file or the chain is decided at the start."""
FIXED: Final = ("actors.*.class", "actors.predictor.*")
"""Exceptions to ``RELOADABLE``: keys that wait for a restart."""


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted key."""
    flat: dict[str, Any] = {}
    values = {f.name: getattr(settings, f.name) for f in fields(settings)} if is_dataclass(settings) else settings
    for name, value in values.items():
        key = f"{prefix}{name}"
        if is_dataclass(value) or (isinstance(value, dict) and key.partition(".")[0] == "actors"):
            flat |= flatten(value, f"{key}.")
        else:
            flat[key] = value
    return flat


def changes(old: Settings, new: Settings) -> tuple[list[str], list[str]]:
    """The keys that differ: those that a running neuron takes, and those that wait for a restart."""
    before, after = flatten(old), flatten(new)
    differ = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    taken = [key for key in differ if is_reloadable(key) and (key != _SOURCE or None not in (before[key], after[key]))]
    return taken, [key for key in differ if key not in taken]


def new_actor_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All settings of each actor whose settings differ, by actor name.

    Args:
        old: settings of each running actor, by name.
        new: the same in the new configuration; an actor with a new class waits for a restart.
    """
    changed = {name: settings for name, settings in new.items() if name in old and old[name] != settings}
    return {name: asdict(settings) for name, settings in changed.items() if isinstance(settings, type(old[name]))}


def is_reloadable(key: str) -> bool:
    """Whether a running neuron takes a change of ``key``."""
    return _matches(key, RELOADABLE) and not _matches(key, FIXED)


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
