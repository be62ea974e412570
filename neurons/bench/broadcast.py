"""``broadcast``: the time until an update of the games has reached every miner."""

import asyncio
import json
import time
from datetime import datetime
from typing import Any, Final

from bettensor.bus import codec, packing
from bettensor.neurons.bench import yardsticks
from bettensor.neurons.bench.figures import Figures, latencies_ms
from bettensor.neurons.bench.load import Arrivals, LoadListener, PackedListener, sessions
from bettensor.neurons.bench.rig import BenchmarkFailed, BenchValidator, make_game, running_validator

GAMES: Final = 11
"""Games in each update, which give it about 4 KiB."""
UPDATES: Final = 20
PAUSE: Final = 0.25
"""Seconds between two updates."""
TIMEOUT: Final = 10.0
"""Seconds for one update."""


def broadcast(miners: int) -> Figures:
    """The delay of an update, and of a broadcast by the bare stack, which stores nothing.

    ``first_delivery_ms`` and ``last_delivery_ms`` count from the signature, and so include the commit to the disk
    before the broadcast; ``spread_ms`` counts from the first receipt to the last. ``packed`` is the same for sessions
    that asked for compressed updates.
    """
    with running_validator(miners, slate=_slate(0)) as validator:
        figures = asyncio.run(_listen(validator, LoadListener))
    with running_validator(miners, slate=_slate(0)) as validator:
        packed = asyncio.run(_listen(validator, PackedListener))
    bare = asyncio.run(yardsticks.broadcast(miners, UPDATES, PAUSE))
    return figures | {
        "packed": packed,
        "ratio_packed_size": packed["update_bytes"] / figures["update_bytes"],
        "ratio_packed_cpu": packed["cpu_us_per_delivery"] / figures["cpu_us_per_delivery"],
        "bare_broadcast": bare,
        "ratio_to_bare_broadcast": figures["spread_ms"]["p50"] / bare["spread_ms"]["p50"],
        "ratio_storing_included": figures["last_delivery_ms"]["p50"] / bare["last_delivery_ms"]["p50"],
    }


async def _listen(validator: BenchValidator, kind: type[LoadListener]) -> Figures:
    arrivals: Arrivals = {}
    async with sessions(validator, kind, arrivals) as miners:
        cpu = validator.cpu_seconds()
        for number in range(1, UPDATES + 1):
            validator.write_games(_slate(number))
            await _all_have(arrivals, number, len(miners))
            await asyncio.sleep(PAUSE)
        cpu = validator.cpu_seconds() - cpu
    delays = [[arrived - _signed_at(frame) for arrived in times] for frame, times in arrivals.values()]
    return {
        "miners": len(miners),
        "updates": UPDATES,
        "update_bytes": max(len(frame) for frame, _ in arrivals.values()),
        "first_delivery_ms": latencies_ms(min(mine) for mine in delays),
        "last_delivery_ms": latencies_ms(max(mine) for mine in delays),
        "spread_ms": latencies_ms(max(mine) - min(mine) for mine in delays),
        "cpu_us_per_delivery": 1e6 * cpu / UPDATES / len(miners),
    }


async def _all_have(arrivals: Arrivals, updates: int, miners: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while sum(len(times) for _, times in arrivals.values()) < updates * miners:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"after {TIMEOUT:g} s update {updates} has not reached every miner")
        await asyncio.sleep(0.005)


def _signed_at(frame: bytes) -> float:
    text = frame if frame.startswith(b"{") else packing.unpack(frame)
    return datetime.fromisoformat(json.loads(codec.split(text).payload)["timestamp"]).timestamp()


def _slate(number: int) -> list[dict[str, Any]]:
    odds = 1.5 + number / 100, 2.5 - number / 100
    return [make_game(game, odds) for game in range(GAMES)]
