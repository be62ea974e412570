"""Nonces: each once, for as long as any clock could find it fresh, and a bounded number of each hotkey."""

from bettensor.actors.nonces import MAX_NONCES, NONCE_MEMORY, Nonces, accept_nonce, forget_past_nonces
from bettensor.bus.identifiers import SECOND, Hotkey, Micros
from tests.actors.miner.messages import OTHER, VALIDATOR
from tests.support import NOW

AGE = Micros(10 * SECOND)
MEMORY = NONCE_MEMORY / SECOND


class Bench:
    def __init__(self) -> None:
        self.nonces: dict[Hotkey, Nonces] = {}

    def accepts(self, nonce: str, at: float, mono: float | None = None, hotkey: Hotkey = VALIDATOR) -> bool:
        """``at`` and ``mono`` are seconds after the beginning."""
        return accept_nonce(self.nonces, hotkey, nonce, *moments(at, mono), AGE)

    def forget(self, at: float, mono: float | None = None) -> None:
        forget_past_nonces(self.nonces, *moments(at, mono), AGE)

    def count(self) -> int:
        return sum(len(own.accepted) for own in self.nonces.values())


def moments(at: float, mono: float | None) -> tuple[Micros, Micros]:
    return Micros(NOW + round(at * SECOND)), Micros(round((at if mono is None else mono) * SECOND))


def nonce(seconds: float = 0) -> str:
    return str((NOW + round(seconds * SECOND)) * 1000)


def test_a_nonce_counts_once_for_each_hotkey_in_any_order() -> None:
    bench = Bench()
    assert bench.accepts(nonce(2), 2)
    assert bench.accepts(nonce(1), 2)
    assert bench.accepts(nonce(2), 2, hotkey=OTHER)
    assert not bench.accepts(nonce(2), 3)
    assert not bench.accepts(f"0{nonce(1)}", 3)


def test_it_is_forgotten_when_it_is_stale_by_both_clocks() -> None:
    bench = Bench()
    assert bench.accepts(nonce(), 0)
    assert bench.accepts(nonce(3600), 3600, 1)  # the wall clock stepped
    assert bench.count() == 2
    assert bench.accepts(nonce(3700), 3700, MEMORY + 2)
    assert bench.count() == 1


def test_a_hotkey_that_sends_nothing_more_is_forgotten_too() -> None:
    bench = Bench()
    bench.accepts(nonce(), 0)
    bench.accepts(nonce(30), 30, hotkey=OTHER)
    bench.forget(MEMORY + 1)
    assert list(bench.nonces) == [OTHER]
    bench.forget(0, 1000)  # stale by one clock alone
    assert list(bench.nonces) == [OTHER]


def test_of_many_the_last_are_remembered_and_none_is_accepted_twice() -> None:
    bench = Bench()
    sent = [nonce(number / 1000) for number in range(3 * MAX_NONCES)]
    assert all(bench.accepts(each, 1) for each in sent)
    assert bench.count() == MAX_NONCES
    assert not any(bench.accepts(each, 1) for each in sent)
    assert bench.accepts(nonce(9), 1)


def test_what_comes_late_is_accepted_if_it_is_not_too_late() -> None:
    bench = Bench()
    late, too_late = nonce(0.5), nonce(0.0005)
    assert all(bench.accepts(nonce(number / 1000), 1) for number in range(MAX_NONCES + 9) if number != 500)
    assert bench.accepts(late, 1)
    assert not bench.accepts(too_late, 1)
    assert bench.count() == MAX_NONCES


def test_one_that_is_older_than_all_that_are_remembered_is_not_accepted_though_it_is_new() -> None:
    bench = Bench()
    for number in range(MAX_NONCES):
        bench.accepts(nonce(1 + number / 1000), 2)
    assert not bench.accepts(nonce(0.5), 2)  # it would be the first to be forgotten


def test_the_bound_is_kept_until_what_it_stands_for_is_stale() -> None:
    bench = Bench()
    for number in range(MAX_NONCES + 1):
        bench.accepts(nonce(100 if number == 0 else number / 1000), 1)
    bench.forget(80, 1000)
    assert bench.count() == 0
    assert list(bench.nonces) == [VALIDATOR]  # the first one is from the future
    bench.forget(111, 1001)
    assert bench.nonces == {}
