"""Which validators a miner wants."""

from typing import Any

import pytest

from bettensor.actors.miner.targets import MAX_VALIDATORS, is_wanted, lack_of, wanted
from bettensor.bus.events import NeuronInfo
from bettensor.bus.identifiers import Hotkey, Uid
from tests.support import make_hotkey

ME, CHOSEN, OTHER = make_hotkey("me"), make_hotkey("chosen"), make_hotkey("other")


def neuron(hotkey: Hotkey = OTHER, **changes: Any) -> NeuronInfo:
    facts: dict[str, Any] = {"validator_permit": True, "axon": "10.0.0.1:8091"}
    return NeuronInfo(Uid(0), hotkey, **(facts | changes))


def hotkeys(*neurons: NeuronInfo, chosen: tuple[str, ...] = ()) -> list[Hotkey]:
    return [found.hotkey for found, _ in wanted(neurons, chosen, ME)]


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
    found = wanted((neuron(OTHER, axon="a:1"), neuron(CHOSEN, axon="b:2")), (), ME)
    assert [(row.hotkey, endpoint) for row, endpoint in found] == [(OTHER, "a:1"), (CHOSEN, "b:2")]


@pytest.mark.parametrize(
    ("neurons", "chosen", "reason", "cure"),
    [
        ((), (), "the metagraph is empty", "correct netuid"),
        ((neuron(validator_permit=False),), (), "none of the 1 neuron in the metagraph has a validator permit", "wait"),
        ((neuron(),), (CHOSEN,), "the metagraph has none of the 1 hotkey in `validators`", "correct the key"),
        ((neuron(ME),), (), "the only validator is this miner's own hotkey", "set wallet.hotkey to another hotkey"),
        ((neuron(ME),), (ME,), "the only validator is this miner's own hotkey", "set wallet.hotkey to another hotkey"),
        ((neuron(axon=None), neuron(ME)), (), f"no endpoint for 1 validator: {OTHER} (UID: 0)", "axon.external_ip"),
        ((neuron(axon=None),) * 4, (), "no endpoint for 4 validators: ", "axon.external_ip"),
    ],
)
def test_why_there_is_no_validator_is_told_with_its_cure(
    neurons: tuple[NeuronInfo, ...], chosen: tuple[str, ...], reason: str, cure: str
) -> None:
    lack = lack_of(neurons, chosen, ME)
    assert lack is not None
    assert reason in lack.reason
    assert cure in lack.cure
    assert lack.reason.endswith("...") == (len(neurons) > 3)


def test_nothing_is_lacking_if_one_validator_can_be_reached() -> None:
    assert lack_of((neuron(ME), neuron(OTHER, axon=None), neuron(CHOSEN)), (), ME) is None
    assert lack_of((neuron(ME),), (), None) is None


def test_of_more_validators_than_a_subnet_can_have_those_with_the_most_stake_are_wanted() -> None:
    crowd = [neuron(make_hotkey(f"v{number}"), stake=float(number)) for number in range(MAX_VALIDATORS + 10)]
    assert set(hotkeys(*crowd)) == {known.hotkey for known in crowd[10:]}
    assert hotkeys(*crowd[:MAX_VALIDATORS]) == [known.hotkey for known in crowd[:MAX_VALIDATORS]]
