"""What costs a peer next to nothing is counted, and nothing is parsed for a connection that ends."""

import asyncio
from typing import Any

from bettensor.neurons.edges.frame_limits import SLICE, FrameLimits


class Loop:
    """A clock."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


class Transport:
    def __init__(self) -> None:
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing


class Parser(asyncio.Protocol):
    """In the place of a library that parses frames; it ends the connection where it sees a ``!``."""

    transport: Transport

    def __init__(self) -> None:
        self.parsed: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parsed.append(data)
        self.transport.closing = b"!" in data


class Limited(FrameLimits, Parser):
    def __init__(self) -> None:
        super().__init__()
        self.loop: Any = Loop()
        self.transport: Any = Transport()

    def count(self, frames: int = 1) -> int:
        return [self._count_extra() for _ in range(frames)][-1]


def test_bytes_are_parsed_in_slices_and_all_of_them() -> None:
    limited, data = Limited(), bytes(range(64, 128)) * 1024
    limited.data_received(data)
    assert [len(part) for part in limited.parsed] == [SLICE] * 4
    assert b"".join(limited.parsed) == data
    limited.data_received(b"x")
    assert limited.parsed[-1] == b"x"


def test_behind_the_slice_that_ends_the_connection_nothing_is_parsed() -> None:
    limited = Limited()
    limited.data_received(b"." * SLICE + b"!" + b"." * 10 * SLICE)
    assert len(limited.parsed) == 2


def test_frames_that_are_no_messages_are_counted_by_the_second() -> None:
    limited = Limited()
    assert limited.count(1000) == 1000
    limited.loop.now += 0.999
    assert limited.count() == 1001
    limited.loop.now += 0.001
    assert limited.count() == 1


def test_each_connection_has_a_count_of_its_own() -> None:
    first, second = Limited(), Limited()
    first.count(7)
    assert second.count() == 1
