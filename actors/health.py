"""Whether a validator works: its disk, clock, metagraph and games; for all who ask (protocol, "HTTP exchanges").

Verdicts and the game stream are in one file, so the answers to either can show that the disk fails.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from bettensor.actors.actor import Actor, on
from bettensor.actors.settings import AxonTlsSettings
from bettensor.bus.addresses import is_local
from bettensor.bus.bus import CLOCK_WINDOW
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ClockStepped,
    CommitFailed,
    CommitRequested,
    FeedFailed,
    GamesFetched,
    HttpRequestReceived,
    MetagraphSynced,
    NeuronStarted,
    PredictionsStored,
    UpdateStored,
    UpdateStoreFailed,
)
from bettensor.bus.identifiers import SECOND, Micros

Status = Literal["online", "degraded", "offline"]
HEALTH_PATH: Final = "/ws/health"
SLOW_COMMIT = Micros(SECOND)
"""A commit that takes this long, or has been running for so long, is trouble: a healthy disk takes milliseconds."""
MEMORY = Micros(10 * SECOND)
"""For how long a slow commit counts."""


def asks_for_health(method: str, target: str) -> bool:
    """Whether a request is for the health of a validator; with another method it is refused like any other."""
    path, _, _ = target.partition("?")
    return path == HEALTH_PATH and method in ("GET", "HEAD")


def lacks_tls(request: HttpRequestReceived, tls: AxonTlsSettings) -> bool:
    """Whether ``request`` is plain where TLS is required; programs of this machine may ask for the health plainly."""
    if not tls.required or request.tls_key:
        return False
    return not (asks_for_health(request.method, request.target) and is_local(request.remote))


@dataclass(slots=True)
class Disk:
    """The commit that runs, and how the last commit and the last update ended."""

    fails: bool = False
    """The last commit failed."""
    update_fails: bool = False
    """The last update of the game stream could not be stored."""
    slow_until: Micros = Micros(0)
    """A slow commit counts until then; the next one, which could show that all is well, may be long in coming."""
    began_at: Micros | None = None
    """When the commit that runs was asked for; monotonic."""

    def begin(self, now: Micros) -> None:
        """A commit is asked for."""
        self.began_at = now

    def end(self, now: Micros, *, failed: bool) -> Micros:
        """The commit has its answer; returns how long it took."""
        took = Micros(0 if self.began_at is None else now - self.began_at)
        self.fails, self.began_at = failed, None
        if took >= SLOW_COMMIT:
            self.slow_until = Micros(now + MEMORY)
        return took

    def in_trouble(self, now: Micros) -> bool:
        """Whether a miner must expect no verdict, a late one, or an old slate."""
        runs_long = self.began_at is not None and now - self.began_at >= SLOW_COMMIT
        return self.fails or self.update_fails or runs_long or now < self.slow_until


@dataclass(slots=True)
class Health:
    """The parts of the neuron's health: its disk, its clock, its games, and whether it knows its subnet."""

    disk: Disk = field(default_factory=Disk)
    degraded_until: Micros = Micros(0)
    """A step of the wall clock counts until then: meanwhile nothing is judged. Monotonic."""
    knows_metagraph: bool = False
    """The metagraph has been read, now or in an earlier run: until then a validator admits no miner, and a miner has no
    validator."""
    feed_fault: str = ""
    """Why the games cannot be read, so that the slate in force has old odds, or there is none."""
    is_of_0_1: bool = False
    """The run is of release 0.1.0, in which neither metagraph nor games counted."""

    def status(self, now: Micros, *, stopping: bool) -> Status:
        """Offline if the validator is ``stopping``; degraded if a miner must expect no verdict, a late one, or one by
        an old slate."""
        if stopping:
            return "offline"
        mistrusts_clock = now < self.degraded_until
        feed_fails = bool(self.feed_fault) and not self.is_of_0_1
        works = self.knows_metagraph and not (self.disk.in_trouble(now) or mistrusts_clock or feed_fails)
        return "online" if works else "degraded"


class HealthWatcher(Actor):
    """Base of actors that need the validator's health, in ``state.health``."""

    @on(NeuronStarted)
    def begin_health(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.health.is_of_0_1 = self.state.health.knows_metagraph = event.is_of_0_1

    @on(CommitRequested)
    def watch_disk(self, _: CommitRequested, envelope: Envelope) -> None:
        self.state.health.disk.begin(envelope.mono)

    @on(PredictionsStored, CommitFailed)
    def judge_disk(self, event: PredictionsStored | CommitFailed, envelope: Envelope) -> None:
        took = self.state.health.disk.end(envelope.mono, failed=isinstance(event, CommitFailed))
        if isinstance(event, PredictionsStored):
            self._committed(took, envelope)

    @on(UpdateStored, UpdateStoreFailed)
    def judge_updates(self, event: UpdateStored | UpdateStoreFailed, _: Envelope) -> None:
        self.state.health.disk.update_fails = isinstance(event, UpdateStoreFailed)

    @on(ClockStepped)
    def mistrust_clock(self, _: ClockStepped, envelope: Envelope) -> None:
        self.state.health.degraded_until = Micros(envelope.mono + CLOCK_WINDOW)

    @on(MetagraphSynced)
    def know_subnet(self, _: MetagraphSynced, __: Envelope) -> None:
        self.state.health.knows_metagraph = True

    @on(FeedFailed, GamesFetched)
    def judge_feed(self, event: FeedFailed | GamesFetched, envelope: Envelope) -> None:
        health, fault = self.state.health, event.reason if isinstance(event, FeedFailed) else event.fault
        before, health.feed_fault = health.feed_fault, fault
        if isinstance(event, FeedFailed) or fault not in ("", before):
            self._feed_failed(event, envelope)
        elif before and not fault:
            self._feed_recovered(envelope)

    def _feed_failed(self, event: FeedFailed | GamesFetched, envelope: Envelope) -> None:
        """The feed fails, for a reason that is news. For a subclass that says so."""

    def _feed_recovered(self, envelope: Envelope) -> None:
        """The games can be read again. For a subclass that says so."""

    def _committed(self, took: Micros, envelope: Envelope) -> None:
        """A commit took so long, and succeeded. For a subclass that says so."""
