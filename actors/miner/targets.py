"""The validators that a miner connects to, for dialling and for the HTTP fallback; or why there is none."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from bettensor.actors.cures import ANNOUNCE
from bettensor.bus.events import NeuronInfo
from bettensor.bus.identifiers import Hotkey
from bettensor.bus.text import counted

MAX_VALIDATORS: Final = 256
"""Validators that are dialled: a subnet has no more neurons. Of a metagraph with more, those with the most stake."""


class Lack(NamedTuple):
    """Why a miner has no validator to connect to, and the cure."""

    reason: str
    cure: str


def wanted(neurons: Iterable[NeuronInfo], chosen: Sequence[str], own: Hotkey) -> Iterator[tuple[NeuronInfo, str]]:
    """Each validator to talk to, with its endpoint: the chosen ones, or all with a permit, up to ``MAX_VALIDATORS``."""
    found = [
        (neuron, neuron.axon)
        for neuron in neurons
        if is_wanted(neuron, chosen) and neuron.axon is not None and neuron.hotkey != own
    ]
    if len(found) > MAX_VALIDATORS:
        found = sorted(found, key=lambda target: -target[0].stake)[:MAX_VALIDATORS]
    yield from found


def is_wanted(neuron: NeuronInfo, chosen: Sequence[str]) -> bool:
    """Whether a miner connects to ``neuron``: it is in ``validators``, or that list is empty and it has a permit."""
    return neuron.hotkey in chosen if chosen else neuron.validator_permit


def lack_of(neurons: Sequence[NeuronInfo], chosen: Sequence[str], own: str | None) -> Lack | None:
    """Why none of ``neurons`` is a validator to talk to; None if one is.

    Args:
        neurons: the metagraph.
        chosen: the miner's key ``validators``.
        own: the miner's hotkey; None if it is not known.
    """
    candidates = [neuron for neuron in neurons if is_wanted(neuron, chosen)]
    others = [neuron for neuron in candidates if neuron.hotkey != own]
    if any(neuron.axon is not None for neuron in others):
        return None
    if others:
        count = counted(len(others), "validator")
        return Lack(f"the metagraph has no endpoint for {count}: {_named(others)}", f"{ANNOUNCE}; in a file, set axon")
    if candidates:
        return Lack("the only validator is this miner's own hotkey", "set wallet.hotkey to another hotkey")
    if not neurons:
        return Lack("the metagraph is empty", "correct netuid and subtensor.network, or the metagraph file")
    if chosen:
        text = f"the metagraph has none of the {counted(len(chosen), 'hotkey')} in `validators`"
        return Lack(text, "correct the key `validators`")
    text = f"none of the {counted(len(neurons), 'neuron')} in the metagraph has a validator permit"
    return Lack(text, "wait until one has a permit, or list one in `validators`")


def _named(neurons: Sequence[NeuronInfo]) -> str:
    few = ", ".join(f"{neuron.hotkey} (UID: {neuron.uid})" for neuron in neurons[:3])
    return few if len(neurons) <= 3 else f"{few}, ..."
