"""Nonces: each once, for as long as any clock could find it fresh."""

from collections import deque
from dataclasses import dataclass, field

from bettensor.actors.nonces import NONCE_MEMORY, Nonce, accept_nonce
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import ConnectionClosed
from bettensor.bus.identifiers import SECOND, ConnectionId, Micros
from tests.actors.miner.messages import OTHER, VALIDATOR
from tests.support import NOW

AGE = Micros(10 * SECOND)


@dataclass
class State:
    nonces: dict[str, None] = field(default_factory=dict)
    nonce_order: deque[Nonce] = field(default_factory=deque)


def at(wall: float, mono: float | None = None) -> Envelope:
    """``wall`` and ``mono`` are seconds after the beginning."""
    moved = wall if mono is None else mono
    event = ConnectionClosed(ConnectionId(1), 1000, "")
    return Envelope(1, Micros(NOW + round(wall * SECOND)), Micros(round(moved * SECOND)), (), event)


def nonce(seconds: float = 0) -> str:
    return str((NOW + round(seconds * SECOND)) * 1000)


def test_a_nonce_counts_once_for_each_hotkey_in_any_order() -> None:
    state = State()
    assert accept_nonce(state, VALIDATOR, nonce(2), at(2), AGE)
    assert accept_nonce(state, VALIDATOR, nonce(1), at(2), AGE)
    assert accept_nonce(state, OTHER, nonce(2), at(2), AGE)
    assert not accept_nonce(state, VALIDATOR, nonce(2), at(3), AGE)
    assert not accept_nonce(state, VALIDATOR, f"0{nonce(1)}", at(3), AGE)


def test_it_is_forgotten_when_it_is_stale_by_both_clocks() -> None:
    state, memory = State(), NONCE_MEMORY / SECOND
    assert accept_nonce(state, VALIDATOR, nonce(), at(0), AGE)
    assert accept_nonce(state, VALIDATOR, nonce(3600), at(3600, 1), AGE)  # the wall clock stepped
    assert len(state.nonces) == len(state.nonce_order) == 2
    assert accept_nonce(state, VALIDATOR, nonce(3700), at(3700, memory + 2), AGE)
    assert len(state.nonces) == len(state.nonce_order) == 1
