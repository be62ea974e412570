"""A real validator on loopback (wallet and database on disk, real sockets), and a client that can do all wrong."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from bittensor import http_auth
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from bettensor.bus import codec
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Hotkey, MessageId, SessionId
from bettensor.bus.messages import HeartbeatMessage, PointToPoint, PredictionMessage, WebSocketMessage
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import MinerSettings, ValidatorSettings
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.miner import Miner
from bettensor.neurons.validator import Validator
from tests.support import NETUID, make_game, make_hex32, make_prediction

ALICE = Keypair.create_from_uri("//Alice", CRYPTO_SR25519)
BOB = Keypair.create_from_uri("//Bob", CRYPTO_ED25519)
CHARLIE = Keypair.create_from_uri("//Charlie", CRYPTO_SR25519)
EVE = Keypair.create_from_uri("//Eve", CRYPTO_SR25519)
"""Registered: Alice, Bob (ed25519) and Charlie, who is blacklisted. Eve is nobody."""
PATIENCE = 10.0
"""Seconds that a test waits for what must come."""


def starting_soon(**changes: Any) -> dict[str, Any]:
    """A game for a games file."""
    game = make_game(**changes).to_dict()
    return game | {"event_start_date": "P1D"}


@dataclass(frozen=True)
class Place:
    """Where something listens that says it is a validator."""

    folder: Path
    hotkey: Hotkey
    address: str


@dataclass
class Rig:
    """A validator under test, and all that happened on its bus."""

    folder: Path
    validator: Validator
    envelopes: list[Envelope] = field(default_factory=list)
    elsewhere: int | None = None
    """The port where miners look for it, if it is not there."""

    @property
    def hotkey(self) -> Hotkey:
        return Hotkey(self.validator.hotkey)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.elsewhere or self.validator.port}"

    def game(self) -> TeamGame:
        """The game on the slate."""
        return make_game()

    def all(self, kind: type[Event]) -> list[Any]:
        return [envelope.event for envelope in self.envelopes if isinstance(envelope.event, kind)]

    async def until(self, kind: type[Event], count: int = 1) -> list[Any]:
        """Wait until there are ``count`` events of ``kind``."""
        async with asyncio.timeout(PATIENCE):
            while len(found := self.all(kind)) < count:  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.005)
        return found

    def target(self, path: str = "/ws") -> str:
        return f"{path}?netuid={NETUID}"

    def sign(self, keypair: Keypair = ALICE, **changes: Any) -> dict[str, str]:
        """btauth/1 headers for a handshake, or for what ``changes`` say."""
        request = {"method": "GET", "path": self.target(), "body": b"", "receiver_ss58": self.hotkey} | changes
        return http_auth.sign(keypair, **request)

    async def dial(
        self,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        target: str | None = None,
        subprotocols: tuple[str, ...] = ("bettensor.v1",),
        **options: Any,
    ) -> ClientConnection:
        """A handshake, right or wrong."""
        return await connect(
            f"ws://{self.address}{target or self.target()}",
            additional_headers=self.sign() if headers is None else headers,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            compression=None,
            ping_interval=None,
            proxy=None,
            **options,
        )

    async def refusal(self, *arguments: Any, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON with which a handshake is refused."""
        try:
            socket = await self.dial(*arguments, **changes)
        except InvalidStatus as refused:
            return refused.response.status_code, json.loads(refused.response.body or b"")
        await socket.close()
        raise AssertionError("the handshake was not refused")

    async def post(
        self, message: PointToPoint | bytes, keypair: Keypair = ALICE, path: str = "/predictions", **changes: Any
    ) -> httpx.Response:
        """One HTTP exchange."""
        body = message if isinstance(message, bytes) else codec.encode_body(message)
        headers = self.sign(keypair, **({"method": "POST", "path": self.target(path), "body": body} | changes))
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.post(f"http://{self.address}{self.target(path)}", content=body, headers=headers)

    @asynccontextmanager
    async def client(self, keypair: Keypair = ALICE, *, activate: bool = True) -> AsyncIterator["Client"]:
        """A session that has been welcomed and, unless told otherwise, activated."""
        socket = await self.dial(self.sign(keypair))
        async with socket:
            client = Client(socket, keypair)
            await client.be_welcomed()
            if activate:
                await client.say(HeartbeatMessage())
                assert (await client.hear())["message_type"] == "game_update"
            yield client


class Client:
    """The miner's side of a session, frame by frame."""

    def __init__(self, socket: ClientConnection | ServerConnection, keypair: Keypair) -> None:
        self.socket = socket
        self.keypair = keypair
        self.hotkey = Hotkey(keypair.ss58_address)
        self.session = SessionId("")
        self.seq = 0
        self.welcome: dict[str, Any] = {}

    async def be_welcomed(self) -> None:
        self.welcome = await self.hear()
        assert self.welcome["message_type"] == "welcome"
        self.session = SessionId(self.welcome["session"])

    def stamp(self, message: PointToPoint, **changes: Any) -> WebSocketMessage:
        """``message`` in its place, with whatever ``changes``."""
        self.seq += 1
        stamps: dict[str, Any] = {
            "message_id": MessageId(make_hex32()),
            "sender_hotkey": self.hotkey,
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "session": self.session,
            "seq": self.seq,
        }
        return type(message).from_dict(message.to_dict() | stamps | changes)

    def frame(self, message: PointToPoint, keypair: Keypair | None = None, **changes: Any) -> str:
        """A signed frame."""
        return self.sign(codec.encode(self.stamp(message, **changes)), keypair)

    def sign(self, payload: bytes, keypair: Keypair | None = None) -> str:
        """Any bytes as a signed frame."""
        signature = bytes((keypair or self.keypair).sign(codec.SIGNED_PREFIX + payload))
        return codec.join(codec.Frame(payload, signature)).decode(errors="surrogateescape")

    def raw(self, **changes: Any) -> bytes:
        """The JSON of the next heartbeat, with any fields instead of its own."""
        fields = self.stamp(HeartbeatMessage()).to_dict()
        return json.dumps(fields | changes).encode()

    async def say(self, message: PointToPoint, **changes: Any) -> None:
        await self.socket.send(self.frame(message, **changes))

    async def hear(self, *, heartbeats: bool = False) -> dict[str, Any]:
        """The JSON of the next frame; heartbeats, which come when they come, are passed over unless asked for."""
        while True:
            async with asyncio.timeout(PATIENCE):
                frame = await self.socket.recv()
            assert isinstance(frame, str)
            message: dict[str, Any] = json.loads(frame.partition("\n")[0])
            if heartbeats or message["message_type"] != "heartbeat":
                return message

    async def closed(self) -> tuple[int, str, list[dict[str, Any]]]:
        """Code and reason of the close that comes, and what was said before it."""
        said = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                said.append(await self.hear())
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or "", said

    async def predict(self, *predictions: Any) -> dict[str, Any]:
        """The answer to a prediction message."""
        await self.say(PredictionMessage(predictions=predictions))
        return await self.hear()

    async def works(self) -> None:
        """The session goes on: a good prediction is confirmed."""
        prediction = make_prediction(wager=0.01)
        results = (await self.predict(prediction))["results"]
        assert [(result["prediction_id"], result["code"]) for result in results] == [
            (prediction.prediction_id, "accepted")
        ]


def write_configuration(folder: Path, **changes: Any) -> Path:
    """Wallet, metagraph, blacklist, slate and YAML of a validator on a free port; a second call keeps the wallet."""
    wallets = str(folder / "wallets")
    if not (folder / "hotkey").exists():
        (folder / "hotkey").write_text(new_wallet("test", "validator", wallets, "sr25519"))
    hotkey = (folder / "hotkey").read_text()
    neurons = [{"hotkey": hotkey, "validator_permit": True}]
    neurons += [{"hotkey": keypair.ss58_address} for keypair in (ALICE, CHARLIE)]
    neurons += [{"hotkey": BOB.ss58_address, "crypto": "ed25519"}]
    write(folder / "metagraph.yaml", {"neurons": neurons})
    write(folder / "blacklist.yaml", {"hotkeys": [CHARLIE.ss58_address]})
    (folder / "games.json").write_text(json.dumps({"games": [starting_soon()]}))
    settings = {
        "role": "validator",
        "netuid": NETUID,
        "state_dir": "state",
        "wallet": {"name": "test", "hotkey": "validator", "path": wallets},
        "metagraph": {"static": "metagraph.yaml"},
        "blacklist": "blacklist.yaml",
        "axon": {"ip": "127.0.0.1", "port": 0},
        "games": {"path": "games.json"},
        "metrics": {"enabled": False},
        "recorder": {"record": "all"},
    }
    return write(folder / "validator.yaml", settings | changes)


def write(file: Path, document: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(document))
    return file


@asynccontextmanager
async def running_validator(folder: Path, *, seen: Any = None, **changes: Any) -> AsyncIterator[Rig]:
    """A validator in this process, until the end of the block; ``seen`` gets each event as it is published."""
    config = write_configuration(folder, **changes)
    settings = load_settings(config)
    assert isinstance(settings, ValidatorSettings)
    envelopes: list[Envelope] = []

    def record(envelope: Envelope) -> None:
        envelopes.append(envelope)
        if seen is not None:
            seen(envelope)

    validator = Validator(settings, str(config), record=record)
    rig = Rig(folder, validator, envelopes)
    async with validator:
        yield rig


@asynccontextmanager
async def running_miner(
    rig: "Rig | Place", keypair_name: str = "miner", **changes: Any
) -> AsyncIterator[tuple[Miner, list[Envelope]]]:
    """A miner in this process that knows the validator of ``rig``; its hotkey must be registered there."""
    wallets = str(rig.folder / "wallets")
    neurons = [{"hotkey": rig.hotkey, "validator_permit": True, "axon": rig.address}]
    write(rig.folder / "miner-metagraph.yaml", {"neurons": neurons})
    settings = {
        "role": "miner",
        "netuid": NETUID,
        "state_dir": f"{keypair_name}-state",
        "wallet": {"name": "test", "hotkey": keypair_name, "path": wallets},
        "metagraph": {"static": "miner-metagraph.yaml"},
        "metrics": {"enabled": False},
        "recorder": {"record": "all"},
    }
    config = write(rig.folder / f"{keypair_name}.yaml", settings | changes)
    loaded = load_settings(config)
    assert isinstance(loaded, MinerSettings)
    envelopes: list[Envelope] = []
    async with Miner(loaded, str(config), record=envelopes.append) as miner:
        yield miner, envelopes


def old(seconds: float) -> int:
    """A nonce from ``seconds`` ago."""
    return time.time_ns() - int(seconds * 1e9)
