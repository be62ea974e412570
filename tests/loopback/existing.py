"""Existing miners, as bittensor 10's Axon answers: asyncio servers that are asked, and confirmed, over Synapse."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from bittensor_core import Keypair

from bettensor.bus import synapse
from bettensor.bus.identifiers import Hotkey, Uid
from tests.support import make_game, make_prediction

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ERRORS = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class ExistingMiner:
    """One that answers like the real one: the same predictions each time, until its test changes them."""

    def __init__(self, name: str) -> None:
        self.keypair = Keypair.create_from_uri(f"//{name}")
        self.hotkey = Hotkey(self.keypair.ss58_address)
        self.predictions: dict[str, Any] = {}
        self.predict(wager=1.0)
        self.queries: list[dict[str, Any]] = []
        self.heads: list[list[tuple[str, str]]] = []
        self.confirmations: list[dict[str, Any]] = []
        self.endpoint = ""

    def predict(self, **changes: Any) -> str:
        """Have one more prediction to answer with; returns its id."""
        prediction = make_prediction(make_game(), **changes)
        self.predictions[prediction.prediction_id] = synapse.prediction_form(prediction, Uid(0))
        return prediction.prediction_id

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The synapse that a real Axon sends back."""
        kind = asked["metadata"]["synapse_type"]
        if kind == "confirmation":
            self.confirmations.append(asked["confirmation_dict"])
            return asked
        self.queries.append(asked)
        metadata = asked["metadata"] | {"synapse_type": "prediction", "neuron_uid": "0"}
        return asked | {"metadata": metadata, "gamedata_dict": None, "prediction_dict": self.predictions}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        asked = await read_request(reader, self.heads)
        body = json.dumps(self.answer(asked)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def read_request(
    reader: asyncio.StreamReader, heads: list[list[tuple[str, str]]] | None = None
) -> dict[str, Any]:
    """The body of one request; its head goes to ``heads``."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)]
    if heads is not None:
        heads.append(headers)
    size = int({name.lower(): value for name, value in headers}["content-length"])
    body: dict[str, Any] = json.loads(await reader.readexactly(size))
    return body


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """A server that serves each connection so; yields its endpoint."""
    tasks: set[asyncio.Task[Any]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError, *ERRORS):  # cancelled at the end of the test
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, backlog=512)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        running = list(tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class TimedMiner(ExistingMiner):
    """One that notes when it was first asked, and first confirmed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked_at: float | None = None
        self.confirmed_at: float | None = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer = super().answer(asked)
        now = asyncio.get_running_loop().time()
        if self.confirmations:
            self.confirmed_at = self.confirmed_at or now
        self.asked_at = self.asked_at or now
        return answer


# --- what an existing miner may do instead of answering


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take the request, and say nothing."""
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer of a byte at a time."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Headers without end, slowly."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer without end, as fast as it can be read."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def pour_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Headers without end, as fast as they can be read."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


async def pour_hints(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Preliminary answers without end."""
    await read_request(reader)
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0)


async def crumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body in chunks of one byte."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n" * 10_000)
        await writer.drain()


async def leave(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take the request, and close."""
    await read_request(reader)


async def speak_otherwise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Something that is no HTTP."""
    await read_request(reader)
    writer.write(b"\x00\xff SSH-2.0\r\n\r\n")


def saying(body: bytes, *headers: bytes, status: bytes = b"200 OK", more: int = 0) -> Serve:
    """The same answer to everything; ``more`` is the error of its content-length."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = [b"HTTP/1.1 " + status, b"content-length: %d" % (len(body) + more), *headers, b"", b""]
        writer.write(b"\r\n".join(head) + body)
        await writer.drain()

    return serve


def packed(entries: Any, kind: str = "prediction", **more: Any) -> bytes:
    """The body of an answer in which only these parts are given."""
    return json.dumps({"metadata": {"synapse_type": kind}, "prediction_dict": entries} | more).encode()


def forms(count: int, prefix: str = "p") -> dict[str, Any]:
    """So many predictions, as existing miners send them."""
    form = synapse.prediction_form(make_prediction(), Uid(7))
    names = [f"{prefix}{number}" for number in range(count)]
    return {name: form | {"prediction_id": name} for name in names}
