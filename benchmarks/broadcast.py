"""How soon an update of the games has reached every miner, from the moment that it is signed.

    python -m benchmarks.broadcast --miners 256 --updates 20

A real validator process on one core, its odds moving at random; each update is stored with ``synchronous=FULL`` before
it is sent. All miners run in one process on another core, which reads every frame of every miner.
"""

import argparse
import asyncio
import json
import re
import statistics
import time
from datetime import datetime
from typing import Any

from bittensor_core import Keypair

from benchmarks.rig import LoadMiner, Validator, make_game, running_validator
from bus.identifiers import Hotkey

GAMES = 50
INTERVAL = 0.25
_UPDATE = re.compile(rb'"timestamp":"([^"]+)".*?"offset":(\d+)')


class Listener(LoadMiner):
    """Notes when each update came."""

    def __init__(self, keypair: Keypair, validator: Hotkey, arrivals: dict[int, list[float]]) -> None:
        super().__init__(keypair, validator)
        self.arrivals = arrivals

    def receive(self, payload: bytes) -> None:
        """Seconds from the update's own timestamp, by the wall clock that both processes share."""
        now = time.time()
        update = _UPDATE.search(payload)
        if update is None:
            super().receive(payload)
        else:
            signed_at = datetime.fromisoformat(update[1].decode()).timestamp()
            self.arrivals.setdefault(int(update[2]), []).append(now - signed_at)


async def listen(validator: Validator, arguments: argparse.Namespace) -> dict[str, Any]:
    arrivals: dict[int, list[float]] = {}
    miners = await validator.connect(Listener, arrivals)
    deadline = time.monotonic() + 10 + 2 * INTERVAL * arguments.updates
    while len(whole := [seconds for seconds in arrivals.values() if len(seconds) == len(miners)]) < arguments.updates:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {len(whole)} updates have reached every miner")
        await asyncio.sleep(0.05)
    last = sorted(1000 * max(seconds) for seconds in whole)
    return {
        "miners": len(miners),
        "updates": len(last),
        "first_delivery_ms": 1000 * statistics.median(min(seconds) for seconds in whole),
        "last_delivery_ms": {"p50": statistics.median(last), "max": last[-1]},
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the validator, listen to it, stop it."""
    games = {"source": "random", "path": "games.json", "interval": INTERVAL, "seed": 1}
    slate = [make_game(number) for number in range(GAMES)]
    with running_validator(arguments.miners, games=games, slate=slate) as validator:
        return asyncio.run(listen(validator, arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miners", type=int, default=256)
    parser.add_argument("--updates", type=int, default=20, help="how many updates to wait for")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = run(arguments)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    last = result["last_delivery_ms"]
    print(f"{result['updates']} updates to {result['miners']} miners, from signature to receipt, storing included")
    print(f"first miner: {result['first_delivery_ms']:.1f} ms (median)")
    print(f"last miner:  {last['p50']:.1f} ms (median), {last['max']:.1f} ms (worst update)")


if __name__ == "__main__":
    main()
