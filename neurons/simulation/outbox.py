"""An outbox in memory. Saves are answered within the drain, later, or not at all."""

from collections import deque

from bettensor.actors.stream import fold
from bettensor.bus.bus import EventBus
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
from bettensor.neurons.edges.edge import Edge, on


class SimulatedOutbox(Edge):
    """Stores what the real edge stores, during the test. With ``held`` set, saves wait until ``release``."""

    name = "outbox_store"

    def __init__(self) -> None:
        self.entries: dict[tuple[Hotkey, PredictionId], OutboxEntry] = {}
        self.settled: dict[tuple[Hotkey, PredictionId], str | None] = {}
        """The code of each verdict; None if the prediction expired."""
        self.slates: dict[Hotkey, dict[GameId, TeamGame]] = {}
        self.positions: dict[Hotkey, Position] = {}
        self.ledgers: dict[Hotkey, LedgerId] = {}
        self.held = False
        self.failing: str | None = None
        """While set, each save fails for this reason."""
        self._waiting: deque[tuple[SaveRequested, int]] = deque()

    def attach(self, bus: EventBus) -> None:
        """Subscribe; a neuron's next run attaches the same disk to its own bus."""
        super().attach(bus)
        self._waiting.clear()  # requests of an earlier run were lost with it

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
        self._waiting.append((event, envelope.seq))
        if not self.held:
            self.release()

    def release(self) -> None:
        """Answer the waiting saves."""
        while self._waiting:
            event, request = self._waiting.popleft()
            if self.failing is not None:
                self._bus.publish(SaveFailed(request, self.failing), causes=(request,))
                continue
            keys = [(entry.validator, entry.prediction.prediction_id) for entry in event.entries]
            settled = tuple(key for key in keys if key in self.settled)
            for key, entry in zip(keys, event.entries, strict=True):
                if key not in self.settled:
                    self.entries.setdefault(key, entry)
            self._bus.publish(PredictionsSaved(request, settled), causes=(request,))

    @on(VerdictReceived, PredictionExpired)
    def forget(self, event: VerdictReceived | PredictionExpired, _: Envelope) -> None:
        key = event.validator, event.prediction.prediction_id
        if self.entries.pop(key, None) is not None:
            self.settled[key] = event.code if isinstance(event, VerdictReceived) else None

    @on(GamesUpdated)
    def follow(self, event: GamesUpdated, _: Envelope) -> None:
        fold(self.slates.setdefault(event.validator, {}), event.games, snapshot=event.snapshot)
        self.positions[event.validator] = Position(event.epoch, event.offset)

    @on(LedgerRecognised)
    def recognise(self, event: LedgerRecognised, _: Envelope) -> None:
        self.ledgers[event.validator] = event.ledger_id
