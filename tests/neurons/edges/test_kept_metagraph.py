"""The metagraph on disk; that the chain's edge keeps and recalls it is tried in ``test_chain.py``."""

from pathlib import Path

import msgspec
import pytest

from bettensor.bus.events import MetagraphFetched, NeuronInfo
from bettensor.bus.identifiers import Uid
from bettensor.neurons.edges.kept_metagraph import KEPT, KeptMetagraph, read_kept
from tests.support import make_hotkey


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    kept = KeptMetagraph("30", MetagraphFetched((NeuronInfo(Uid(7), make_hotkey()),)))
    (tmp_path / KEPT).write_bytes(msgspec.json.encode(kept))
    assert read_kept(tmp_path / KEPT) == kept


def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_kept(tmp_path / KEPT)
    (tmp_path / KEPT).write_text("{}")
    with pytest.raises(msgspec.ValidationError, match="subnet"):
        read_kept(tmp_path / KEPT)
