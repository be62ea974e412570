"""The plugin, as a subnet developer has it: pytest in a folder of his own, with nothing configured."""

from dataclasses import replace
from pathlib import Path

import pytest

from bettensor.neurons.pytest_plugin import SUFFIX
from bettensor.neurons.recordings.recording import Recording, saving
from tests.stories import RECORDINGS

STORY = "daily_limit_at_midnight.validator"


@pytest.fixture
def folder(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with one recording."""
    pytester.makefile(".ini", pytest="[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (pytester.path / f"story{SUFFIX}").write_bytes((RECORDINGS / f"{STORY}{SUFFIX}").read_bytes())
    return pytester


def run(folder: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return folder.runpytest_subprocess("-p", "no:cacheprovider", "--no-cov", *arguments)


def change_the_limit(folder: pytest.Pytester) -> Path:
    """The recording is as if it had been made under a higher limit, and its hashes fit."""
    file = folder.path / f"story{SUFFIX}"
    changed = folder.path / "changed"
    with Recording(file) as recording:
        settings = recording.header.settings | {"actors": {"prediction": {"daily_wager_limit": 9.0}}}
        header = replace(recording.header, settings=settings)
        with saving(changed, header) as record:
            Recording(file).replay(record)
    changed.replace(file)
    return file


def test_a_recording_is_a_test(folder: pytest.Pytester) -> None:
    result = run(folder, "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"story{SUFFIX}::replay PASSED*"])


@pytest.mark.slow
@pytest.mark.parametrize("spread", [(), ("-n", "1")], ids=["here", "in another process"])
def test_another_decision_fails_with_a_difference_to_read_and_can_be_accepted(
    folder: pytest.Pytester, spread: tuple[str, ...]
) -> None:
    file = change_the_limit(folder)
    before = file.read_bytes()
    result = run(folder)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*decided otherwise at seq *",
            "*send_requested, recorded -> replayed:",
            "*message.miner_stats.daily_limit: 10.0 -> 9.0",
            "*its causes, the first one first:",
            "*If this is meant: pytest --recordings-update",
        ]
    )
    assert file.read_bytes() == before
    result = run(folder, "--recordings-update", *spread)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"accepted: story{SUFFIX}: decided otherwise at *"])
    run(folder).assert_outcomes(passed=1)


def test_what_is_no_recording_fails_with_what_it_is(folder: pytest.Pytester) -> None:
    (folder.path / f"other{SUFFIX}").write_text("{}\n")
    result = run(folder)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"*other{SUFFIX}: line 1: not an event log of this project*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.slow
def test_a_recording_imports_only_what_was_named(folder: pytest.Pytester) -> None:
    file = folder.path / f"story{SUFFIX}"
    with Recording(file) as recording, saving(folder.path / "changed", recording.header) as record:
        recording.replay(record)
    with Recording(folder.path / "changed") as recording:
        header = replace(recording.header, modules=("bulletins",))
    with saving(file, header) as record:
        Recording(folder.path / "changed").replay(record)
    folder.makepyfile(bulletins="from pathlib import Path\nPath(__file__).with_name('ran').touch()")
    result = run(folder)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*does not import by itself: add --import bulletins *(pytest: --recordings-import)*"])
    assert not (folder.path / "ran").exists()
    run(folder, "--recordings-import", "bulletins").assert_outcomes(passed=1)
    assert (folder.path / "ran").exists()
    run(folder, "-o", "recordings_import=bulletins").assert_outcomes(passed=1)


def test_the_fixtures(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        test_mine=f"""
        import pytest

        from bettensor.bus import EventBus, ManualClock
        from bettensor.bus.events import CommitRequested, PredictionRejected, TimerFired
        from bettensor.neurons.simulation import SimulatedMiner

        def test_log(event_log):
            EventBus(ManualClock(), record=event_log.append).publish(TimerFired("me", "now", None))
            assert event_log.last(TimerFired).owner == "me"

        def test_replay(replay):
            log = replay("story{SUFFIX}")
            assert log.last(PredictionRejected).code == "daily_limit_exceeded"

        def test_neuron(replay):
            miner = SimulatedMiner()
            miner.start()
            assert replay(miner).envelopes == miner.envelopes

        def test_what_if(replay):
            log = replay("story{SUFFIX}", instead={{"prediction": "test_mine:Strict"}})
            codes = [p.code for commit in log.all(CommitRequested) for p in commit.proposals]
            assert codes == ["invalid_wager"] * 3

        def test_fails(replay):
            replay("changed{SUFFIX}")

        from dataclasses import replace as change
        from bettensor.actors.validator.prediction import PredictionActor
        from bettensor.bus.codes import VerdictCode

        class Strict(PredictionActor):
            def judge(self, event, mono):
                return change(super().judge(event, mono), code=VerdictCode.INVALID_WAGER, wager=0)
        """
    )
    (folder.path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\npythonpath = .\n")
    kept = (folder.path / f"story{SUFFIX}").read_bytes()
    change_the_limit(folder).rename(folder.path / f"changed{SUFFIX}")
    (folder.path / f"story{SUFFIX}").write_bytes(kept)
    result = run(folder)
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines([f"changed{SUFFIX}: decided otherwise at seq *"])


def test_the_plugin_loads_nothing_of_ours_before_it_is_needed(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import sys

        def test_light():
            assert not {"bettensor.bus", "bettensor.actors", "bettensor.neurons.launch", "bittensor"} & set(sys.modules)
        """
    )
    (folder.path / f"story{SUFFIX}").unlink()
    run(folder).assert_outcomes(passed=1)
