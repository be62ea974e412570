"""The asking side of Synapse over HTTP, made by hand, so that it can do everything wrong."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import uuid4

from bittensor_core import Keypair

from bettensor.bus import synapse
from bettensor.bus.games import TeamGame

PATIENCE: Final = 10.0
Headers = list[tuple[str, str]]


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    content: dict[str, Any]


class Dendrite:
    """A validator that speaks Synapse with one miner."""

    def __init__(self, keypair: Keypair, miner: str, port: int) -> None:
        self.keypair = keypair
        self.hotkey: str = keypair.ss58_address
        self.miner = miner
        self.port = port
        self.uuid = str(uuid4())
        self._nonces = itertools.count(time.time_ns())

    def head(self, *, signed_for: str | None = None, signer: Keypair | None = None, **changes: str | None) -> Headers:
        """The headers of a Dendrite of bittensor 10.5, signed last.

        Args:
            signed_for: another receiver than the one that the head names.
            signer: another key.
            changes: other values by name, without the prefix ``bt_header_``; None leaves the header out.
        """
        plain = {
            "name": "GameData",
            "timeout": "12.0",
            "bt_header_axon_ip": "127.0.0.1",
            "bt_header_axon_port": str(self.port),
            "bt_header_axon_hotkey": self.miner,
            "bt_header_dendrite_ip": "203.0.113.9",
            "bt_header_dendrite_version": "10005000",
            "bt_header_dendrite_nonce": str(max(next(self._nonces), time.time_ns())),
            "bt_header_dendrite_uuid": self.uuid,
            "bt_header_dendrite_hotkey": self.hotkey,
            "header_size": "464",
            "total_size": "6469",
            "computed_body_hash": synapse.BODY_HASH,
        }
        given = {
            name if name in plain or "_" not in name else f"bt_header_{name}": value for name, value in changes.items()
        }
        head = plain | {name: value for name, value in given.items() if value is not None}
        text = ".".join(
            (
                head["bt_header_dendrite_nonce"],
                head["bt_header_dendrite_hotkey"],
                signed_for or head["bt_header_axon_hotkey"],
                head["bt_header_dendrite_uuid"],
                head["computed_body_hash"],
            )
        )
        signature = bytes((signer or self.keypair).sign(text.encode())).hex()
        head = {"bt_header_dendrite_signature": f"0x{signature}"} | head
        return [(name, value) for name, value in head.items() if given.get(name, "") is not None]

    def body(self, kind: str, **parts: Any) -> bytes:
        """A GameData, as the subnet's validator fills it."""
        whole = {
            "name": "GameData",
            "timeout": 12.0,
            "total_size": 0,
            "header_size": 0,
            "dendrite": {"ip": "203.0.113.9", "hotkey": self.hotkey, "version": 10005000},
            "axon": {"hotkey": self.miner},
            "computed_body_hash": "",
            "metadata": {
                "synapse_id": str(uuid4()),
                "neuron_uid": "3",
                "timestamp": "2026-11-28T07:25:19.333429+00:00",
                "subnet_version": "2041",
                "synapse_type": kind,
            },
            "gamedata_dict": None,
            "prediction_dict": None,
            "confirmation_dict": None,
            "error": None,
            "synapse_type": kind,
        }
        return json.dumps(whole | parts).encode()

    def games_body(self, games: Iterable[TeamGame], **parts: Any) -> bytes:
        """A slate."""
        return self.body("game_data", gamedata_dict={game.game_id: existing_form(game) for game in games}, **parts)

    def confirmation_body(self, results: dict[str, tuple[str, str]], stats: dict[str, str] | None = None) -> bytes:
        """Verdicts: success and message, by id."""
        entries: dict[str, Any] = {i: {"success": success, "message": text} for i, (success, text) in results.items()}
        return self.body("confirmation", confirmation_dict=entries | {"miner_stats": stats or {}})

    @asynccontextmanager
    async def line(self) -> AsyncIterator["Line"]:
        """A connection, which can carry several requests."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Line(reader, writer)
        finally:
            writer.close()

    async def post(self, body: bytes, head: Headers | None = None, **request: Any) -> Answer:
        """One request on a connection of its own."""
        async with self.line() as line:
            return await line.request(self.head() if head is None else head, body, **request)

    async def ask(self, *games: TeamGame) -> Answer:
        """The right question about these games."""
        return await self.post(self.games_body(games))


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(
        self, head: Headers, body: bytes = b"", method: str = "POST", path: str = "/GameData", length: int | None = -1
    ) -> Answer:
        """Send a request, and read its answer.

        Args:
            head: besides Host, Content-Length and Content-Type.
            body: its bytes.
            method: of HTTP.
            path: of HTTP.
            length: another Content-Length than that of the body; None: no such header.
        """
        self.send(head, body, method, path, length)
        return await self.answer()

    def send(
        self, head: Headers, body: bytes = b"", method: str = "POST", path: str = "/GameData", length: int | None = -1
    ) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in head)]
        lines += [] if length is None else [f"Content-Length: {len(body) if length < 0 else length}"]
        lines += ["Content-Type: application/json", "", ""]
        self.writer.write("\r\n".join(lines).encode("latin-1") + body)

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            content = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(first.split()[1]), headers, json.loads(content))

    async def is_cut(self) -> bool:
        """Whether the other side ends the connection without another byte."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


def existing_form(game: TeamGame) -> dict[str, Any]:
    """A game as the subnet's validator sends it: a space in its dates, and odds of a tie that cannot be."""
    plain: dict[str, Any] = game.to_dict()
    dates = {name: plain[name].replace("T", " ").replace("Z", "+00:00") for name in plain if name.endswith("_date")}
    return plain | dates | {"outcome": "3", "tie_odds": game.tie_odds or 0.0}
