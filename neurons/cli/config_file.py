"""Configurations as commented YAML: all keys of a role with their defaults, and what is in force in a neuron."""

from collections.abc import Iterator
from dataclasses import fields
from textwrap import wrap
from typing import Any, Final

from bettensor.bus.events import Role
from bettensor.bus.redaction import HIDDEN
from bettensor.neurons.composition import PREDICTOR, actor_parts, edge_parts, predictor_part
from bettensor.neurons.config.keys import MODELS, Group, Key, field_docs, groups_of
from bettensor.neurons.config.loading import Configuration
from bettensor.neurons.config.settings import (
    ROLES,
    MinerSettings,
    Settings,
    plain_settings,
    section_fields,
    section_names,
)
from bettensor.neurons.config.sources import Sources
from bettensor.neurons.config.yaml_text import one_line

_EXAMPLES: Final = {"path": "bets.csv", "command": "[python, my_model.py]"}
"""Values for the keys that a model requires."""
_NOT_SHOWN: Final = "(not shown)"
"""Stands for a value that may be a secret."""


# --- the defaults


def commented_defaults(role: Role) -> str:
    """Every key of ``role`` with its meaning and its default. The text is a valid configuration file."""
    head = f"The configuration of a {role}: every key with its default. No key is required."
    lines = _comment(head, "")
    folder = ""
    for group in groups_of(role):
        first, dot, name = group.path.rpartition(".")
        if first not in ("", folder):
            lines += [*_comment(field_docs(ROLES[role])[first], ""), f"{first}:"]
        folder = first or name
        shown = [*_section(group, name, "  " if dot else "")]
        is_other_model = group.model not in ("", *list(MODELS.values())[:1])
        lines += [f"# {line}" for line in shown] if is_other_model else shown
    return "\n".join(lines) + "\n"


def _section(group: Group, name: str, indent: str) -> Iterator[str]:
    if group.model:
        text = f"Which model the miner asks: {group.model}."
        yield from _comment(f"{text} Values of required keys are examples." if _required(group) else text, indent)
    elif name:
        yield from _comment(group.meaning, indent)
    if name:
        yield f"{indent}{name}:"
        indent += "  "
    for key in group.keys:
        yield from _comment(key.meaning, indent)
        yield f"{indent}{key.name}: {_EXAMPLES[key.name] if key.default is None else key.default}"


def _required(group: Group) -> list[Key]:
    return [key for key in group.keys if key.default is None]


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in wrap(text, 112 - len(indent))]


# --- what is in force


def in_force(loaded: Configuration) -> str:
    """The settings of a neuron as YAML, each value with its source; without values that may be secrets.

    Raises:
        ConfigurationError: a part of the neuron cannot be loaded.
    """
    settings, sources = loaded.settings, loaded.sources
    document = plain_settings(settings)
    if settings.metagraph.static is None and settings.subtensor.chain_endpoint is None:
        document["subtensor"]["network"] = settings.subtensor.chosen
    document["actors"] = _parts(settings, document["actors"], dict(_actors(settings, sources)))
    edges = {name: (cls.Settings, own) for name, cls, own in edge_parts(settings, sources)}
    document["edges"] = _parts(settings, document["edges"], edges)
    head = f"The configuration that is in force for this {settings.role}; behind each value stands its source."
    return "\n".join([*_comment(head, ""), *_values(document, sources)]) + "\n"


def _actors(settings: Settings, sources: Sources) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Name, settings class and settings of each actor, and of the model."""
    for actor, own in actor_parts(settings, sources):
        yield actor.name, (actor.Settings, own)
    if isinstance(settings, MinerSettings):
        model, own = predictor_part(settings, sources)
        yield PREDICTOR, (model.Settings, own)


def _parts(settings: Settings, given: dict[str, Any], parts: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The keys of each part that has keys of its own, with the class if the configuration names it."""
    shown = {}
    for name, (kind, own) in parts.items():
        taken = section_fields(kind, section_names(type(settings)))
        names = [f.name for f in fields(kind) if f.name not in taken]
        values = plain_settings(own)
        chosen = {"class": given[name]["class"]} if "class" in given.get(name, {}) else {}
        if chosen or names:
            shown[name] = chosen | {key: values[key] for key in names}
    return shown


def _values(document: dict[str, Any], sources: Sources, path: str = "", indent: str = "") -> Iterator[str]:
    for name, value in document.items():
        key = f"{path}{name}"
        if isinstance(value, dict) and value:
            yield f"{indent}{one_line(name)}:"
            yield from _values(value, sources, f"{key}.", f"{indent}  ")
        else:
            shown = one_line(value).replace(HIDDEN, _NOT_SHOWN)
            yield f"{indent}{one_line(name)}: {shown}  # {sources.of(key) or 'default'}"
