"""What can be measured: which runs are chosen, and whether a figure is what it has to be."""

from inspect import signature
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.bench.command import PARAMETERS
from bettensor.neurons.bench.scenarios import SCENARIOS, Bar, Scenario, Variant, find, flag

FIGURES = {"rate": 10, "latency_ms": {"p99": 5.0}}


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (Bar("rate", "at least", 10), True),
        (Bar("rate", "at least", 10.1), False),
        (Bar("rate", "at most", 10), True),
        (Bar("rate", "at most", 9.9), False),
        (Bar("latency_ms.p99", "at most", 5), True),
        (Bar("latency_ms.p99", "at least", 6), False),
    ],
)
def test_a_bar_that_is_just_reached_is_met(bar: Bar, met: bool) -> None:
    assert bar.is_met(FIGURES) is met


def test_a_figure_that_was_not_measured_is_no_figure() -> None:
    with pytest.raises(KeyError):
        Bar("latency_ms.p50", "at most", 5).is_met(FIGURES)


SCENARIO = Scenario(
    "x", "", lambda **_: {}, (Variant({"miners": 3}), Variant({"miners": 9}, (Bar("rate", "at least", 1),))), ("batch",)
)


def test_without_parameters_every_variant_is_run() -> None:
    assert SCENARIO.chosen({}) == SCENARIO.variants


def test_with_parameters_the_first_is_run_with_them_and_without_bars() -> None:
    assert SCENARIO.chosen({"batch": 2}) == (Variant({"miners": 3, "batch": 2}),)
    assert SCENARIO.chosen({"miners": 9}) == (Variant({"miners": 9}),)


def test_a_parameter_that_a_scenario_does_not_know_is_refused_with_those_it_does() -> None:
    with pytest.raises(ConfigurationError, match="bench x: there is no --verify-workers; it has --miners, --batch"):
        SCENARIO.chosen({"verify_workers": 1})
    with pytest.raises(ConfigurationError, match="bench start: there is no --miners; it has no parameters"):
        SCENARIOS["start"].chosen({"miners": 1})


def test_scenarios_are_found_in_the_order_in_which_they_are_named() -> None:
    assert [scenario.name for scenario in find(["idle", "confirm", "idle"])] == ["idle", "confirm", "idle"]
    assert [scenario.name for scenario in find([])] == list(SCENARIOS)
    with pytest.raises(ConfigurationError, match="there is no scenario 'idel'; there are confirm, batch"):
        find(["confirm", "idel"])


def parameters(scenario: Scenario) -> set[str]:
    return {*scenario.more, *(name for variant in scenario.variants for name in variant.parameters)}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_parameter_is_an_option_of_the_command(scenario: Scenario) -> None:
    assert parameters(scenario) <= set(PARAMETERS)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_parameter_is_one_that_its_function_takes(scenario: Scenario) -> None:
    taken: Any = signature(scenario.run).parameters
    assert "given" in taken or parameters(scenario) == set(taken)


def test_an_option_is_written_with_hyphens() -> None:
    assert flag("verify_workers") == "--verify-workers"
