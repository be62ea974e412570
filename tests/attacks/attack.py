"""What an attack is, what was measured while it ran, and the ceilings that the measurements must keep."""

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.attacks.target import Target

Role = Literal["validator", "miner", "axon"]
"""The attacked neuron; axon: a miner that also listens, for existing validators."""
Strike = Callable[[Target, "Force"], Coroutine[Any, Any, Counter[str]]]
"""Runs in a process of its own; returns the number of times that the attackers got each answer."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How long and how strictly all attacks are tried."""

    normal: float
    """Seconds of honest work alone, before the attack."""
    seconds: float
    """Seconds of the attack."""
    after: float
    """Seconds between its end and the last measurement, if everything has been given back by then."""
    share: float
    """Share of an attack's sockets, sessions and rates."""
    p50_ms: float
    """An honest p50 below this many milliseconds is no fault, whatever the normal one."""
    p99_ms: float
    """Likewise a p99."""


FULL: Final = Form(normal=2.0, seconds=4.0, after=1.5, share=1.0, p50_ms=15.0, p99_ms=25.0)
"""For `make attack`, on a quiet machine; the last two are what two cores in use do to it by themselves."""
SHORT: Final = Form(normal=0.4, seconds=1.0, after=0.5, share=0.2, p50_ms=150.0, p99_ms=1000.0)
"""For the suite, whose machine has other tests to run: times are bounded generously, everything else is not."""


@dataclass(frozen=True)
class Force:
    """The strength of one run of an attack."""

    seconds: float
    share: float

    def some(self, most: int, least: int = 1) -> int:
        """Of ``most`` sockets, sessions or messages a second, those of this form."""
        return max(least, round(most * self.share))


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What one attack may cost the attacked process at most, beyond the honest work beside it."""

    memory_mb: float = 40.0
    """Growth of the resident memory until its peak: 24 MB for the heap of a process that works for the first time, and
    16 MB for all that strangers have sent and nobody has admitted (`limits.unadmitted_bytes`)."""
    left_mb: float = 32.0
    """Growth that is left seconds after the attack: freed memory is not always given back to the system."""
    descriptors: int = 1300
    """Growth of the number of open descriptors: 1,024 strangers, and those that are just being closed."""
    left_descriptors: int = 4
    """Growth that is left after the attack."""
    cpu_share: float = 0.8
    """CPU seconds a second. Honest work and probes alone take 0.15 to 0.25."""
    recorded_mb: float = 3.0
    """Growth of the event log."""
    told: int = 60
    """Warnings and errors in the operator's log."""
    stored: int = 0
    """Rows in the ledger of hotkeys that attack, or in the outbox for a validator that does."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row of the table."""

    name: str
    sentence: str
    strike: Strike
    gets: frozenset[str]
    """The answers that its attackers may get: a status or close code, perhaps with the name of the error, or an end
    without an answer."""
    gets_soon: frozenset[str] = frozenset()
    """Further answers in the short form, which ends before the deadlines of the attacked neuron."""
    per_second: Mapping[str, float] = field(default_factory=dict)
    """The largest number of an answer a second; five more may come at once."""
    role: Role = "validator"
    ceilings: Ceilings = field(default_factory=Ceilings)
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the default configuration, if the attack needs one."""
    games: int = 1
    """Games of the slate in the full form."""
    short_games: int | None = None
    seconds: float | None = None
    """Length of the full form, if not the usual one."""
    short_seconds: float | None = None

    def force(self, form: Form) -> Force:
        """The strength of this attack in ``form``."""
        own = self.short_seconds if form is SHORT else self.seconds
        return Force(form.seconds if own is None else own, form.share)

    def slate(self, form: Form) -> int:
        """The number of games on the slate in ``form``."""
        return self.short_games if form is SHORT and self.short_games is not None else self.games


@dataclass(frozen=True)
class Honest:
    """How the honest neurons fared in one phase."""

    p50_ms: float
    p99_ms: float
    confirmed: int
    failures: tuple[str, ...]
    """Sessions that ended, predictions that were refused or got no verdict, newcomers that were not let in."""


@dataclass(frozen=True)
class Reading:
    """The state of a process at one instant."""

    memory_mb: float
    peak_mb: float
    """Since it was started."""
    descriptors: int
    cpu_seconds: float
    recorded_mb: float
    """All files of the event log."""
    stored: int
    told: int
    """Warnings and errors in the operator's log."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that was seen of one attack."""

    answers: Counter[str]
    seconds: float
    before: Reading
    after: Reading
    most_descriptors: int
    recorded_mb: float
    """Growth of the event log, beyond that of the honest work."""
    cpu_share: float
    """CPU seconds a second, during the attack."""
    normal: Honest
    during: Honest
    health: Counter[str]
    """Answers of /ws/health during the attack."""
    log: str
    """What the operator was told."""
    stop_seconds: float
    """From SIGTERM to the end of the process."""
    exit_code: int | None


def is_given_back(attack: Attack, before: Reading, now: Reading) -> bool:
    """Whether what the attack took is free again."""
    memory_mb, descriptors = now.memory_mb - before.memory_mb, now.descriptors - before.descriptors
    return memory_mb <= attack.ceilings.left_mb and descriptors <= attack.ceilings.left_descriptors


AT_ONCE: Final = 5
"""Answers that may come before a rate is limited."""
LONGEST_STOP: Final = 10.0
"""Seconds from SIGTERM to the end, as docs/operating.md promises."""


def faults(attack: Attack, outcome: Outcome, form: Form) -> list[str]:
    """Each ceiling that was not kept."""
    ceilings, before, after = attack.ceilings, outcome.before, outcome.after
    bounds = [
        ("memory grew by {:.0f} MB", after.peak_mb - before.memory_mb, ceilings.memory_mb),
        ("memory is {:.0f} MB above that before", after.memory_mb - before.memory_mb, ceilings.left_mb),
        ("open descriptors grew by {:.0f}", outcome.most_descriptors - before.descriptors, ceilings.descriptors),
        ("{:.0f} more descriptors are open", after.descriptors - before.descriptors, ceilings.left_descriptors),
        ("it took {:.2f} CPU seconds a second", outcome.cpu_share, ceilings.cpu_share),
        ("the event log grew by {:.1f} MB", outcome.recorded_mb, ceilings.recorded_mb),
        ("{:.0f} warnings in the operator's log", after.told - before.told, ceilings.told),
        ("{:.0f} rows were stored", after.stored - before.stored, ceilings.stored),
        ("honest p50 {:.1f} ms", outcome.during.p50_ms, max(2 * outcome.normal.p50_ms, form.p50_ms)),
        ("honest p99 {:.1f} ms", outcome.during.p99_ms, max(2 * outcome.normal.p99_ms, form.p99_ms)),
        ("SIGTERM took {:.1f} s", outcome.stop_seconds, LONGEST_STOP),
    ]
    found = [f"{text.format(value)}; the ceiling is {bound:g}" for text, value, bound in bounds if value > bound]
    allowed = attack.gets | attack.gets_soon if form is SHORT else attack.gets
    found += [f"an attacker got {answer!r}" for answer in sorted(outcome.answers) if answer not in allowed]
    found += [
        f"{outcome.answers[answer]} times {answer!r} in {outcome.seconds:.1f} s; the ceiling is {rate:g} a second"
        for answer, rate in attack.per_second.items()
        if outcome.answers[answer] > AT_ONCE + rate * outcome.seconds
    ]
    found += [] if outcome.answers else ["no attacker got anything"]
    found += [f"/ws/health: {answer}" for answer in sorted(outcome.health) if answer != "200 online"]
    found += [f"honest: {failure}" for failure in outcome.during.failures[:5]]
    if "Traceback" in outcome.log:
        found.append(f"a traceback in the operator's log: {outcome.log[outcome.log.index('Traceback') :][:3000]}")
    found += ["an escape sequence in the operator's log"] if "\x1b" in outcome.log or "\x9b" in outcome.log else []
    found += [] if outcome.exit_code == 0 else [f"exit code {outcome.exit_code}"]
    return found
