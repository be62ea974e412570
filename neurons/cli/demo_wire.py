"""The wires of the demo, between each miner and the validator: they can be cut."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Final

from bettensor.neurons.system.ports import free_port

_RESET: Final = struct.pack("ii", 1, 0)


class Wires:
    """All wires, and the thread with an event loop in which they work, from ``start`` to ``close``."""

    def __init__(self, target: int, count: int) -> None:
        """
        Args:
            target: the port of loopback to which they lead.
            count: the number of wires.
        """
        self.wires = [Wire(target, self) for _ in range(count)]
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Open all wires."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="wires", daemon=True)
        self._thread.start()
        self._ready.wait()
        for wire in self.wires:
            wire.open()

    def close(self) -> None:
        """Close all wires, and end the thread; nothing happens if they were not started."""
        if self._thread is not None:
            for wire in self.wires:
                wire.close()
            self._loop.call_soon_threadsafe(self._closed.set)
            self._thread.join()
            self._thread = None

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` in the thread, and wait for its end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _work(self) -> None:
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._closed.wait()


class Wire:
    """A TCP port that leads to the validator, until it is cut."""

    def __init__(self, target: int, wires: Wires) -> None:
        self.port = free_port()
        self.cut = False
        self._target = target
        self._wires = wires
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def open(self) -> None:
        """Lead to the validator from now on."""
        self._wires.run(self._listen())

    def close(self) -> None:
        """Reset open connections, and refuse new ones."""
        self._wires.run(self._break())

    def toggle(self) -> None:
        """Cut it, or mend it."""
        self.cut = not self.cut
        if self.cut:
            self.close()
        else:
            self.open()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def _break(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            await asyncio.gather(_pump(reader, there), _pump(back, writer))
        except OSError:
            pass  # the validator is down
        finally:
            for end in (writer, there):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()
