"""Confirmed predictions a second, beside what one verify and one sign a prediction would allow in the same run.

    python benchmarks/confirm.py --miners 50 --window 8 --duration 5

A real validator process on one core: signatures checked, verdicts committed with ``synchronous=FULL``, confirmations
signed, log written. The load runs on another core; its frames are signed before the clock starts. Closed loop: each
miner keeps ``--window`` frames of ``--batch`` predictions in flight.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from secrets import token_hex
from typing import Any

import bittensor_core
import yaml
from bittensor import http_auth
from bittensor_core import Keypair
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from bus import codec
from bus.games import TeamGamePrediction
from bus.identifiers import GameId, Hotkey, MessageId, PredictionId, SessionId
from bus.messages import HeartbeatMessage, PredictionMessage, WebSocketMessage
from neurons.edges.keys import new_wallet

NETUID = 30
ODDS = (1.9, 2.0)
WAGER = 0.01


class LoadMiner(asyncio.Protocol):
    """One miner: a raw socket, so that the load costs little beside what it measures."""

    def __init__(self, keypair: Keypair, validator: Hotkey, window: int) -> None:
        self.keypair = keypair
        self.hotkey = Hotkey(keypair.ss58_address)
        self.validator = validator
        self.window = window
        self.session = SessionId("")
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.frames: list[tuple[bytes, int]] = []
        self.next_frame = 0
        self.seq = 0
        self.sent_at: list[float] = []
        self.latencies: list[float] = []
        self.confirmed = 0
        self.rejected = 0
        self.outstanding = 0
        self.running = False
        self._buffer = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        target = f"/ws?netuid={NETUID}"
        headers = http_auth.sign(self.keypair, method="GET", path=target, receiver_ss58=self.validator)
        lines = [
            f"GET {target} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: bettensor.v1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    def write(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.ready.set_exception(RuntimeError(f"refused: {self._buffer.decode()}"))
                return
            self._upgraded, self._buffer = True, rest
        while (frame := self._take_frame()) is not None:
            self._receive(frame)

    def _take_frame(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1], 2
        if length == 126:
            length, start = int.from_bytes(buffer[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + length:
            return None
        self._buffer = buffer[start + length :]
        if buffer[0] & 0x0F == Opcode.CLOSE:
            raise RuntimeError(f"closed: {buffer[start : start + length]!r}")
        return buffer[start : start + length]

    def _receive(self, frame: bytes) -> None:
        payload = frame.partition(b"\n")[0]
        if b'"message_type":"welcome"' in payload:
            self.session = SessionId(json.loads(payload)["session"])
            self.write(self.frame(HeartbeatMessage()))
        elif b'"message_type":"game_update"' in payload:
            if not self.ready.done():
                self.ready.set_result(None)
        elif b'"message_type":"confirmation"' in payload:
            self._confirm(payload)
        elif b'"message_type":"heartbeat"' not in payload:
            raise RuntimeError(f"unexpected: {payload!r}")

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

    def frame(self, message: WebSocketMessage) -> bytes:
        """The bytes of a signed frame in a masked WebSocket frame."""
        self.seq += 1
        stamped = codec.stamp(
            message, message_id=MessageId(token_hex(16)), sender=self.hotkey, timestamp="2026-01-01T00:00:00.000000Z"
        )
        payload = codec.encode(codec.place(stamped, self.session, self.seq))  # type: ignore[arg-type]
        signature = self.keypair.sign(codec.SIGNED_PREFIX + payload)
        data = codec.join(codec.Frame(payload, bytes(signature)))
        return bytes(WebSocketFrame(Opcode.TEXT, data).serialize(mask=True))

    def sign_beforehand(self, frames: int, batch: int) -> None:
        for _ in range(frames):
            predictions = tuple(make_prediction() for _ in range(batch))
            self.frames.append((self.frame(PredictionMessage(predictions=predictions)), batch))


def make_prediction() -> TeamGamePrediction:
    return TeamGamePrediction(
        prediction_id=PredictionId(token_hex(16)),
        game_id=GameId("benchmark"),
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


def prepare(folder: Path, miners: int) -> tuple[Path, int, Hotkey, list[Keypair]]:
    """Wallet, metagraph, slate and configuration of one validator."""
    validator = new_wallet("benchmark", "validator", str(folder / "wallets"), "sr25519")
    keypairs = [Keypair.create_from_uri(f"//Miner{i}") for i in range(miners)]
    neurons: list[dict[str, Any]] = [{"hotkey": validator, "validator_permit": True}]
    neurons += [{"hotkey": keypair.ss58_address} for keypair in keypairs]
    (folder / "metagraph.yaml").write_text(yaml.safe_dump({"neurons": neurons}))
    game = {
        "game_id": "benchmark",
        "team_a": "Home",
        "team_b": "Away",
        "sport": "baseball",
        "league": "MLB",
        "event_start_date": "P1D",
        "active": True,
        "team_a_odds": ODDS[0],
        "team_b_odds": ODDS[1],
        "can_tie": False,
    }
    (folder / "games.json").write_text(json.dumps({"games": [game]}))
    port = free_port()
    settings = {
        "role": "validator",
        "netuid": NETUID,
        "state_dir": "state",
        "wallet": {"name": "benchmark", "hotkey": "validator", "path": str(folder / "wallets")},
        "metagraph": {"static": "metagraph.yaml"},
        "axon": {"ip": "127.0.0.1", "port": port},
        "games": {"path": "games.json"},
        "actors": {
            "prediction": {"daily_wager_limit": 1e9},
            "connection": {"messages_per_second": 1e6, "burst": 1e6},
            "auth": {"request_burst": 1e6},
        },
    }
    config = folder / "validator.yaml"
    config.write_text(yaml.safe_dump(settings))
    return config, port, validator, keypairs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pin(process: int, core: int) -> None:
    """Keep ``process`` (0: this one) on one core, where there are several."""
    cores = sorted(os.sched_getaffinity(0)) if process else sorted(range(os.cpu_count() or 1))
    os.sched_setaffinity(process, {cores[core % len(cores)]})


def verify_sign_limit(keypair: Keypair) -> float:
    """How often a second one verify and one sign of a prediction's frame can be done on this core."""
    message = codec.SIGNED_PREFIX + b"x" * 600
    signature = keypair.sign(message)
    best = float("inf")
    for _ in range(10):
        begin = time.perf_counter()
        for _ in range(300):
            bittensor_core.verify(message, signature, keypair.ss58_address, bittensor_core.CRYPTO_SR25519)
            keypair.sign(message)
        best = min(best, (time.perf_counter() - begin) / 300)
    return 1 / best


async def connect(port: int, validator: Hotkey, keypairs: list[Keypair], window: int) -> list[LoadMiner]:
    loop = asyncio.get_running_loop()
    miners = []
    for keypair in keypairs:
        _, miner = await loop.create_connection(
            lambda keypair=keypair: LoadMiner(keypair, validator, window),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        await miner.ready
        miners.append(miner)
    return miners


async def load(port: int, validator: Hotkey, keypairs: list[Keypair], arguments: argparse.Namespace) -> dict[str, Any]:
    miners = await connect(port, validator, keypairs, arguments.window)
    frames = (
        int(arguments.signed_per_second * (arguments.duration + 1) / arguments.batch / len(miners)) + arguments.window
    )
    for miner in miners:
        miner.sign_beforehand(frames, arguments.batch)
    begin = time.perf_counter()
    for miner in miners:
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
    with tempfile.TemporaryDirectory(prefix="bettensor-benchmark-") as folder:
        config, port, validator, keypairs = prepare(Path(folder), arguments.miners)
        with (Path(folder) / "log").open("w") as log:
            command = [sys.executable, "-m", "neurons.validator", "--config", str(config)]
            process = subprocess.Popen(command, stderr=log)  # noqa: S603 - our own validator
            try:
                pin(process.pid, 0)
                pin(0, 1)
                wait_for_port(port, process)
                result = asyncio.run(load(port, validator, keypairs, arguments))
                usage = Path(f"/proc/{process.pid}/stat").read_text().split()
                cpu = (int(usage[13]) + int(usage[14])) / os.sysconf("SC_CLK_TCK")
                result["validator_cpu_us_per_prediction"] = 1e6 * cpu / result["confirmed"]
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=30)
    result["verify_sign_limit_per_second"] = verify_sign_limit(keypairs[0])
    result["ratio"] = result["predictions_per_second"] / result["verify_sign_limit_per_second"]
    return result


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise RuntimeError(f"the validator ended with {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError("the validator does not listen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miners", type=int, default=50)
    parser.add_argument("--window", type=int, default=8, help="frames in flight for each miner")
    parser.add_argument("--batch", type=int, default=1, help="predictions in a frame")
    parser.add_argument("--duration", type=float, default=5.0, help="seconds")
    parser.add_argument("--signed-per-second", type=float, default=12_000, help="predictions to sign beforehand")
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


if __name__ == "__main__":
    main()
