"""What the benchmarks share: a real validator process on one core, and raw sockets as miners on another."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import bittensor_core
import yaml
from bittensor import http_auth
from bittensor_core import Keypair
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from bus import codec
from bus.identifiers import Hotkey, MessageId, SessionId
from bus.messages import HeartbeatMessage, WebSocketMessage
from neurons.edges.keys import new_wallet

NETUID = 30
ODDS = (1.9, 2.0)
Miner = TypeVar("Miner", bound="LoadMiner")


class LoadMiner(asyncio.Protocol):
    """One miner: a raw socket, so that the load costs little beside what it measures."""

    def __init__(self, keypair: Keypair, validator: Hotkey) -> None:
        self.keypair = keypair
        self.hotkey = Hotkey(keypair.ss58_address)
        self.validator = validator
        self.session = SessionId("")
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.seq = 0
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
        elif not self.ready.done() and b'"message_type":"game_update"' in payload:
            self.ready.set_result(None)
        elif b'"message_type":"heartbeat"' not in payload:
            self.receive(payload)

    def receive(self, payload: bytes) -> None:
        """The JSON of whatever comes after the first slate; heartbeats apart."""
        raise RuntimeError(f"unexpected: {payload!r}")

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


def make_game(number: int = 0) -> dict[str, Any]:
    """A game for a games file."""
    return {
        "game_id": f"benchmark-{number}",
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


@dataclass(frozen=True)
class Validator:
    """A validator process that listens."""

    process: "subprocess.Popen[bytes]"
    port: int
    hotkey: Hotkey
    keypairs: list[Keypair]
    """Of the miners that are registered with it."""

    def cpu_seconds(self) -> float:
        """User and system time that it has used."""
        usage = Path(f"/proc/{self.process.pid}/stat").read_text().split()
        return (int(usage[13]) + int(usage[14])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> int:
        """The most bytes that it has had in memory."""
        (line,) = [s for s in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if "VmHWM" in s]
        return 1024 * int(line.split()[1])

    async def connect(self, kind: type[Miner], *arguments: Any, keypairs: list[Keypair] | None = None) -> list[Miner]:
        """A session of every miner, or of those of ``keypairs``, one after the other, each with the slate."""
        loop = asyncio.get_running_loop()
        miners = []
        for keypair in self.keypairs if keypairs is None else keypairs:
            _, miner = await loop.create_connection(
                lambda keypair=keypair: kind(keypair, self.hotkey, *arguments),  # type: ignore[misc]
                "127.0.0.1",
                self.port,
            )
            await miner.ready
            miners.append(miner)
        return miners


@contextmanager
def running_validator(miners: int, **changes: Any) -> Iterator[Validator]:
    """A validator on the first core, and this process on the second, until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="bettensor-benchmark-") as name:
        folder = Path(name)
        config, port, hotkey, keypairs = prepare(folder, miners, changes)
        with (folder / "log").open("w") as log:
            command = [sys.executable, "-m", "neurons.validator", "--config", str(config)]
            process = subprocess.Popen(command, stderr=log)  # noqa: S603 - our own validator
            try:
                pin(process.pid, 0)
                pin(0, 1)
                wait_for_port(port, process)
                yield Validator(process, port, hotkey, keypairs)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=30)


def prepare(folder: Path, miners: int, changes: dict[str, Any]) -> tuple[Path, int, Hotkey, list[Keypair]]:
    """Wallet, metagraph, slate and configuration of one validator."""
    validator = new_wallet("benchmark", "validator", str(folder / "wallets"), "sr25519")
    keypairs = [Keypair.create_from_uri(f"//Miner{i}") for i in range(miners)]
    neurons: list[dict[str, Any]] = [{"hotkey": validator, "validator_permit": True}]
    neurons += [{"hotkey": keypair.ss58_address} for keypair in keypairs]
    (folder / "metagraph.yaml").write_text(yaml.safe_dump({"neurons": neurons}))
    games = changes.pop("slate", [make_game()])
    (folder / "games.json").write_text(json.dumps({"games": games}))
    port = free_port()
    settings = {
        "role": "validator",
        "netuid": NETUID,
        "state_dir": "state",
        "wallet": {"name": "benchmark", "hotkey": "validator", "path": str(folder / "wallets")},
        "metagraph": {"static": "metagraph.yaml"},
        "axon": {"ip": "127.0.0.1", "port": port},
        "games": {"path": "games.json"},
        "metrics": {"port": 0},
        "actors": {
            "prediction": {"daily_wager_limit": 1e9},
            "connection": {"messages_per_second": 1e6, "burst": 1e6},
            "auth": {"request_burst": 1e6},
        },
    }
    config = folder / "validator.yaml"
    config.write_text(yaml.safe_dump(settings | changes))
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
