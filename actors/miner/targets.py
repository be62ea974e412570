"""The validators that a miner connects to, for dialling and for the HTTP fallback."""

from collections.abc import Iterator

from bettensor.bus.events import MetagraphSynced, NeuronInfo
from bettensor.bus.identifiers import Hotkey


def wanted(event: MetagraphSynced, chosen: tuple[str, ...], own: Hotkey) -> Iterator[tuple[NeuronInfo, str]]:
    """Each validator to talk to, with its endpoint: the chosen ones, or all with a permit."""
    for neuron in event.neurons:
        if is_wanted(neuron, chosen) and neuron.axon is not None and neuron.hotkey != own:
            yield neuron, neuron.axon


def is_wanted(neuron: NeuronInfo, chosen: tuple[str, ...]) -> bool:
    """Whether a miner connects to ``neuron``: it is in ``validators``, or that list is empty and it has a permit."""
    return neuron.hotkey in chosen if chosen else neuron.validator_permit
