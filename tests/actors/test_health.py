"""When a validator is online, degraded or offline, in all actors that say so or need to know."""

import pytest

from bettensor.actors.health import MEMORY, SLOW_COMMIT, Health, HealthWatcher
from bettensor.actors.logbook import LogbookActor
from bettensor.actors.monitor import MonitorActor
from bettensor.actors.validator.connection import ValidatorConnectionActor
from bettensor.bus.bus import CLOCK_WINDOW
from bettensor.bus.events import (
    ClockStepped,
    CommitFailed,
    CommitRequested,
    Event,
    PredictionsStored,
    UpdateStored,
    UpdateStoreFailed,
)
from bettensor.bus.identifiers import SECOND, Micros
from tests.support import Harness


@pytest.fixture(params=[ValidatorConnectionActor, MonitorActor, LogbookActor])
def watcher(request: pytest.FixtureRequest) -> HealthWatcher:
    watcher: HealthWatcher = request.param()
    return watcher


def status(watcher: HealthWatcher, bench: Harness, *, stopping: bool = False) -> str:
    health: Health = watcher.state.health
    return health.status(bench.clock.mono(), stopping=stopping)


@pytest.mark.parametrize(
    ("failure", "success"),
    [
        (CommitFailed(1, "disk full"), PredictionsStored(2, ())),
        (UpdateStoreFailed("disk full"), UpdateStored(())),
    ],
)
def test_a_disk_that_fails_degrades_until_it_stores_again(
    watcher: HealthWatcher, failure: Event, success: Event
) -> None:
    bench = Harness(watcher)
    assert status(watcher, bench) == "online"
    bench.observe(CommitRequested(()), failure)
    assert status(watcher, bench) == "degraded"
    bench.observe(success)
    assert status(watcher, bench) == "online"


def test_a_commit_that_failed_runs_no_longer(watcher: HealthWatcher) -> None:
    bench = Harness(watcher)
    bench.observe(CommitRequested(()), CommitFailed(1, "disk full"))
    assert watcher.state.health.disk.began_at is None


def test_a_slow_commit_degrades_while_it_runs_and_for_a_while_after_it(watcher: HealthWatcher) -> None:
    bench = Harness(watcher)
    bench.observe(CommitRequested(()))
    bench.advance(SLOW_COMMIT / SECOND)
    assert status(watcher, bench) == "degraded"
    bench.observe(PredictionsStored(1, ()))
    assert status(watcher, bench) == "degraded"
    bench.advance(MEMORY / SECOND)
    assert status(watcher, bench) == "online"


def test_a_step_of_the_clock_degrades_for_as_long_as_nothing_is_judged(watcher: HealthWatcher) -> None:
    bench = Harness(watcher)
    bench.observe(ClockStepped(Micros(-60 * SECOND)))
    assert status(watcher, bench) == "degraded"
    bench.advance(CLOCK_WINDOW / SECOND)
    assert status(watcher, bench) == "online"


def test_a_validator_that_stops_is_offline_however_it_does(watcher: HealthWatcher) -> None:
    bench = Harness(watcher)
    bench.observe(CommitRequested(()), CommitFailed(1, "disk full"))
    assert status(watcher, bench, stopping=True) == "offline"
