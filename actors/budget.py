"""Token buckets, by the monotonic clock that they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from bettensor.bus.identifiers import SECOND, Micros

MAX_REMOTES: Final = 10_000
"""Networks, or addresses, whose failures are counted at a time."""
Party = TypeVar("Party", bound=str)


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

    def charge(self, now: Micros, amount: float, rate: float, burst: float) -> bool:
        """Take ``amount``, whether it is there or not; False if some of it was missing, which is a debt."""
        self.tokens = left = self.refill(now, rate, burst) - amount
        return left >= 0

    def free_at(self, rate: float) -> Micros:
        """When the debt is paid; when it was last refilled if there is none."""
        return Micros(self.filled_at + round(max(0.0, -self.tokens) * SECOND / rate))


def is_spent(budgets: Mapping[Party, Budget], party: Party, now: Micros, rate: float, burst: float) -> bool:
    """Whether ``party`` has no token left; one without a budget has spent nothing yet."""
    budget = budgets.get(party)
    return budget is not None and budget.refill(now, rate, burst) < 1


def budget_of(budgets: dict[Party, Budget], party: Party, now: Micros, burst: float, most: int) -> Budget:
    """The budget of ``party``, new if it has none; of more than ``most`` parties the oldest is forgotten."""
    if party not in budgets and len(budgets) >= most:
        del budgets[next(iter(budgets))]
    return budgets.setdefault(party, Budget(burst, now))
