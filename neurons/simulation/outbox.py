"""An outbox in memory, on a simulated disk."""

from bettensor.actors.stream import fold
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    GamesUpdated,
    KnownSlate,
    LedgerRecognised,
    OutboxEntry,
    OutboxOpened,
    Position,
    PredictionExpired,
    PredictionsSaved,
    SaveFailed,
    SaveRequested,
    VerdictReceived,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import GameId, Hotkey, LedgerId, PredictionId
from bettensor.neurons.edges.edge import on
from bettensor.neurons.simulation.disk import SimulatedDisk


class SimulatedOutbox(SimulatedDisk[SaveRequested]):
    """Stores what the real edge stores, for the duration of the test."""

    name = "outbox_store"

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[Hotkey, PredictionId], OutboxEntry] = {}
        self.settled: dict[tuple[Hotkey, PredictionId], str | None] = {}
        """The code of each verdict; None if the prediction expired."""
        self.slates: dict[Hotkey, dict[GameId, TeamGame]] = {}
        self.positions: dict[Hotkey, Position] = {}
        self.ledgers: dict[Hotkey, LedgerId] = {}
        self._ended_early: dict[tuple[int, Hotkey, PredictionId], str | None] = {}
        """What ends while it waits to be saved, by the number of the request."""

    async def open(self) -> None:
        """Publish ``OutboxOpened``."""
        slates = tuple(
            KnownSlate(validator, position.epoch, position.offset, tuple(self.slates[validator].values()))
            for validator, position in self.positions.items()
        )
        verdicts = tuple((*key, code) for key, code in self.settled.items() if code is not None)
        self._bus.publish(OutboxOpened(tuple(self.entries.values()), slates, tuple(self.ledgers.items()), verdicts))

    @on(SaveRequested)
    def save(self, event: SaveRequested, envelope: Envelope) -> None:
        """Answered by ``PredictionsSaved`` or ``SaveFailed``."""
        self._take(event, envelope)

    @on(VerdictReceived, PredictionExpired)
    def forget(self, event: VerdictReceived | PredictionExpired, _: Envelope) -> None:
        key = event.validator, event.prediction.prediction_id
        code = event.code if isinstance(event, VerdictReceived) else None
        if self.entries.pop(key, None) is not None:
            self.settled[key] = code
        for request, seq in self._waiting:
            if any((entry.validator, entry.prediction.prediction_id) == key for entry in request.entries):
                self._ended_early[(seq, *key)] = code

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, _: Envelope) -> None:
        fold(self.slates.setdefault(event.validator, {}), event.games, snapshot=event.snapshot)
        self.positions[event.validator] = Position(event.epoch, event.offset)

    @on(LedgerRecognised)
    def recognise(self, event: LedgerRecognised, _: Envelope) -> None:
        self.ledgers[event.validator] = event.ledger_id

    def _write(self, event: SaveRequested, request: int) -> PredictionsSaved:
        keys = [(entry.validator, entry.prediction.prediction_id) for entry in event.entries]
        settled = tuple(key for key in keys if key in self.settled)
        for key, entry in zip(keys, event.entries, strict=True):
            if key in self.settled:
                continue
            if (request, *key) in self._ended_early:
                self.settled[key] = self._ended_early.pop((request, *key))
            else:
                self.entries.setdefault(key, entry)
        return PredictionsSaved(request, settled)

    def _refuse(self, request: int, reason: str) -> SaveFailed:
        return SaveFailed(request, reason)
