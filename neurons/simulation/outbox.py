"""An outbox in memory, which saves within the drain, later, or not at all."""

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


class SimulatedOutbox:
    """Keeps what the real one keeps, for as long as the test runs; with ``held`` set, saves wait until ``release``."""

    def __init__(self) -> None:
        self.entries: dict[tuple[Hotkey, PredictionId], OutboxEntry] = {}
        self.settled: dict[tuple[Hotkey, PredictionId], str | None] = {}
        """The code of each verdict; None where it expired."""
        self.slates: dict[Hotkey, dict[GameId, TeamGame]] = {}
        self.positions: dict[Hotkey, Position] = {}
        self.ledgers: dict[Hotkey, LedgerId] = {}
        self.held = False
        self.failing: str | None = None
        """Why each save fails, while it is set."""
        self._waiting: deque[tuple[SaveRequested, int]] = deque()

    async def open(self, bus: EventBus) -> None:
        """Publish ``OutboxOpened``, and answer saves from then on."""
        self.attach(bus)

    def attach(self, bus: EventBus) -> None:
        """The same, where there is no event loop."""
        self._bus = bus
        self._waiting.clear()  # what an earlier run asked for was lost with it
        bus.subscribe(SaveRequested, self.save, "outbox_store")
        bus.subscribe(VerdictReceived, self._forget, "outbox_store")
        bus.subscribe(PredictionExpired, self._forget, "outbox_store")
        bus.subscribe(GamesUpdated, self._follow, "outbox_store")
        bus.subscribe(LedgerRecognised, self._recognise, "outbox_store")
        slates = tuple(
            KnownSlate(validator, position.epoch, position.offset, tuple(self.slates[validator].values()))
            for validator, position in self.positions.items()
        )
        verdicts = tuple((*key, code) for key, code in self.settled.items() if code is not None)
        bus.publish(OutboxOpened(tuple(self.entries.values()), slates, tuple(self.ledgers.items()), verdicts))

    def save(self, event: SaveRequested, envelope: Envelope) -> None:
        """Answered by ``PredictionsSaved`` or ``SaveFailed``."""
        self._waiting.append((event, envelope.seq))
        if not self.held:
            self.release()

    def release(self) -> None:
        """Do the saves that wait."""
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

    def close(self) -> None:
        """Nothing waits."""

    def _forget(self, event: VerdictReceived | PredictionExpired, _: Envelope) -> None:
        key = event.validator, event.prediction.prediction_id
        if self.entries.pop(key, None) is not None:
            self.settled[key] = event.code if isinstance(event, VerdictReceived) else None

    def _follow(self, event: GamesUpdated, _: Envelope) -> None:
        fold(self.slates.setdefault(event.validator, {}), event.games, snapshot=event.snapshot)
        self.positions[event.validator] = Position(event.epoch, event.offset)

    def _recognise(self, event: LedgerRecognised, _: Envelope) -> None:
        self.ledgers[event.validator] = event.ledger_id
