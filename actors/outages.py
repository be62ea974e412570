"""Troubles that last: which of their failures are news, and the state of each validator that a miner does not reach.

Knows no log line: the logbook words them.
"""

from dataclasses import dataclass, field
from typing import Final

from bettensor.bus.events import DialFailed, PostFailed, Road
from bettensor.bus.identifiers import Micros

MAX_CAUSES: Final = 8
"""Causes of one trouble that are told. A trouble with more of them only appears in summaries from then on."""


@dataclass(slots=True)
class Trouble:
    """Something that fails again and again. All times are monotonic."""

    began_at: Micros
    failed_at: Micros = Micros(0)
    told_at: Micros = Micros(0)
    causes: dict[str, None] = field(default_factory=dict)
    """Those that were told."""

    def is_news(self, cause: str, now: Micros) -> bool:
        """Note a failure; whether its cause has not been told yet."""
        self.failed_at = now
        if cause in self.causes or len(self.causes) >= MAX_CAUSES:
            return False
        self.causes[cause], self.told_at = None, now
        return True


@dataclass(slots=True)
class Outage(Trouble):
    """A validator that a miner does not reach, or only by HTTP."""

    websocket: bool = False
    """Its WebSocket cannot be opened. False if only HTTP is used."""
    silent: Road | None = None
    """The road on which it was found to give no answer at all; None if its last answer was a refusal."""
    http_works: bool = False
    http_lost_at: Micros | None = None
    """Since when its HTTP fails; None if HTTP works, or was not tried yet."""
    announced: bool = False
    """A session has just ended, or the last failure was news, and the next try is to be told."""

    def dial_failed(self, event: DialFailed, now: Micros) -> bool:
        """Whether a failed dial is news."""
        self.websocket = True
        self.announced = self._is_news("websocket", event, now)
        return self.announced

    def http_failed(self, event: PostFailed, now: Micros) -> bool:
        """Whether a failed HTTP exchange is news."""
        if self.http_lost_at is None:
            self.http_lost_at = now
        self.http_works = False
        return self._is_news("http", event, now)

    def http_answered(self, now: Micros) -> Micros | None:
        """For how long HTTP had failed; None if it had not."""
        lost_at, self.http_lost_at = self.http_lost_at, None
        self.http_works, self.silent = True, None
        return None if lost_at is None else Micros(now - lost_at)

    def _is_news(self, road: Road, event: DialFailed | PostFailed, now: Micros) -> bool:
        if event.status is not None:
            self.silent = None
            return self.is_news(event.code or str(event.status), now)  # its message may differ each time
        if self.silent not in (None, road):  # silence on both roads has one cause
            self.failed_at = now
            return False
        self.silent = road
        return self.is_news(event.reason, now)
