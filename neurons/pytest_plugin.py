"""Lets pytest replay recordings; it is installed with the package, and needs no configuration.

- Each ``*.recording.jsonl`` beside the tests is a test: all its decisions are made again, and must be equal.
- ``--recordings-update`` accepts the present decisions; look at the difference in version control before you commit it.
- ``--recordings-import MODULE``, or ``recordings_import = MODULE ...`` in pytest's configuration, allows a module to be
  imported if a recording was made with actors, events or messages of it. Any other is only used if a test or
  ``conftest.py`` has imported it: a recording may be somebody else's.
- ``event_log``: a fixture that remembers the events on a bus of your own.
- ``replay``: a fixture that replays a recording, or the life of a simulated neuron.

Imports nothing of this project before it is used, because pytest always loads plugins.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bettensor.neurons.simulation import EventLog, SimulatedNeuron

SUFFIX = ".recording.jsonl"
IMPORT = "a module that may be imported if a recording was made with code of it"
ACCEPTED = "accepted"
"""The property of a test's report that names an accepted file; reports may come from processes of pytest-xdist."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--recordings-update``."""
    group = parser.getgroup("bettensor", "recordings of neurons")
    group.addoption("--recordings-update", action="store_true", help=f"accept what *{SUFFIX} files decide now")
    group.addoption("--recordings-import", action="append", default=[], metavar="MODULE", help=IMPORT)
    parser.addini("recordings_import", IMPORT, type="args", default=[])


def _imports(config: pytest.Config) -> list[str]:
    """The modules that recordings may import."""
    return [*config.getoption("--recordings-import"), *config.getini("recordings_import")]


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> "RecordingFile | None":
    """Collect recordings as tests."""
    if file_path.name.endswith(SUFFIX):
        file: RecordingFile = RecordingFile.from_parent(parent, path=file_path)
        return file
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the accepted recordings."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == ACCEPTED:
                terminalreporter.write_line(f"accepted: {value}", yellow=True)


class RecordingDiffers(Exception):
    """A replay of a recording decides something else."""


class RecordingFile(pytest.File):
    """One recording, as a file of tests."""

    def collect(self) -> "Iterator[RecordingItem]":
        """Yield its one test, the replay."""
        yield RecordingItem.from_parent(self, name="replay")


class RecordingItem(pytest.Item):
    """The replay of one recording."""

    def runtest(self) -> None:
        """
        Raises:
            RecordingDiffers: a decision differs.
        """
        difference = _difference(self.path, _imports(self.config))
        if difference is None:
            return
        if not self.config.getoption("--recordings-update"):
            raise RecordingDiffers(difference)
        _accept(self.path, _imports(self.config))
        self.user_properties.append((ACCEPTED, f"{self.path.name}: {difference}"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:  # noqa: ARG002 - pytest says so
        """The difference, without a traceback."""
        from bettensor.bus.errors import BettensorError

        if isinstance(excinfo.value, RecordingDiffers):
            return f"{excinfo.value}\n\nIf this is meant: pytest --recordings-update"
        if isinstance(excinfo.value, BettensorError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Its location in reports."""
        return self.path, None, self.path.name


def _difference(file: Path, imports: Collection[str]) -> str | None:
    from bettensor.neurons.recordings.recording import Recording
    from bettensor.neurons.recordings.text import explain_replay

    replayed = Recording(file, imports=imports).replay()
    return None if replayed.equal else f"decided otherwise {explain_replay(replayed)}"


def _accept(file: Path, imports: Collection[str]) -> None:
    from bettensor.neurons.recordings.recording import Recording, saving

    recording = Recording(file, imports=imports)
    with saving(file, recording.header, recording.reader.checkpoint) as record:
        recording.replay(record)


@pytest.fixture
def event_log() -> "EventLog":
    """An empty ``EventLog``: ``EventBus(ManualClock(), record=event_log.append)``."""
    from bettensor.neurons.simulation import EventLog

    return EventLog()


Replay = Callable[..., "EventLog"]


@pytest.fixture
def replay(request: pytest.FixtureRequest, tmp_path: Path) -> Replay:
    """Replay a recording (relative to the test's file), or the life of a simulated neuron.

    Fails the test if a decision differs. Returns all events of the replay. ``instead`` maps names of actors to
    ``module:Class`` of replacements; with it, nothing is compared.
    """
    imports = _imports(request.config)

    def decide_again(source: "str | Path | SimulatedNeuron", *, instead: Mapping[str, str] | None = None) -> "EventLog":
        from bettensor.neurons.recordings.recording import Recording
        from bettensor.neurons.recordings.text import explain_replay
        from bettensor.neurons.simulation import EventLog

        if isinstance(source, str | Path):
            file = request.path.parent / source
        else:
            file = tmp_path / f"{source.hotkey}{SUFFIX}"
            source.save(file)
        log = EventLog()
        if instead is not None:
            Recording(file, imports=imports).what_if(instead, log.append)
            return log
        replayed = Recording(file, imports=imports).replay(log.append)
        if not replayed.equal:
            pytest.fail(f"{file.name}: decided otherwise {explain_replay(replayed)}", pytrace=False)
        return log

    return decide_again
