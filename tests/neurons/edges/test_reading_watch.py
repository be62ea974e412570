"""A peer that has stopped reading is noticed; one that reads slowly is not."""

import asyncio
from typing import Any

import pytest

from bettensor.neurons.edges.reading_watch import ReadingWatch

TIMEOUT = 5.0


class Loop:
    """Timers, and a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def call_later(self, delay: float, act: Any, *arguments: Any) -> "Timer":
        self.timers.append(Timer(self.now + delay, act, arguments))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= end]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = timer.at
            if not timer.cancelled:
                timer.act(*timer.arguments)
        self.now = end


class Timer:
    def __init__(self, at: float, act: Any, arguments: tuple[Any, ...]) -> None:
        self.at, self.act, self.arguments, self.cancelled = at, act, arguments, False

    def cancel(self) -> None:
        self.cancelled = True


class Buffer:
    def __init__(self) -> None:
        self.size = 0

    def get_write_buffer_size(self) -> int:
        return self.size


class Watched(ReadingWatch):
    def __init__(self) -> None:
        self.loop = Loop()
        self.transport = Buffer()
        self.stalls = 0

    def _reading_timeout(self) -> float:
        return TIMEOUT

    def _stalled(self) -> None:
        self.stalls += 1

    def fill(self, size: int) -> None:
        self.transport.size = size
        self.pause_writing()

    def add(self, size: int) -> None:
        self._mark += size
        self.transport.size += size


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_who_reads_nothing_is_noticed_once(watched: Watched) -> None:
    watched.fill(1000)
    watched.loop.advance(TIMEOUT - 0.1)
    assert watched.stalls == 0
    watched.loop.advance(0.2)
    assert watched.stalls == 1
    watched.loop.advance(10 * TIMEOUT)
    assert watched.stalls == 1


def test_one_byte_in_that_time_is_enough(watched: Watched) -> None:
    watched.fill(1000)
    for _ in range(50):
        watched.loop.advance(TIMEOUT - 0.1)
        watched.transport.size -= 1
        watched.loop.advance(0.1)
    assert watched.stalls == 0
    watched.loop.advance(TIMEOUT)
    assert watched.stalls == 1


def test_what_is_added_meanwhile_is_not_taken_for_what_was_not_read(watched: Watched) -> None:
    watched.fill(1000)
    watched.transport.size -= 10
    watched.add(500)
    watched.loop.advance(TIMEOUT)
    assert watched.stalls == 0
    watched.add(500)
    watched.loop.advance(TIMEOUT)
    assert watched.stalls == 1


@pytest.mark.parametrize(
    "end", [lambda watched: watched.resume_writing(), lambda watched: watched.connection_lost(None)]
)
def test_nothing_is_watched_once_the_buffer_has_drained_or_the_connection_is_gone(watched: Watched, end: Any) -> None:
    watched.fill(1000)
    end(watched)
    watched.loop.advance(10 * TIMEOUT)
    assert watched.stalls == 0


def test_the_time_begins_anew_with_each_time_that_it_is_full(watched: Watched) -> None:
    for _ in range(3):
        watched.fill(1000)
        watched.loop.advance(TIMEOUT - 0.1)
        watched.resume_writing()
    assert watched.stalls == 0


def test_it_is_a_mixin_for_a_protocol() -> None:
    assert issubclass(ReadingWatch, asyncio.Protocol)
