"""The configuration as a commented file: every key is there, with what the source says of it."""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, get_args

import pytest
import yaml

from bettensor.bus.events import Role
from bettensor.neurons.cli.config_file import MODELS, commented_defaults, field_docs
from bettensor.neurons.composition import ACTORS
from bettensor.neurons.config.plugins import load
from bettensor.neurons.config.settings import ROLES

ROLE = pytest.mark.parametrize("role", get_args(Role))


@dataclass
class Base:
    first: int = 1
    """The first,
    on two lines."""
    second: int = 2


@dataclass
class Longer(Base):
    second: int = 3
    """Told again."""
    third: int = 4
    "not" + " a docstring"  # noqa: B018 - which is what is tested


def test_what_stands_below_a_field_is_its_documentation_also_in_a_base() -> None:
    assert field_docs(Base) == {"first": "The first, on two lines."}
    assert field_docs(Longer) == {"first": "The first, on two lines.", "second": "Told again."}


@ROLE
def test_every_section_and_key_of_the_role_is_there(role: Role) -> None:
    document = yaml.safe_load(commented_defaults(role))
    assert set(document) == {field.name for field in fields(ROLES[role])}
    assert set(document["actors"]) <= {actor.name for actor in ACTORS[role]} | {"predictor"}


@ROLE
def test_every_key_is_explained(role: Role) -> None:
    lines = commented_defaults(role).splitlines()
    for before, line in pairwise(lines):
        key, colon, value = line.strip().partition(":")
        if colon and value.strip() and key.isidentifier():
            assert before.lstrip().startswith("#"), line


@ROLE
def test_no_line_is_wider_than_a_page(role: Role) -> None:
    assert [line for line in commented_defaults(role).splitlines() if line.startswith("#") and len(line) > 120] == []


@pytest.mark.parametrize(("model", "name"), MODELS.items())
def test_every_model_is_offered_by_the_name_that_loads_it(model: type[Any], name: str) -> None:
    assert load(name, "test") is model
    offered = commented_defaults("miner")
    assert f"class: {name}" in offered
    assert all(f" {field.name}: " in offered for field in fields(model.Settings))


def test_only_the_default_model_is_no_comment() -> None:
    document = yaml.safe_load(commented_defaults("miner"))
    default, *_ = MODELS.values()
    assert document["actors"]["predictor"]["class"] == default


def test_a_validator_has_no_model() -> None:
    assert "predictor" not in commented_defaults("validator")
