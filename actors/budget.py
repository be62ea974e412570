"""A token bucket, by the monotonic clock that it is shown."""

from dataclasses import dataclass

from bettensor.bus.identifiers import SECOND, Micros


@dataclass(slots=True)
class Budget:
    """How much of something one party may still have."""

    tokens: float
    filled_at: Micros

    def refill(self, now: Micros, rate: float, burst: float) -> float:
        """The tokens that are there now, at ``rate`` a second and never more than ``burst``."""
        self.tokens = min(burst, self.tokens + (now - self.filled_at) * rate / SECOND)
        self.filled_at = now
        return self.tokens

    def spend(self, now: Micros, rate: float, burst: float) -> bool:
        """Take one token if there is one."""
        if self.refill(now, rate, burst) < 1:
            return False
        self.tokens -= 1
        return True
