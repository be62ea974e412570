"""When a validator is online, degraded or offline, in all actors that say so or need to know."""

from typing import Any

import pytest

from bettensor.actors.health import MEMORY, SLOW_COMMIT, Disk, Health, HealthWatcher, asks_for_health
from bettensor.actors.logbook import LogbookActor
from bettensor.actors.monitor import MonitorActor
from bettensor.actors.validator.connection import ValidatorConnectionActor
from bettensor.bus.bus import CLOCK_WINDOW
from bettensor.bus.events import (
    ClockStepped,
    CommitFailed,
    CommitRequested,
    Event,
    FeedFailed,
    GamesFetched,
    MetagraphSynced,
    NeuronStarted,
    PredictionsStored,
    UpdateStored,
    UpdateStoreFailed,
    WithheldGame,
)
from bettensor.bus.identifiers import SECOND, Epoch, Micros
from tests.support import NETUID, Harness, make_hotkey


@pytest.fixture(params=[ValidatorConnectionActor, MonitorActor, LogbookActor])
def watcher(request: pytest.FixtureRequest) -> HealthWatcher:
    watcher: HealthWatcher = request.param()
    return watcher


@pytest.fixture
def bench(watcher: HealthWatcher) -> Harness:
    """The watcher's bus, after the first reading of the metagraph."""
    bench = Harness(watcher)
    bench.observe(MetagraphSynced(()))
    return bench


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
    watcher: HealthWatcher, bench: Harness, failure: Event, success: Event
) -> None:
    assert status(watcher, bench) == "online"
    bench.observe(CommitRequested(()), failure)
    assert status(watcher, bench) == "degraded"
    bench.observe(success)
    assert status(watcher, bench) == "online"


def test_a_commit_that_failed_runs_no_longer(watcher: HealthWatcher, bench: Harness) -> None:
    bench.observe(CommitRequested(()), CommitFailed(1, "disk full"))
    assert watcher.state.health.disk.began_at is None


def test_a_slow_commit_degrades_while_it_runs_and_for_a_while_after_it(watcher: HealthWatcher, bench: Harness) -> None:
    bench.observe(CommitRequested(()))
    bench.advance(SLOW_COMMIT / SECOND)
    assert status(watcher, bench) == "degraded"
    bench.observe(PredictionsStored(1, ()))
    assert status(watcher, bench) == "degraded"
    bench.advance(MEMORY / SECOND)
    assert status(watcher, bench) == "online"


def test_a_step_of_the_clock_degrades_for_as_long_as_nothing_is_judged(watcher: HealthWatcher, bench: Harness) -> None:
    bench.observe(ClockStepped(Micros(-60 * SECOND)))
    assert status(watcher, bench) == "degraded"
    bench.advance(CLOCK_WINDOW / SECOND)
    assert status(watcher, bench) == "online"


def test_games_that_cannot_be_read_degrade_until_they_can(watcher: HealthWatcher, bench: Harness) -> None:
    bench.observe(FeedFailed("games.json", "not JSON"))
    assert status(watcher, bench) == "degraded"
    bench.advance(3600)
    assert status(watcher, bench) == "degraded"
    bench.observe(GamesFetched("games.json", (), (), Epoch("e" * 32)))
    assert status(watcher, bench) == "online"


def test_a_slate_of_a_feed_that_fails_ends_no_failure_and_begins_one(watcher: HealthWatcher, bench: Harness) -> None:
    slate = GamesFetched("The Odds API", (), (), Epoch("e" * 32), fault="500")
    for before in (FeedFailed("The Odds API", "500"), GamesFetched("The Odds API", (), (), Epoch("e" * 32))):
        bench.observe(before, slate)
        assert status(watcher, bench) == "degraded"


def test_a_withheld_game_degrades_nothing(watcher: HealthWatcher, bench: Harness) -> None:
    bench.observe(GamesFetched("games.json", (), (WithheldGame("g", "odds"),), Epoch("e" * 32)))
    assert status(watcher, bench) == "online"


def test_before_the_first_reading_of_the_metagraph_a_neuron_is_degraded(watcher: HealthWatcher) -> None:
    bench = Harness(watcher)
    assert status(watcher, bench) == "degraded"
    bench.observe(MetagraphSynced(()))  # an empty one is one, too
    assert status(watcher, bench) == "online"


def test_a_validator_that_stops_is_offline_however_it_does(watcher: HealthWatcher, bench: Harness) -> None:
    bench.observe(CommitRequested(()), CommitFailed(1, "disk full"))
    assert status(watcher, bench, stopping=True) == "offline"


# --- the disk, and the one request that needs no signature

NOON = Micros(10**12)


def later(by: int) -> Micros:
    return Micros(NOON + by)


@pytest.mark.parametrize("target", ["/ws/health", "/ws/health?", "/ws/health?from=monitoring"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_is_asked_for_by_its_path_whatever_the_query(method: str, target: str) -> None:
    assert asks_for_health(method, target)


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "/ws/health"), ("get", "/ws/health"), ("GET", "/ws/health/"), ("GET", "/ws"), ("GET", "/?/ws/health")],
)
def test_anything_else_is_not(method: str, target: str) -> None:
    assert not asks_for_health(method, target)


def test_a_disk_that_has_done_nothing_is_in_no_trouble() -> None:
    assert not Disk().in_trouble(NOON)


def test_a_commit_that_runs_is_trouble_only_if_it_runs_long() -> None:
    disk = Disk()
    disk.begin(NOON)
    assert not disk.in_trouble(later(SLOW_COMMIT - 1))
    assert disk.in_trouble(later(SLOW_COMMIT))


def test_a_slow_commit_is_trouble_for_a_while_though_it_has_ended() -> None:
    disk = Disk()
    disk.begin(NOON)
    assert disk.end(later(SLOW_COMMIT), failed=False) == SLOW_COMMIT
    assert disk.in_trouble(later(SLOW_COMMIT + MEMORY - 1))
    assert not disk.in_trouble(later(SLOW_COMMIT + MEMORY))


def test_a_quick_commit_does_not_make_a_slow_one_before_it_forgotten() -> None:
    disk = Disk()
    disk.begin(NOON)
    disk.end(later(SLOW_COMMIT), failed=False)
    disk.begin(later(SLOW_COMMIT))
    assert disk.end(later(SLOW_COMMIT + 1), failed=False) == 1
    assert disk.in_trouble(later(SLOW_COMMIT + 1))


def test_a_failed_commit_is_trouble_until_one_succeeds() -> None:
    disk = Disk()
    disk.begin(NOON)
    disk.end(NOON, failed=True)
    assert disk.in_trouble(later(10**9))
    disk.begin(NOON)
    disk.end(NOON, failed=False)
    assert not disk.in_trouble(NOON)


def test_an_update_that_cannot_be_stored_is_trouble_whatever_commits_do() -> None:
    disk = Disk(update_fails=True)
    disk.begin(NOON)
    disk.end(NOON, failed=False)
    assert disk.in_trouble(NOON)


def test_an_answer_to_a_commit_that_nobody_saw_begin_took_no_time() -> None:
    """As after a checkpoint that was taken while one ran."""
    disk: Any = Disk()
    assert disk.end(NOON, failed=False) == 0
    assert not disk.in_trouble(NOON)


def test_in_release_0_1_0_neither_metagraph_nor_games_counted(watcher: HealthWatcher) -> None:
    bench = Harness(watcher)
    bench.observe(NeuronStarted("validator", NETUID, make_hotkey("validator"), "sr25519", 0, is_of_0_1=True))
    bench.observe(FeedFailed("games.json", "not JSON"))
    assert status(watcher, bench) == "online"
