"""Which validators a miner wants, and how it spaces its tries."""

from statistics import mean
from typing import Any

import pytest

from bettensor.actors.miner.targets import is_wanted, uniform, wanted
from bettensor.bus.events import MetagraphSynced, NeuronInfo
from bettensor.bus.identifiers import Hotkey, Uid
from tests.support import make_hotkey

ME, CHOSEN, OTHER = make_hotkey("me"), make_hotkey("chosen"), make_hotkey("other")


def neuron(hotkey: Hotkey = OTHER, **changes: Any) -> NeuronInfo:
    facts: dict[str, Any] = {"validator_permit": True, "axon": "10.0.0.1:8091"}
    return NeuronInfo(Uid(0), hotkey, **(facts | changes))


def hotkeys(*neurons: NeuronInfo, chosen: tuple[str, ...] = ()) -> list[Hotkey]:
    return [found.hotkey for found, _ in wanted(MetagraphSynced(neurons), chosen, ME)]


def test_where_nobody_is_chosen_all_with_a_permit_are_wanted() -> None:
    assert hotkeys(neuron(CHOSEN), neuron(OTHER, validator_permit=False)) == [CHOSEN]


def test_the_chosen_ones_are_wanted_with_or_without_a_permit_and_nobody_else() -> None:
    assert hotkeys(neuron(CHOSEN, validator_permit=False), neuron(OTHER), chosen=(CHOSEN,)) == [CHOSEN]
    assert hotkeys(neuron(OTHER), chosen=(CHOSEN,)) == []


def test_a_validator_without_an_endpoint_cannot_be_reached_though_it_is_wanted() -> None:
    assert hotkeys(neuron(axon=None)) == []
    assert is_wanted(neuron(axon=None), ())


def test_a_miner_never_wants_itself() -> None:
    assert hotkeys(neuron(ME), chosen=(ME,)) == []


def test_each_comes_with_its_endpoint_in_the_order_of_the_metagraph() -> None:
    found = wanted(MetagraphSynced((neuron(OTHER, axon="a:1"), neuron(CHOSEN, axon="b:2"))), (), ME)
    assert [(row.hotkey, endpoint) for row, endpoint in found] == [(OTHER, "a:1"), (CHOSEN, "b:2")]


# --- jitter


def test_the_same_draw_of_the_same_seed_is_the_same() -> None:
    assert uniform(7, 3, 10.0) == uniform(7, 3, 10.0)
    assert len({uniform(7, draw, 10.0) for draw in range(100)} | {uniform(seed, 3, 10.0) for seed in range(100)}) == 199


@pytest.mark.parametrize("ceiling", [0.5, 300.0])
def test_draws_are_spread_evenly_below_their_ceiling(ceiling: float) -> None:
    draws = [uniform(2**64 - 1, draw, ceiling) for draw in range(2000)]
    assert 0 <= min(draws) < 0.01 * ceiling
    assert 0.99 * ceiling < max(draws) < ceiling
    assert mean(draws) == pytest.approx(ceiling / 2, rel=0.05)
    assert uniform(1, 1, 0.0) == 0.0
