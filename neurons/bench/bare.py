"""The server stack without this software: uvicorn's WebSocket on uvloop, which echoes frames or broadcasts one.

python -m bettensor.neurons.bench.bare PORT
"""

import sys
import time
from typing import Any, Final

import uvicorn

BROADCAST: Final = "broadcast"
"""The text that is not echoed, but broadcast to all connections."""
BROADCAST_BYTES: Final = 4096

_everybody: list[Any] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one connection."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    _everybody.append(send)
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == BROADCAST:
            text = f"{time.time():.9f} ".ljust(BROADCAST_BYTES, "x")
            for one in _everybody:
                await one({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "text": message["text"]})
    _everybody.remove(send)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_level="error",
        access_log=False,
        backlog=2048,
    )
