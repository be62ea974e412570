"""The last good metagraph of the chain, which a neuron keeps in its state_dir."""

from pathlib import Path
from typing import Final

import msgspec

from bettensor.bus.events import MetagraphFetched

KEPT: Final = "metagraph.json"
"""The file's name."""


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
        msgspec.MsgspecError, ValueError: it is damaged.
    """
    return msgspec.json.decode(file.read_bytes(), type=KeptMetagraph)
