"""Confirmed predictions a second, beside what one verify and one sign a prediction would allow in the same run.

    python -m benchmarks.confirm --miners 50 --window 8 --duration 5

A real validator process on one core: signatures checked, verdicts committed with ``synchronous=FULL``, confirmations
signed, log written. The load runs on another core; its frames are signed before the clock starts. Closed loop: each
miner keeps ``--window`` frames of ``--batch`` predictions in flight.
"""

import argparse
import asyncio
import json
import socket
import statistics
import time
from secrets import token_hex
from typing import Any

from bittensor_core import Keypair

from benchmarks.rig import ODDS, LoadMiner, Validator, running_validator, verify_sign_limit
from bus.games import TeamGamePrediction
from bus.identifiers import GameId, Hotkey, PredictionId
from bus.messages import PredictionMessage

WAGER = 0.01
BYSTANDER_INTERVAL = 0.05
"""Seconds between two frames of a bystander."""
BYSTANDER_BATCH = 64


class Predictor(LoadMiner):
    """Keeps ``window`` frames in flight."""

    def __init__(self, keypair: Keypair, validator: Hotkey, window: int) -> None:
        super().__init__(keypair, validator)
        self.window = window
        self.frames: list[tuple[bytes, int]] = []
        self.next_frame = 0
        self.sent_at: list[float] = []
        self.latencies: list[float] = []
        self.confirmed = 0
        self.rejected = 0
        self.outstanding = 0
        self.running = False

    def receive(self, payload: bytes) -> None:
        if b'"message_type":"confirmation"' not in payload:
            super().receive(payload)
        self._confirm(payload)

    def _confirm(self, payload: bytes) -> None:
        now = time.perf_counter()
        count = payload.count(b'"about":')
        self.confirmed += count
        self.rejected += count - payload.count(b'"success":true')
        self.outstanding -= count
        batch = self.frames[0][1]
        for _ in range(count // batch):
            self.latencies.append(now - self.sent_at[len(self.latencies)])
            if self.running:
                self.push()

    def push(self) -> None:
        if self.next_frame >= len(self.frames):
            raise RuntimeError("more frames were needed than signed beforehand; raise --signed-per-second")
        data, count = self.frames[self.next_frame]
        self.next_frame += 1
        self.outstanding += count
        self.sent_at.append(time.perf_counter())
        self.write(data)

    def start(self) -> None:
        self.running = True
        for _ in range(self.window):
            self.push()

    def sign_beforehand(self, frames: int, batch: int) -> None:
        for _ in range(frames):
            predictions = tuple(make_prediction() for _ in range(batch))
            self.frames.append((self.frame(PredictionMessage(predictions=predictions)), batch))


class Bystander(Predictor):
    """Pushes many predictions at a fixed pace; if it is stalled it reads nothing, not even the close that follows."""

    stalled: bool = False

    def start(self) -> None:
        if self.stalled:
            transport: Any = self.transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            transport.pause_reading()
        self._push_on()

    def _push_on(self) -> None:
        if self.transport.is_closing() or self.next_frame >= len(self.frames):
            return
        self.push()
        asyncio.get_running_loop().call_later(BYSTANDER_INTERVAL, self._push_on)


def make_prediction() -> TeamGamePrediction:
    return TeamGamePrediction(
        prediction_id=PredictionId(token_hex(16)),
        game_id=GameId("benchmark-0"),
        prediction_date="2026-01-01T00:00:00.000000Z",
        predicted_outcome="Home",
        predicted_odds=ODDS[0],
        team_a="Home",
        team_b="Away",
        wager=WAGER,
        team_a_odds=ODDS[0],
        team_b_odds=ODDS[1],
        model_name="benchmark",
    )


async def load(validator: Validator, arguments: argparse.Namespace) -> dict[str, Any]:
    first = arguments.miners
    miners = await validator.connect(Predictor, arguments.window, keypairs=validator.keypairs[:first])
    bystanders = await validator.connect(Bystander, 1, keypairs=validator.keypairs[first:])
    frames = (
        int(arguments.signed_per_second * (arguments.duration + 1) / arguments.batch / len(miners)) + arguments.window
    )
    for miner in miners:
        miner.sign_beforehand(frames, arguments.batch)
    for bystander in bystanders:
        bystander.stalled = arguments.stalled
        bystander.sign_beforehand(int(arguments.duration / BYSTANDER_INTERVAL), BYSTANDER_BATCH)
    begin = time.perf_counter()
    for miner in (*bystanders, *miners):
        miner.start()
    await asyncio.sleep(arguments.duration)
    for miner in miners:
        miner.running = False
    deadline = time.perf_counter() + 30
    while any(miner.outstanding for miner in miners) and time.perf_counter() < deadline:  # noqa: ASYNC110 - a benchmark may poll
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - begin
    latencies = sorted(1000 * latency for miner in miners for latency in miner.latencies)
    confirmed = sum(miner.confirmed for miner in miners)
    return {
        "predictions_per_second": confirmed / seconds,
        "confirmed": confirmed,
        "rejected": sum(miner.rejected for miner in miners),
        "seconds": seconds,
        "latency_ms": {
            "p50": statistics.median(latencies),
            "p99": latencies[int(0.99 * (len(latencies) - 1))],
            "max": latencies[-1],
        },
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the validator, load it, stop it."""
    with running_validator(arguments.miners + arguments.bystanders) as validator:
        result = asyncio.run(load(validator, arguments))
        result["validator_peak_memory_bytes"] = validator.peak_memory()
        result["validator_cpu_us_per_prediction"] = 1e6 * validator.cpu_seconds() / result["confirmed"]
    result["verify_sign_limit_per_second"] = verify_sign_limit(validator.keypairs[0])
    result["ratio"] = result["predictions_per_second"] / result["verify_sign_limit_per_second"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miners", type=int, default=50)
    parser.add_argument("--window", type=int, default=8, help="frames in flight for each miner")
    parser.add_argument("--batch", type=int, default=1, help="predictions in a frame")
    parser.add_argument("--duration", type=float, default=5.0, help="seconds")
    parser.add_argument("--signed-per-second", type=float, default=12_000, help="predictions to sign beforehand")
    parser.add_argument(
        "--bystanders", type=int, default=0, help="more miners, at 1,280 predictions/s each, not counted"
    )
    parser.add_argument("--stalled", action="store_true", help="the bystanders never read")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = run(arguments)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    latency = result["latency_ms"]
    print(f"{result['predictions_per_second']:8.0f} confirmed predictions/s ({result['rejected']} rejected)")
    print(f"{result['verify_sign_limit_per_second']:8.0f} /s would one verify and one sign a prediction allow")
    print(f"{result['ratio']:8.2f} of that")
    print(f"latency: p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms, max {latency['max']:.1f} ms")
    print(f"validator: {result['validator_cpu_us_per_prediction']:.0f} us of CPU a prediction, start included")
    print(f"validator: {result['validator_peak_memory_bytes'] / 2**20:.0f} MiB of memory at most")


if __name__ == "__main__":
    main()
