"""The metagraph that a neuron has on this machine: the file that its configuration names, or the chain's last one."""

from pathlib import Path

import msgspec

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import NeuronInfo
from bettensor.neurons.edges.kept_metagraph import KEPT, read_kept
from bettensor.neurons.edges.static_files import read_metagraph


def local_neurons(state_dir: Path, static: Path | None) -> tuple[NeuronInfo, ...]:
    """The neurons of the subnet; none if this machine has no metagraph yet.

    Args:
        state_dir: the neuron's folder.
        static: the metagraph file that its configuration names.

    Raises:
        ConfigurationError: a metagraph cannot be read.
    """
    if static is not None:
        return read_metagraph(static).contents.neurons
    try:
        return read_kept(state_dir / KEPT).metagraph.neurons
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ConfigurationError(f"{state_dir / KEPT}: cannot be read: {error}") from None
