"""A miner; ``python -m bettensor.neurons.miner --config FILE`` runs one."""

import asyncio
import contextlib
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    NeuronStopping,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    VerdictReceived,
)
from bettensor.bus.identifiers import PredictionId
from bettensor.neurons.composition import build_predictor
from bettensor.neurons.config.settings import MinerSettings
from bettensor.neurons.neuron import Neuron

if TYPE_CHECKING:
    pass

FAREWELL_TIMEOUT: Final = 3.0
"""Seconds that a miner waits for verdicts before it ends its sessions."""


class Miner(Neuron):
    """A miner: dials, predicts, waits for verdicts."""

    settings: MinerSettings

    async def _start(self) -> None:
        from bettensor.neurons.edges.dialer import Dialer
        from bettensor.neurons.edges.http_client import HttpClient
        from bettensor.neurons.edges.outbox import Outbox, outbox_database
        from bettensor.neurons.edges.predictor import PredictorEdge

        settings = self.settings
        self._known_files = self._read_files(settings)
        self._predictor = PredictorEdge(
            self.bus, self._clock, self._keys.hotkey, build_predictor(settings, self._where)
        )
        self._dialer = Dialer(self.bus, self._writer, self._keys, settings.netuid)
        self._http = HttpClient(self.bus, self._keys, self._clock, settings.netuid)
        self._unanswered: Counter[PredictionId] = Counter()
        self._all_answered = asyncio.Event()
        self.bus.subscribe(PredictionMade, self._count, "launch")
        self.bus.subscribe(VerdictReceived, self._uncount, "launch")
        self.bus.subscribe(PredictionDiscarded, self._uncount, "launch")
        self.bus.subscribe(PredictionExpired, self._uncount, "launch")
        self._database = outbox_database(self.bus, settings.state_dir / "outbox.sqlite3")
        self._outbox = Outbox(self._database, self._clock)
        self._edges = contextlib.AsyncExitStack()  # the last one is closed first
        self._edges.push_async_callback(self._database.close)
        self._edges.callback(self._outbox.close)
        self._edges.push_async_callback(self._http.close)
        self._edges.push_async_callback(self._dialer.close)
        self._edges.push_async_callback(self._predictor.close)
        self._begin()
        try:
            await self._database.open()
            await self._outbox.open(self.bus)
            await self._learn_who_is_there()
        except BaseException:
            await self._edges.aclose()
            raise

    def _count(self, event: PredictionMade, _: Envelope) -> None:
        self._unanswered[event.prediction.prediction_id] += 1

    def _uncount(self, event: VerdictReceived | PredictionExpired | PredictionDiscarded, _: Envelope) -> None:
        settled = event.prediction_id if isinstance(event, PredictionDiscarded) else event.prediction.prediction_id
        self._unanswered -= Counter((settled,))
        if not self._unanswered:
            self._all_answered.set()

    async def _stop(self) -> None:
        """No new predictions; then the verdicts that are on their way, then sessions end."""
        try:
            await self._predictor.close()
            self._all_answered.clear()
            if self._unanswered:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL_TIMEOUT):
                        await self._all_answered.wait()
        finally:
            self.bus.publish(NeuronStopping(self._reason))
            await self._edges.aclose()


if __name__ == "__main__":
    from bettensor.neurons.cli.main import main

    sys.exit(main(["miner", *sys.argv[1:]]))
