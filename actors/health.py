"""Whether a validator works: the one request that needs no signature (protocol, "HTTP exchanges"), and its disk.

Verdicts and the game stream are in one file, so the answers to either can show that the disk fails.
"""

from dataclasses import dataclass
from typing import Final

from bettensor.actors.actor import Actor, on
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CommitFailed,
    CommitRequested,
    HttpRequestReceived,
    PredictionsStored,
    UpdateStored,
    UpdateStoreFailed,
)
from bettensor.bus.identifiers import SECOND, Micros

HEALTH_PATH: Final = "/ws/health"
SLOW_COMMIT = Micros(SECOND)
"""A commit that takes this long, or has been running for so long, is trouble: a healthy disk takes milliseconds."""
MEMORY = Micros(10 * SECOND)
"""For how long a slow commit counts."""


def asks_for_health(request: HttpRequestReceived) -> bool:
    """Whether ``request`` is for the health of a validator; with another method it is refused like any other."""
    path, _, _ = request.target.partition("?")
    return path == HEALTH_PATH and request.method in ("GET", "HEAD")


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


class DiskWatcher(Actor):
    """Base of actors that need to know how the disk does; ``state.disk`` says so."""

    @on(CommitRequested)
    def watch_disk(self, _: CommitRequested, envelope: Envelope) -> None:
        self.state.disk.begin(envelope.mono)

    @on(PredictionsStored, CommitFailed)
    def judge_disk(self, event: PredictionsStored | CommitFailed, envelope: Envelope) -> None:
        self.state.disk.end(envelope.mono, failed=isinstance(event, CommitFailed))

    @on(UpdateStored, UpdateStoreFailed)
    def judge_updates(self, event: UpdateStored | UpdateStoreFailed, _: Envelope) -> None:
        self.state.disk.update_fails = isinstance(event, UpdateStoreFailed)
