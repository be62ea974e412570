"""Existing miners, as bittensor 10's Axon answers: asyncio servers that are asked, and confirmed, over Synapse."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bittensor_core import Keypair

from bettensor.bus import synapse
from bettensor.bus.identifiers import Hotkey, Uid
from tests.support import make_game, make_prediction

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


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """A server that serves each connection so; yields its endpoint."""
    tasks: set[asyncio.Task[Any]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(*ERRORS):
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
