"""The bare stack that this software is compared with: it echoes, and broadcasts to everybody."""

import asyncio
import time
from typing import Any

import pytest

from bettensor.neurons.bench import bare
from bettensor.neurons.bench.bare import BROADCAST, BROADCAST_BYTES, app


class Client:
    """One connection, without a socket."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.hears: list[dict[str, Any]] = []
        self.say("websocket.connect")
        self.task = asyncio.create_task(app({"type": "websocket"}, self.says.get, self.hear))

    async def hear(self, message: dict[str, Any]) -> None:
        self.hears.append(message)

    def say(self, kind: str = "websocket.receive", **message: str) -> None:
        self.says.put_nowait({"type": kind, **message})

    async def leave(self) -> None:
        self.say("websocket.disconnect")
        await self.task

    async def texts(self) -> list[str]:
        """What it has heard once there is nothing more to do."""
        while not self.says.empty():  # noqa: ASYNC110 - a queue does not tell
            await asyncio.sleep(0)
        return [message["text"] for message in self.hears if message["type"] == "websocket.send"]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "_everybody", [])


async def test_what_one_says_comes_back_to_it_alone() -> None:
    first, second = Client(), Client()
    first.say(text="hello")
    first.say(text="again")
    assert (await first.texts(), await second.texts()) == (["hello", "again"], [])
    assert first.hears[0] == {"type": "websocket.accept"}
    await first.leave()
    await second.leave()


async def test_a_broadcast_reaches_everybody_who_is_still_there_with_its_time() -> None:
    first, second, gone = Client(), Client(), Client()
    await gone.leave()
    await second.texts()
    before = time.time()
    first.say(text=BROADCAST)
    (text,) = await first.texts()
    assert await second.texts() == [text]
    assert await gone.texts() == []
    assert len(text) == BROADCAST_BYTES
    assert before - 1e-6 <= float(text.split()[0]) <= time.time()
    await first.leave()
    await second.leave()


async def test_what_is_no_websocket_is_left_alone() -> None:
    async def never(*_: object) -> Any:
        raise AssertionError

    await app({"type": "http"}, never, never)
