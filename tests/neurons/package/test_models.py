"""The public door to the models gives what it names, and each can be the model of a miner."""

from typing import Any

import pytest

import bettensor.models
from bettensor.neurons.cli.config_file import MODELS


def test_every_model_that_comes_with_the_package_is_there() -> None:
    assert {model.__name__ for model in MODELS} <= set(bettensor.models.__all__)


def test_what_is_named_is_there_and_nothing_else_of_ours() -> None:
    there = {
        name
        for name, value in vars(bettensor.models).items()
        if getattr(value, "__module__", "").startswith("bettensor")
    }
    assert there == set(bettensor.models.__all__)
    assert sorted(bettensor.models.__all__) == bettensor.models.__all__


@pytest.mark.parametrize("model", MODELS)
def test_each_is_a_model(model: type[Any]) -> None:
    assert callable(model.predict)
    assert isinstance(model.Settings, type)
