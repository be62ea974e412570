"""The whole configuration of a role as a commented YAML file, generated from the settings classes."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any, Final

import yaml

from bettensor.bus.events import Role
from bettensor.neurons.composition import ACTORS
from bettensor.neurons.config.settings import ROLES, section_fields, section_names
from bettensor.neurons.models.file import FilePredictor
from bettensor.neurons.models.kelly import KellyPredictor
from bettensor.neurons.models.program import ProgramPredictor

_REQUIRED: Final = {"netuid": "30", "state_dir": "~/.bettensor/{role}", "static": "metagraph.yaml"}
"""Examples for the keys without a default, and for the simpler source of the metagraph."""
MODELS: Final = {
    KellyPredictor: "bettensor.models:KellyPredictor",
    FilePredictor: "bettensor.models:FilePredictor",
    ProgramPredictor: "bettensor.models:ProgramPredictor",
}
"""The models that come with this package, the default one first."""
_EXAMPLES: Final = {"path": "bets.csv", "command": "[python, my_model.py]"}


def commented_defaults(role: Role) -> str:
    """Every key of ``role`` with its meaning and its default, or an example if the key is required.

    The text is a valid configuration file.
    """
    kind = ROLES[role]
    head = f"The configuration of a {role}: every key with its default."
    head += " The values of netuid, state_dir and metagraph.static are examples."
    lines = [*_comment(head, ""), *_section(kind, role, "")]
    lines += [*_comment(field_docs(kind)["actors"], ""), "actors:"]
    for actor in ACTORS[role]:
        sections = section_fields(actor.Settings, section_names(kind))
        own = [f for f in fields(actor.Settings) if f.name not in sections]
        if own:
            lines += [*_comment(actor.Settings.__doc__ or "", "  "), f"  {actor.name}:"]
            lines += _keys(actor.Settings, own, role, "    ")
    if role == "miner":
        for model, name in MODELS.items():
            lines += _model(model, name)
    return "\n".join(lines) + "\n"


def _model(model: type[Any], name: str) -> list[str]:
    """The default model's keys, and the others' as comments."""
    is_default = model is KellyPredictor
    text = "Which model the miner asks: the default model and its keys. The other models follow as comments."
    head = _comment(f"{text} Their values of path and command are examples.", "  ") if is_default else []
    required = [f for f in fields(model.Settings) if f.default is MISSING and f.default_factory is MISSING]
    keys = _keys(model.Settings, [f for f in fields(model.Settings) if f not in required], "miner", "    ")
    named = [f"    {f.name}: {_EXAMPLES[f.name]}" for f in required]
    docs = field_docs(model.Settings)
    needed = [line for f, text in zip(required, named, strict=True) for line in (f"    # {docs[f.name]}", text)]
    lines = [
        "  predictor:",
        "    # Module and class of the model, or a plugin's name.",
        f"    class: {name}",
        *needed,
        *keys,
    ]
    return head + lines if is_default else [f"# {line}" for line in lines]


def field_docs(kind: type[Any]) -> dict[str, str]:
    """The docstring below each field of a dataclass and its bases."""
    docs: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if is_dataclass(cls):
            docs |= dict(_docs_of(cls))
    return docs


def _docs_of(cls: type[Any]) -> Iterator[tuple[str, str]]:
    body = ast.parse(dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - for the type checker
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            yield statement.target.id, " ".join(str(following.value.value).split())


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in wrap(text, 112 - len(indent))]


def _section(kind: type[Any], role: Role, indent: str) -> list[str]:
    return _keys(kind, [f for f in fields(kind) if f.name != "actors"], role, indent)


def _keys(kind: type[Any], keys: list[Field[Any]], role: Role, indent: str) -> list[str]:
    docs = field_docs(kind)
    lines: list[str] = []
    for f in keys:
        section: Any = f.type
        text = docs.get(f.name) or (section.__doc__ if is_dataclass(section) else "")
        lines += _comment(text or "", indent)
        if is_dataclass(section) and isinstance(section, type):
            lines += [f"{indent}{f.name}:", *_section(section, role, indent + "  ")]
        else:
            lines.append(f"{indent}{f.name}: {_default(f, role)}")
    return lines


def _default(f: Field[Any], role: Role) -> str:
    if f.name in _REQUIRED:
        return _REQUIRED[f.name].format(role=role)
    value = f.default if f.default_factory is MISSING else f.default_factory()
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, tuple):
        value = list(value)
    return one_line(value)


def one_line(value: Any) -> str:
    """Plain data as YAML on one line, its keys in their order."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    return text.removesuffix("\n...\n").strip()
