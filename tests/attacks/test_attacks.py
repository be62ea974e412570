"""Each row of the attack table of docs/security.md, in a short form with the same ceilings."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.attack import FULL, SHORT, Attack, Honest, Outcome, Reading, faults, is_given_back
from tests.attacks.catalogue import ATTACKS
from tests.attacks.course import run

CALM = Reading(memory_mb=100.0, peak_mb=110.0, descriptors=40, cpu_seconds=1.0, recorded_mb=1.0, stored=0, told=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_costs_nobody_more_than_its_ceilings(name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    found = faults(attack, await run(attack, SHORT, tmp_path), SHORT)
    assert not found, "; ".join(found)


def calm() -> Outcome:
    """An outcome that keeps all ceilings."""
    honest = Honest(p50_ms=3.0, p99_ms=20.0, confirmed=100, failures=())
    return Outcome(
        answers=Counter({"404": 3}),
        seconds=6.0,
        before=CALM,
        after=CALM,
        most_descriptors=50,
        recorded_mb=0.1,
        cpu_share=0.2,
        normal=honest,
        during=honest,
        health=Counter({"200 online": 9}),
        log="",
        stop_seconds=0.3,
        exit_code=0,
    )


ATTACK = Attack(
    name="an attack",
    sentence="A stranger attacks.",
    strike=ATTACKS["hold-silent"].strike,
    gets=frozenset({"404"}),
    gets_soon=frozenset({"held"}),
    per_second={"404": 1.0},
)


def test_a_neuron_gives_back_what_an_attack_took() -> None:
    assert is_given_back(ATTACK, CALM, replace(CALM, memory_mb=132.0, descriptors=44))
    assert not is_given_back(ATTACK, CALM, replace(CALM, memory_mb=133.0))
    assert not is_given_back(ATTACK, CALM, replace(CALM, descriptors=45))


def test_what_keeps_all_ceilings_has_no_faults() -> None:
    assert faults(ATTACK, calm(), FULL) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"after": replace(CALM, peak_mb=141.0)}, "memory grew by 41 MB; the ceiling is 40"),
        ({"after": replace(CALM, memory_mb=133.0)}, "memory is 33 MB above that before; the ceiling is 32"),
        ({"most_descriptors": 1400}, "open descriptors grew by 1360; the ceiling is 1300"),
        ({"after": replace(CALM, descriptors=45)}, "5 more descriptors are open; the ceiling is 4"),
        ({"cpu_share": 0.9}, "it took 0.90 CPU seconds a second; the ceiling is 0.8"),
        ({"recorded_mb": 3.5}, "the event log grew by 3.5 MB; the ceiling is 3"),
        ({"after": replace(CALM, told=61)}, "61 warnings in the operator's log; the ceiling is 60"),
        ({"after": replace(CALM, stored=1)}, "1 rows were stored; the ceiling is 0"),
        ({"during": Honest(16.0, 20.0, 100, ())}, "honest p50 16.0 ms; the ceiling is 15"),
        ({"during": Honest(3.0, 41.0, 100, ())}, "honest p99 41.0 ms; the ceiling is 40"),
        ({"during": Honest(3.0, 20.0, 100, ("a session: reset",))}, "honest: a session: reset"),
        ({"stop_seconds": 10.5}, "SIGTERM took 10.5 s; the ceiling is 10"),
        ({"exit_code": 1}, "exit code 1"),
        ({"answers": Counter({"404": 1, "500": 1})}, "an attacker got '500'"),
        ({"answers": Counter({"held": 1})}, "an attacker got 'held'"),
        ({"answers": Counter({"404": 12})}, "12 times '404' in 6.0 s; the ceiling is 1 a second"),
        ({"answers": Counter[str]()}, "no attacker got anything"),
        ({"health": Counter({"503 degraded": 1})}, "/ws/health: 503 degraded"),
        ({"log": "so\nTraceback: a\nTraceback: b"}, "a traceback in the operator's log: Traceback: a\nTraceback: b"),
        ({"log": "\x1b[2J"}, "an escape sequence in the operator's log"),
    ],
)
def test_each_ceiling_that_is_not_kept_is_a_fault(changes: dict[str, object], fault: str) -> None:
    assert faults(ATTACK, replace(calm(), **changes), FULL) == [fault]  # type: ignore[arg-type]


def test_an_answer_that_only_a_longer_attack_rules_out_is_no_fault_of_the_short_form() -> None:
    assert faults(ATTACK, replace(calm(), answers=Counter({"held": 1})), SHORT) == []
