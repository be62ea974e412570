"""A running validator, for the tests that need no special one; and the proof that all that happened replays."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from bettensor.neurons.edges.recorder import Recorder
from bettensor.neurons.neuron import Neuron
from bettensor.neurons.recordings.audit import audit
from bettensor.neurons.recordings.recording import Recording, log_files
from bettensor.neurons.recordings.text import explain_replay
from tests.loopback.rig import Rig, running_validator

FOLDER: Final = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as slow; pytest calls the hook with the tests of all folders."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_validator(tmp_path) as rig:
        yield rig


@pytest.fixture(autouse=True)
def files_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Neuron, "settle", 0.1)


@pytest.fixture(autouse=True)
def every_recording_replays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # what a test replaced stays replaced until all is replayed
) -> Iterator[None]:
    """Whatever a test of this folder does: each neuron that it ran has a log of all, and decides the same again."""
    lost: list[str] = []
    monkeypatch.setattr(Recorder, "_give_up", lambda _, reason, **__: lost.append(reason))
    yield
    assert lost == []
    for folder in sorted({log.parent for log in tmp_path.rglob("events.*jsonl")}):
        for file in log_files(folder):
            with Recording(file) as recording:
                ours = recording.header.modules  # the test's own
                actors = recording.header.settings.get("actors", {}).values()
            classes = [str(actor.get("class", "")).partition(":")[0] for actor in actors]
            replayed = Recording(file, imports=[*ours, *filter(None, classes)]).replay()
            assert replayed.equal, f"{file}: {explain_replay(replayed)}"
        assert audit(log_files(folder)).faults == []
