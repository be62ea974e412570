"""The last good metagraph of the chain, which a neuron keeps in its state_dir."""

from pathlib import Path
from typing import Final

import msgspec

from bettensor.bus.events import MetagraphFetched
from bettensor.neurons.system.files import read_file

KEPT: Final = "metagraph.json"
"""The file's name."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the file: a neuron of the chain takes 200, and a subnet has at most 65,536."""


class KeptMetagraph(msgspec.Struct):
    """The content of the file."""

    subnet: str
    """The chain and the netuid."""
    metagraph: MetagraphFetched


def read_kept(file: Path) -> KeptMetagraph:
    """The content of ``file``.

    Raises:
        FileNotFoundError: no metagraph is kept yet.
        OSError: it cannot be read.
        msgspec.MsgspecError, RecursionError, ValueError: it is damaged, too large, or no regular file.
    """
    return msgspec.json.decode(read_file(file, MOST_BYTES), type=KeptMetagraph)
