"""The keys of a role as a table: the meaning, the type and the default of each, read from the settings classes.

Help, completion, documentation and the commented configuration file are made from this table.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from bettensor.actors.settings import Port, Seconds
from bettensor.bus.events import Role
from bettensor.neurons.composition import ACTORS, PREDICTOR
from bettensor.neurons.config.settings import ROLES, section_fields, section_names
from bettensor.neurons.config.sources import ALIASES
from bettensor.neurons.config.yaml_text import one_line
from bettensor.neurons.models.file import FilePredictor
from bettensor.neurons.models.kelly import KellyPredictor
from bettensor.neurons.models.program import ProgramPredictor

MODELS: Final[dict[type[Any], str]] = {
    KellyPredictor: "bettensor.models:KellyPredictor",
    FilePredictor: "bettensor.models:FilePredictor",
    ProgramPredictor: "bettensor.models:ProgramPredictor",
}
"""The models that come with this package, the default one first."""
_FORMS: Final[tuple[tuple[Any, str], ...]] = (
    (Seconds, "SEC"),
    (Port, "PORT"),
    (bool, "BOOL"),
    (int, "N"),
    (float, "X"),
    (Path, "PATH"),
    (str, "TEXT"),
)
"""What a value of a type looks like; a value of any other type is YAML."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    path: str
    """Its dotted path, which is its flag too."""
    meaning: str
    kind: Any
    """The type of its value."""
    form: str
    """What a value looks like: its unit, or its type."""
    default: str | None
    """As YAML; None: the key is required."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def spellings(self) -> list[str]:
        """Other names of its flag."""
        return [alias for alias, key in ALIASES.items() if key == self.path]

    @property
    def may_be_null(self) -> bool:
        """Whether null is a value of it."""
        return NoneType in get_args(self.kind)

    @property
    def choices(self) -> list[str]:
        """All its values, if they are few."""
        if self.kind is bool:
            return ["true", "false"]
        return [str(value) for part in _parts(self.kind) if get_origin(part) is Literal for value in get_args(part)]


class Group(NamedTuple):
    """The keys of one section or part of a neuron."""

    path: str
    """The dotted key of the section; empty: the keys of the neuron itself."""
    meaning: str
    keys: tuple[Key, ...]
    model: str = ""
    """For the keys of a model: its class."""


@cache
def groups_of(role: Role) -> tuple[Group, ...]:
    """All keys of a role: its own, those of its sections, of its actors, and of its models."""
    kind = ROLES[role]
    types = get_type_hints(kind)
    sections = {f.name: types[f.name] for f in fields(kind) if is_dataclass(types[f.name])}
    docs = field_docs(kind)
    own = [f for f in fields(kind) if f.name not in sections and f.name != "actors"]
    groups = [Group("", kind.__doc__ or "", tuple(_keys(kind, own, "")))]
    for name, section in sections.items():
        groups += _groups(section, name, docs.get(name) or section.__doc__ or "")
    for actor in ACTORS[role]:
        taken = section_fields(actor.Settings, section_names(kind))
        keys = _keys(
            actor.Settings, [f for f in fields(actor.Settings) if f.name not in taken], f"actors.{actor.name}."
        )
        groups.append(Group(f"actors.{actor.name}", actor.Settings.__doc__ or "", tuple(keys)))
    if role == "miner":
        groups += [_model(model, name) for model, name in MODELS.items()]
    return tuple(group for group in groups if group.keys)


def _groups(section: Any, path: str, meaning: str) -> Iterator[Group]:
    """A section, and the sections in it."""
    types = get_type_hints(section)
    inner = [f.name for f in fields(section) if is_dataclass(types[f.name])]
    yield Group(path, meaning, tuple(_keys(section, [f for f in fields(section) if f.name not in inner], f"{path}.")))
    for name in inner:
        yield from _groups(types[name], f"{path}.{name}", types[name].__doc__ or "")


def _model(model: type[Any], name: str) -> Group:
    path = f"actors.{PREDICTOR}"
    chosen = Key(
        f"{path}.class", 'Module and class of the model ("module:Class"), or a plugin\'s name.', str, "TEXT", name
    )
    keys = _keys(model.Settings, list(fields(model.Settings)), f"{path}.")
    return Group(path, model.Settings.__doc__ or "", (chosen, *keys), name)


def _keys(kind: type[Any], chosen: list[Field[Any]], prefix: str) -> Iterator[Key]:
    docs, types, annotated = field_docs(kind), get_type_hints(kind), get_type_hints(kind, include_extras=True)
    for f in chosen:
        form = _form(annotated[f.name], types[f.name])
        yield Key(f"{prefix}{f.name}", docs.get(f.name, ""), types[f.name], form, _default(f))


def _form(annotated: Any, kind: Any) -> str:
    if any(get_origin(part) is Literal for part in _parts(kind)):
        return "TEXT"
    for part in (*_parts(annotated), *_parts(kind)):
        for known, form in _FORMS:
            if part == known or getattr(part, "__supertype__", None) == known:
                return form
    return "YAML"


def _parts(kind: Any) -> tuple[Any, ...]:
    """The types of which a value may be one."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _default(f: Field[Any]) -> str | None:
    if f.default is MISSING and f.default_factory is MISSING:
        return None
    value = f.default if f.default_factory is MISSING else f.default_factory()
    return one_line(str(value) if isinstance(value, Path) else [*value] if isinstance(value, tuple) else value)


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
