"""Trouble on the wire, from a seed: delays, trickles, resets in the middle of a frame, and connections that hang."""

import asyncio
from random import Random

from tests.loopback.processes import Proxy


class ChaosProxy(Proxy):
    """A proxy each of whose connections has a fate of its own, drawn when it opens.

    With ``calm`` set, connections are only carried.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.calm = False
        self.fates: dict[str, int] = {}
        """How many connections had which fate."""
        self._random = Random(seed)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        fate = "calm" if self.calm else self._random.choice(("calm", "slow", "trickle", "reset", "hang"))
        self.fates[fate] = self.fates.get(fate, 0) + 1
        left = self._random.randrange(200, 40_000)
        """Bytes until a reset or a hang."""
        pause = self._random.uniform(0.005, 0.05)
        while data := await source.read(65536):
            if fate == "slow":
                await asyncio.sleep(pause)
            elif fate == "trickle":
                for start in range(0, len(data), 997):
                    sink.write(data[start : start + 997])
                    await sink.drain()
                    await asyncio.sleep(0.001)
                continue
            elif fate in ("reset", "hang"):
                sink.write(data[:left])
                left -= len(data)
                if left <= 0:
                    await self._end(fate, sink)
                    return
                continue
            sink.write(data)
            await sink.drain()
        sink.close()

    async def _end(self, fate: str, sink: asyncio.StreamWriter) -> None:
        if fate == "hang":
            await asyncio.wait([asyncio.ensure_future(self._reset.wait())], timeout=3.0)
        sink.transport.abort()
