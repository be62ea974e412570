"""The metagraph on this machine: of the configuration first, else the one that the neuron has kept."""

from pathlib import Path

import msgspec
import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import MetagraphFetched, NeuronInfo
from bettensor.bus.identifiers import Uid
from bettensor.neurons.edges.kept_metagraph import KEPT, KeptMetagraph
from bettensor.neurons.existing.metagraphs import local_neurons
from tests.neurons.existing.databases import ALICE, BOB


def test_the_file_of_the_configuration_comes_before_the_kept_one(tmp_path: Path) -> None:
    assert local_neurons(tmp_path, None) == ()
    kept = (NeuronInfo(Uid(7), BOB),)
    (tmp_path / KEPT).write_bytes(msgspec.json.encode(KeptMetagraph("30", MetagraphFetched(kept))))
    assert local_neurons(tmp_path, None) == kept
    static = tmp_path / "metagraph.yaml"
    static.write_text(f"neurons: [{{hotkey: {ALICE}}}]")
    assert [neuron.hotkey for neuron in local_neurons(tmp_path, static)] == [ALICE]


def test_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / KEPT).write_text("{")
    with pytest.raises(ConfigurationError, match=rf"{KEPT}: cannot be read"):
        local_neurons(tmp_path, None)
