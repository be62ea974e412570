"""Lets a miner that stops wait for the verdicts that are on their way."""

import asyncio
from collections import Counter

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import PredictionDiscarded, PredictionExpired, PredictionMade, VerdictReceived
from bettensor.bus.identifiers import PredictionId
from bettensor.neurons.edges.edge import Edge, on


class Farewell(Edge):
    """Counts the predictions of this run that have no verdict."""

    name = "farewell"

    def __init__(self) -> None:
        self._unanswered: Counter[PredictionId] = Counter()
        self._all_answered = asyncio.Event()

    @on(PredictionMade)
    def count(self, event: PredictionMade, _: Envelope) -> None:
        """Count one more."""
        self._unanswered[event.prediction.prediction_id] += 1

    @on(VerdictReceived, PredictionDiscarded, PredictionExpired)
    def uncount(self, event: VerdictReceived | PredictionExpired | PredictionDiscarded, _: Envelope) -> None:
        """Count one fewer; predictions of earlier runs were not counted."""
        settled = event.prediction_id if isinstance(event, PredictionDiscarded) else event.prediction.prediction_id
        left = self._unanswered[settled] - 1
        if left > 0:
            self._unanswered[settled] = left
        else:
            self._unanswered.pop(settled, None)
        if not self._unanswered:
            self._all_answered.set()

    async def settle(self) -> None:
        """Wait until every prediction has its verdict. Safe to cancel."""
        self._all_answered.clear()
        if self._unanswered:
            await self._all_answered.wait()
