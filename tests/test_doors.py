"""What other people import: a few modules, the doors, whose names and meanings are stable (see CHANGELOG.md)."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from bettensor.neurons.composition import ACTORS

ROOT: Final = Path(__file__).parent.parent
LAZY: Final = (
    "bettensor",
    "bettensor.actors",
    "bettensor.bus",
    "bettensor.edges",
    "bettensor.models",
    "bettensor.recordings",
)
"""Doors whose names have their homes elsewhere, and are loaded when they are used."""
PLAIN: Final = (
    *(f"bettensor.bus.{name}" for name in ("codes", "errors", "events", "games", "identifiers", "messages")),
    "bettensor.actors.settings",
)
"""Doors that define their names themselves."""
DOORS: Final = (*LAZY, *PLAIN, "bettensor.simulation")
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
EXAMPLES: Final = sorted(file for file in (ROOT / "examples").rglob("*") if file.is_file() and file.suffix != ".pyc")


def tree_of(module: str) -> ast.Module:
    return ast.parse(Path(str(import_module(module).__file__)).read_text())


def exported(door: str) -> list[str]:
    names: list[str] = import_module(door).__all__
    return names


def test_every_public_module_of_the_package_is_a_door() -> None:
    files = (ROOT / "neurons" / "package").glob("*.py")
    assert {f"bettensor.{file.stem}" for file in files if not file.stem.startswith("_")} <= set(DOORS)


# --- what a door gives


@pytest.mark.parametrize("door", DOORS)
def test_every_name_of_a_door_is_there_once(door: str) -> None:
    module, names = import_module(door), exported(door)
    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not hasattr(module, name)] == []
    assert set(names) <= set(dir(module))


@pytest.mark.parametrize("door", LAZY)
def test_a_door_gives_at_run_time_what_type_checkers_see_and_no_more(door: str) -> None:
    (guarded,) = [node for node in tree_of(door).body if isinstance(node, ast.If) and node.orelse]
    seen = {
        str(node.module): sorted(alias.name for alias in node.names)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
    }
    (opened,) = guarded.orelse
    assert isinstance(opened, ast.Assign)
    assert isinstance(opened.value, ast.Call)
    homes = {module: sorted(names) for module, names in ast.literal_eval(opened.value.args[1]).items()}
    assert homes == seen
    assert sorted(name for names in homes.values() for name in names) == sorted(exported(door))


@pytest.mark.parametrize("door", PLAIN)
def test_a_module_that_is_a_door_exports_all_that_it_defines(door: str) -> None:
    assert sorted(exported(door)) == sorted(defined(tree_of(door)))


def defined(tree: ast.Module) -> Iterator[str]:
    """The public names that a module gives a meaning, variables of types aside."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names = [name]
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
                names = []
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def test_the_door_of_simulation_gives_what_is_imported_behind_it() -> None:
    behind = tree_of("bettensor.neurons.simulation")
    imported = [alias.name for node in behind.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(exported("bettensor.simulation")) == sorted(imported)


@pytest.mark.parametrize("door", LAZY)
def test_a_door_has_nothing_else(door: str) -> None:
    with pytest.raises(AttributeError, match=rf"module '{re.escape(door)}' has no attribute 'Nonsense'"):
        import_module(door).Nonsense  # noqa: B018


def test_every_actor_of_a_neuron_is_behind_the_door_of_actors() -> None:
    actors = {actor.__name__ for role in ACTORS.values() for actor in role}
    assert actors <= set(exported("bettensor.actors"))


@pytest.mark.parametrize("door", ["bettensor", "bettensor.actors", "bettensor.bus", "bettensor.models"])
def test_a_door_loads_nothing_before_a_name_is_used(door: str) -> None:
    code = f"import sys; before = set(sys.modules); import {door}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert loaded == {"bettensor", "bettensor._doors", door}
    assert "importlib.metadata" not in done.stdout


# --- who uses them


class Use(NamedTuple):
    """A name of ours that a page or an example asks for."""

    where: str
    module: str
    name: str


_PYTHON: Final = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CLASS_PATH: Final = re.compile(r"\b(bettensor(?:\.\w+)+):([A-Za-z_]\w*)")


def imports(source: str, where: str) -> Iterator[Use]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (Use(where, str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (Use(where, alias.name, "__all__") for alias in node.names)


def uses() -> Iterator[Use]:
    for page in PAGES:
        for block in _PYTHON.findall(page.read_text()):
            yield from imports(block, page.name)
    for example in EXAMPLES:
        if example.suffix == ".py":
            yield from imports(example.read_text(), example.name)
    for file in (*PAGES, *EXAMPLES):
        yield from (Use(file.name, module, name) for module, name in _CLASS_PATH.findall(file.read_text()))


def test_pages_and_examples_import_through_doors_alone() -> None:
    ours = [use for use in uses() if use.module.partition(".")[0] in ("bettensor", "bus", "actors", "neurons")]
    assert len(ours) > 20
    around = [use for use in ours if use.module not in DOORS or use.name not in (*exported(use.module), "__all__")]
    assert around == [], "import these through a door, or give them to one"


# --- names


def test_a_class_name_means_one_thing() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for layer in ("bus", "actors", "neurons"):
        for file in sorted((ROOT / layer).rglob("*.py")):
            if file == ROOT / "neurons" / "existing" / "program.py":
                continue  # another interpreter runs it, with bittensor's classes
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}, "give each class its own name"


@pytest.mark.parametrize(
    ("folder", "module", "instead"),
    [
        (".", "bus", "this is bettensor.bus: import it by that name, and not bus"),
        (".", "bus.events", "this is bettensor.bus: import it by that name, and not bus"),
        (".", "actors", "this is bettensor.actors: import it by that name, and not actors"),
        (".", "neurons", "this is bettensor.neurons: import it by that name, and not neurons"),
        (".", "neurons.package", "this is bettensor.neurons: import it by that name, and not neurons"),
        (".", "bettensor.neurons.package", "this is the package bettensor itself: import bettensor"),
        ("neurons", "package", "this is the package bettensor itself: import bettensor"),
        ("neurons", "bettensor.neurons.package", "this is the package bettensor itself: import bettensor"),
    ],
)
def test_a_folder_on_the_path_is_not_imported_a_second_time(folder: str, module: str, instead: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT / folder)!r}); import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == f"ImportError: {instead}"
