"""The largest slate on links that carry little: small packets, small windows, and readers that take their time."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bittensor_core import Keypair

from bettensor.bus import codec, packing
from bettensor.bus.events import (
    ConnectionClosed,
    ExchangeCompleted,
    GamesUpdated,
    PredictionsStored,
    SendQueueDrained,
    SendQueueFilled,
    SlatePrepared,
    SlateWritten,
)
from bettensor.bus.messages import HeartbeatMessage, PredictionMessage
from bettensor.neurons.edges.listener import Listener
from tests.loopback.rig import ALICE, BOB, PATIENCE, Client, Rig, running_miner, running_validator, starting_soon
from tests.loopback.test_miner import register_miner, until
from tests.support import make_prediction

GAMES = 20_000
"""The most that a slate may have (protocol, "Limits")."""
SOME = 3_000
"""Enough to fill a narrow link."""
PACKET = 1448
"""Bytes of a segment on a link with an MTU of 1,500."""


def offer(folder: Path, count: int, **changes: Any) -> None:
    game = starting_soon(**changes)
    (folder / "games.json").write_text(
        json.dumps({"games": [game, *(game | {"game_id": f"{number:032x}"} for number in range(count - 1))]})
    )


@asynccontextmanager
async def with_the_largest_slate(folder: Path, games: int = GAMES, **changes: Any) -> AsyncIterator[Rig]:
    async with running_validator(folder, **changes) as rig:
        offer(folder, games)
        await rig.until(GamesUpdated, 2)
        yield rig


async def narrow(rig: Rig) -> socket.socket:
    """A connection that carries little at a time."""
    link = socket.socket()
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, PACKET)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    link.setblocking(False)
    await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", rig.validator.port))
    return link


class SlowReader(Client):
    """Takes a message, and then does something else for a moment."""

    @classmethod
    async def open(cls, rig: Rig, query: str = "", keypair: Keypair = ALICE) -> "SlowReader":
        target = rig.target() + query
        socket_ = await rig.dial(rig.sign(keypair, path=target), target, sock=await narrow(rig), max_queue=1)
        reader = cls(socket_, keypair)
        await reader.be_welcomed()
        await reader.say(HeartbeatMessage())
        return reader

    async def update(self) -> tuple[dict[str, Any], list[int]]:
        """One update, all its parts, as a part of the whole; and the sizes of its messages."""
        games: dict[str, Any] = {}
        sizes = []
        while True:
            async with asyncio.timeout(PATIENCE):
                message = await self.socket.recv()
            frame = message.encode() if isinstance(message, str) else packing.unpack(message)
            read = json.loads(codec.split(frame).payload)
            if read["message_type"] != "game_update":
                continue
            sizes.append(len(message))
            assert read["part"] == len(sizes)
            games |= read["updated_games"]
            if read["part"] == read["parts"]:
                return read | {"updated_games": games}, sizes


async def test_the_largest_slate_reaches_a_session_on_a_narrow_link(tmp_path: Path) -> None:
    async with with_the_largest_slate(tmp_path, websocket={"send_queue_bytes": 65536}) as rig:
        slow = await SlowReader.open(rig)
        update, sizes = await slow.update()
        assert len(update["updated_games"]) == GAMES
        assert sum(sizes) > 50 * 65536
        assert len(rig.all(SendQueueFilled)) == len(await rig.until(SendQueueDrained)) == 1
        (written,) = await rig.until(SlateWritten)
        assert (written.frames, written.road) == (len(sizes), "websocket")
        assert written.size >= sum(sizes)
        await slow.works()
        await slow.socket.close()


async def test_a_compressed_slate_is_the_same_in_a_seventh_of_the_bytes(tmp_path: Path) -> None:
    async with with_the_largest_slate(tmp_path) as rig:
        plain, packed = await SlowReader.open(rig), await SlowReader.open(rig, "&encoding=deflate", BOB)
        (update, sizes), (again, fewer) = await plain.update(), await packed.update()
        assert again == update
        assert sum(fewer) < sum(sizes) / 7
        assert len(rig.all(SlatePrepared)) <= 1  # whoever asks
        for reader in (plain, packed):
            await reader.works()
            await reader.socket.close()


async def test_the_largest_slate_reaches_a_request_on_a_narrow_link(tmp_path: Path) -> None:
    async with with_the_largest_slate(tmp_path) as rig:
        body = await answer(rig, await narrow(rig))
        lines = body.splitlines()[::2]
        updates = [json.loads(line) for line in lines[1:]]
        assert sum(len(update["updated_games"]) for update in updates) == GAMES
        assert [update["part"] for update in updates] == list(range(1, len(updates) + 1))


async def answer(rig: Rig, link: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=link, limit=8192)
    await ask(rig, writer)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    async with asyncio.timeout(PATIENCE):
        body = await reader.readexactly(length)
    writer.close()
    return body


async def ask(rig: Rig, writer: asyncio.StreamWriter) -> None:
    target = rig.target("/games")
    headers = "".join(f"{name}: {value}\r\n" for name, value in rig.sign(path=target).items())
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    await writer.drain()


async def test_a_slate_that_changes_while_it_is_read_arrives_as_it_is_in_the_end(tmp_path: Path) -> None:
    async with with_the_largest_slate(tmp_path, SOME) as rig:
        slow = await SlowReader.open(rig)
        await rig.until(SendQueueFilled)
        for odds in (1.71, 1.72, 1.73):
            before = len(rig.all(GamesUpdated))
            offer(tmp_path, SOME, team_a_odds=odds)
            await rig.until(GamesUpdated, before + 1)
        last = rig.all(GamesUpdated)[-1].offset
        games: dict[str, Any] = {}
        position: int | None = None
        while position != last:
            update, _ = await slow.update()
            assert update["previous"] is None or update["previous"] == position, "an update that does not fit"
            games |= update["updated_games"]
            position = update["offset"]
        assert len(games) == SOME
        assert {game["team_a_odds"] for game in games.values()} == {1.73}
        await slow.socket.close()


async def test_confirmations_do_not_wait_for_the_end_of_a_slate(tmp_path: Path) -> None:
    async with with_the_largest_slate(tmp_path, SOME) as rig:
        slow = await SlowReader.open(rig)
        await rig.until(SendQueueFilled)
        await slow.say(PredictionMessage(predictions=(make_prediction(wager=0.01),)))
        await rig.until(PredictionsStored)
        kinds: list[dict[str, Any]] = []
        while not kinds or kinds[-1]["message_type"] != "game_update" or kinds[-1]["part"] < kinds[-1]["parts"]:
            kinds.append(await slow.hear())
        assert "confirmation" in [message["message_type"] for message in kinds]
        await slow.socket.close()


async def test_what_waits_for_slow_readers_is_bounded_and_the_oldest_must_go(tmp_path: Path) -> None:
    async with with_the_largest_slate(tmp_path, SOME) as rig:
        outlet = rig.validator.edges[Listener]._outlet  # noqa: SLF001
        outlet._limit = 2_000_000  # noqa: SLF001 - two slates are more
        first = await SlowReader.open(rig)
        reader, writer = await asyncio.open_connection(sock=await narrow(rig), limit=8192)
        await ask(rig, writer)
        await rig.until(ExchangeCompleted)
        await rig.until(SendQueueFilled)
        offer(tmp_path, SOME, team_a_odds=1.6)
        await rig.until(GamesUpdated, 3)
        second = await SlowReader.open(rig, keypair=BOB)
        code, reason, _ = await first.closed()
        assert (code, reason) == (4101, "more than 2000000 bytes wait to be read, and these the longest")
        async with asyncio.timeout(PATIENCE):
            assert len(await reader.read(-1)) < SOME * 300  # the answer is cut off
        writer.close()
        update, _ = await second.update()
        assert len(update["updated_games"]) == SOME
        await second.socket.close()


async def test_a_miner_asks_for_compression_and_follows_the_stream(tmp_path: Path) -> None:
    async with running_validator(tmp_path, **register_miner(tmp_path)) as rig:
        offer(tmp_path, 300)
        await rig.until(GamesUpdated, 2)
        async with running_miner(rig) as (_, theirs):
            (written,) = await rig.until(SlateWritten)
            assert written.size < 300 * 100  # of some 400 bytes each
            offer(tmp_path, 300, team_a_odds=1.77)
            await rig.until(GamesUpdated, 3)
            await until(lambda: [e.event.offset for e in theirs if isinstance(e.event, GamesUpdated)][-1:] == [3])
        assert not [event for event in rig.all(ConnectionClosed) if event.code == 4000]
