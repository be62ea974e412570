"""Modules of 0.1.0 by their names of today, held against the list of that release."""

from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

from bettensor.bus.moved import MOVED, current_module, current_name

LIST: Final = Path(__file__).parents[1] / "data" / "classes_of_0_1_0.txt"
"""Every module of 0.1.0 with its public classes."""
CLASSES: Final = {
    module: classes.split() for module, _, classes in (line.partition(":") for line in LIST.read_text().splitlines())
}
CONFIGURED: Final = [
    f"{module}:{name}"
    for module, names in CLASSES.items()
    for name in names
    if (module.startswith("actors.") and name.endswith("Actor") and name != "ConnectionActor")
    or (module.startswith("neurons.") and name in ("FilePredictor", "KellyPredictor", "ProgramPredictor"))
]
"""What a configuration of 0.1.0 may name: the actors, a base class aside, and the models."""


@pytest.mark.parametrize("module", CLASSES)
def test_every_module_of_0_1_0_has_a_place_today(module: str) -> None:
    today = current_module(module)
    assert today is not None
    import_module(today)


@pytest.mark.parametrize("path", CONFIGURED)
def test_every_actor_and_model_of_0_1_0_is_behind_a_door(path: str) -> None:
    module, _, name = current_name(path).partition(":")
    assert module in ("bettensor.actors", "bettensor.models")
    assert getattr(import_module(module), name).__name__ == name


def test_the_list_is_whole() -> None:
    assert len(CLASSES) == 131
    assert len(CONFIGURED) == 22
    assert set(MOVED) <= set(CLASSES)


def test_the_names_of_other_people_stay() -> None:
    assert current_module("my_subnet.actors") is None
    assert current_name("my_subnet.actors:Mine") == "my_subnet.actors:Mine"
    assert current_name("actors.prediction") == "actors.prediction"
