"""A validator; ``python -m bettensor.neurons.validator --config FILE`` runs one."""

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Final

from bettensor.bus.events import (
    NeuronDraining,
    NeuronStopping,
)
from bettensor.neurons.config.settings import ValidatorSettings
from bettensor.neurons.neuron import Neuron

if TYPE_CHECKING:
    pass

SHUTDOWN_TIMEOUT: Final = 10.0
"""Seconds to finish what is in flight when a neuron stops."""


class Validator(Neuron):
    """A validator: listens, judges, confirms."""

    settings: ValidatorSettings

    port: int
    """Where it listens, once it does."""

    async def _start(self) -> None:
        # what only one role needs is not imported by the other: each costs start-up time
        from bettensor.neurons.edges.game_feed import GameFeed
        from bettensor.neurons.edges.game_stream import GameStream
        from bettensor.neurons.edges.ledger import Ledger, ledger_database
        from bettensor.neurons.edges.listener import Listener
        from bettensor.neurons.edges.protocols import SendLimits
        from bettensor.neurons.edges.verifiers import Verifiers

        settings = self.settings
        self._known_files = self._read_files(settings)
        self._database = ledger_database(self.bus, settings.state_dir / "ledger.sqlite3")
        self._ledger = Ledger(self._database, self._clock)
        stream = GameStream(self._database, self._writer, self._keys.hotkey, settings.netuid)
        limits = SendLimits(settings.websocket.send_queue_bytes, settings.websocket.send_timeout)
        axon = settings.axon
        self._listener = Listener(self.bus, self._writer, self._clock, axon.ip, axon.port, limits)
        self._feeding = contextlib.AsyncExitStack()
        self._verifiers = Verifiers(self.bus, self._verify_workers) if self._verify_workers else None
        self._edges = contextlib.AsyncExitStack()  # the last one is closed first
        self._edges.push_async_callback(self._database.close)
        self._edges.push_async_callback(self._ledger.close)
        if self._verifiers is not None:
            self._edges.push_async_callback(self._verifiers.close)
        self._edges.push_async_callback(self._listener.close)
        self._edges.push_async_callback(self._feeding.aclose)
        self._begin()
        try:
            await self._database.open()
            await self._ledger.open(self.bus)
            await stream.open(self.bus)
            await self._learn_who_is_there()
            await self._feeding.enter_async_context(GameFeed(self.bus, self._clock, settings.games).running())
            await self._database.settle()  # the slate is stored, and so in force
            if self._verifiers is not None:
                await self._verifiers.open()
            self.port = await self._listener.start()
        except BaseException:
            await self._edges.aclose()
            raise

    async def _stop(self) -> None:
        """Nothing more is taken in, and what was is committed and answered; then sessions end, then the port."""
        self.bus.publish(NeuronDraining())
        stopping = False
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await self._feeding.aclose()
                if self._verifiers is not None:
                    await self._verifiers.settle()
                await self._database.settle()
                stopping = True
                self.bus.publish(NeuronStopping(self._reason))
                await self._listener.drained()
        except TimeoutError:  # what is not done by now has no verdict, and will be asked again
            if not stopping:
                self.bus.publish(NeuronStopping(self._reason))
        finally:
            await self._edges.aclose()


if __name__ == "__main__":
    from bettensor.neurons.cli.main import main

    sys.exit(main(["validator", *sys.argv[1:]]))
