"""The compressed form of a frame: what is made, what is read, and what is refused."""

import zlib
from random import Random

import pytest

from bettensor.actors.stream import update_messages
from bettensor.bus import codec, packing
from bettensor.bus.codes import CloseCode
from bettensor.bus.errors import Unreadable
from bettensor.bus.identifiers import Epoch, Offset
from bettensor.bus.messages import MAX_FRAME_BYTES
from tests.support import NETUID, make_game

FRAME = b'{"a":"' + b"games" * 1000 + b'"}\n0x' + b"0" * 128


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        ("deflate", "deflate"),
        ("zstd,deflate", "deflate"),
        ("deflate,zstd", "deflate"),
        ("", ""),
        ("zstd", ""),
        ("Deflate", ""),
        ("deflate ", ""),
    ],
)
def test_the_first_known_name_is_chosen_and_others_are_ignored(names: str, encoding: str) -> None:
    assert packing.chosen(names) == encoding


@pytest.mark.parametrize("frame", [FRAME, b"", b"x" * MAX_FRAME_BYTES])
def test_what_is_packed_is_unpacked(frame: bytes) -> None:
    assert packing.unpack(packing.pack(frame)) == frame


@pytest.mark.parametrize("level", range(10))
def test_any_zlib_stream_is_read_whatever_its_level(level: int) -> None:
    assert packing.unpack(zlib.compress(FRAME, level)) == FRAME


def raw_deflate() -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(FRAME) + deflater.flush()


def with_dictionary() -> bytes:
    deflater = zlib.compressobj(zdict=b"games")
    return deflater.compress(FRAME) + deflater.flush()


PACKED = packing.pack(FRAME)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "cut off"),
        (b"hello", "not the compressed form"),
        (FRAME, "not the compressed form"),
        (PACKED[:-1], "cut off"),
        (PACKED[:-4] + bytes(4), "not the compressed form"),  # its checksum
        (PACKED + b"x", "follows"),
        (PACKED + PACKED, "follows"),
        (raw_deflate(), "not the compressed form"),
        (with_dictionary(), "not the compressed form"),
        (b"\x1f\x8b" + PACKED, "not the compressed form"),  # gzip's first bytes
    ],
)
def test_anything_but_one_whole_stream_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        packing.unpack(data)


@pytest.mark.parametrize("size", [MAX_FRAME_BYTES + 1, 50_000_000])
def test_a_bomb_is_inflated_up_to_the_largest_frame_and_no_further(size: int) -> None:
    bomb = zlib.compress(bytes(size), 9)
    assert len(bomb) < MAX_FRAME_BYTES
    with pytest.raises(Unreadable, match="more than 65536 bytes") as refused:
        packing.unpack(bomb)
    assert refused.value.close is CloseCode.TOO_BIG


def test_a_snapshot_of_300_games_is_at_least_5_times_smaller() -> None:
    random = Random(1)
    games = [
        make_game(
            f"{random.getrandbits(128):032x}",
            team_a=f"Home of {random.randrange(100)}",
            team_b=f"Guests from {random.randrange(100)}",
            team_a_odds=random.randrange(110, 900) / 100,
            team_b_odds=random.randrange(110, 900) / 100,
        )
        for _ in range(300)
    ]
    frames = [codec.encode(part) for part in update_messages(NETUID, Epoch("e" * 32), Offset(1), games, None)]
    assert sum(map(len, map(packing.pack, frames))) < sum(map(len, frames)) / 5
