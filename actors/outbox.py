"""What a miner wants to say, until it has its verdict.

Knows each prediction without a verdict, and to whom it goes. Sends it again whenever there is a new session, and after
an answer that is no verdict, with back-off; the id and the content stay the same, so that one verdict is all there is.
"""

from dataclasses import dataclass, field

from actors.actor import Actor, on
from bus import codec
from bus.codes import ErrorCode
from bus.envelope import Envelope
from bus.events import (
    ConnectionClosed,
    FrameWritten,
    MessageAccepted,
    PredictionDiscarded,
    PredictionMade,
    SendRequested,
    SessionActivated,
    TimerFired,
    VerdictOverdue,
    VerdictReceived,
)
from bus.games import TeamGamePrediction
from bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, PredictionId
from bus.messages import MAX_PREDICTIONS, ConfirmationMessage, ErrorMessage, PredictionMessage, PredictionResult

FIRST_DELAY = Micros(SECOND)
"""Until predictions are sent again after an answer that is no verdict; doubled each time."""
OVERDUE = Micros(10 * SECOND)
"""After a write without a verdict for so long, another road is tried (protocol, "Limits")."""
LONGEST_DELAY = Micros(60 * SECOND)


@dataclass(slots=True)
class Item:
    """One prediction without a verdict."""

    validator: Hotkey
    prediction: TeamGamePrediction
    written_at: Micros | None = None
    """When it was first handed to a transport; monotonic."""
    last_written_at: Micros = Micros(0)


@dataclass(slots=True)
class OutboxState:
    """In the order in which predictions were made."""

    items: dict[PredictionId, Item] = field(default_factory=dict)
    sessions: dict[Hotkey, ConnectionId] = field(default_factory=dict)
    delays: dict[Hotkey, Micros] = field(default_factory=dict)
    watched: dict[Hotkey, None] = field(default_factory=dict)
    """Validators that owe us verdicts, each with its timer."""


class OutboxActor(Actor):
    """Pushes every prediction until its validator has judged it."""

    name = "outbox"
    State = OutboxState
    state: OutboxState

    @on(PredictionMade)
    def push(self, event: PredictionMade, _: Envelope) -> None:
        prediction = event.prediction
        fault = codec.fault_of(prediction)
        if prediction.prediction_id in self.state.items:
            fault = "another prediction of this id waits for its verdict"
        if fault is not None:
            self.publish(PredictionDiscarded(prediction.prediction_id, prediction.game_id, fault))
            return
        self.state.items[prediction.prediction_id] = Item(event.validator, prediction)
        self.publish(SendRequested(event.validator, PredictionMessage(predictions=(prediction,))))

    @on(SessionActivated)
    def push_all(self, event: SessionActivated, _: Envelope) -> None:
        self.state.sessions[event.hotkey] = event.connection
        self._send_all(event.hotkey)

    @on(ConnectionClosed)
    def hold(self, event: ConnectionClosed, _: Envelope) -> None:
        for hotkey, connection in list(self.state.sessions.items()):
            if connection == event.connection:
                del self.state.sessions[hotkey]

    @on(FrameWritten)
    def note_written(self, event: FrameWritten, envelope: Envelope) -> None:
        if isinstance(event.message, PredictionMessage):
            for prediction in event.message.predictions:
                item = self.state.items.get(prediction.prediction_id)
                if item is not None:
                    item.written_at = envelope.mono if item.written_at is None else item.written_at
                    item.last_written_at = envelope.mono
            if event.hotkey not in self.state.watched:
                self.state.watched[event.hotkey] = None
                self.wake(f"overdue {event.hotkey}", Micros(envelope.mono + OVERDUE))

    @on(MessageAccepted)
    def hear(self, event: MessageAccepted, envelope: Envelope) -> None:
        message = event.message
        if isinstance(message, ConfirmationMessage):
            self.state.delays.pop(event.hotkey, None)
            for result in message.results:
                self._settle(event.hotkey, result, envelope.mono)
        elif isinstance(message, ErrorMessage) and message.code != ErrorCode.UNKNOWN_TYPE:
            delay = self.state.delays.get(event.hotkey, FIRST_DELAY)
            self.state.delays[event.hotkey] = Micros(min(2 * delay, LONGEST_DELAY))
            self.wake(f"again {event.hotkey}", Micros(envelope.mono + delay))

    @on(TimerFired)
    def wake_up(self, event: TimerFired, envelope: Envelope) -> None:
        if event.owner != self.name:
            return
        what, _, hotkey = event.key.partition(" ")
        if what == "overdue":
            self._look_for_overdue(Hotkey(hotkey), envelope.mono)
        elif hotkey in self.state.sessions:
            self._send_all(Hotkey(hotkey))

    def _look_for_overdue(self, validator: Hotkey, now: Micros) -> None:
        del self.state.watched[validator]
        written = [i for i in self.state.items.values() if i.validator == validator and i.written_at is not None]
        overdue = [item for item in written if now - item.last_written_at >= OVERDUE]
        if overdue:
            self.publish(VerdictOverdue(validator, tuple(item.prediction for item in overdue)))
        if written:
            soonest = min((i.last_written_at for i in written if i not in overdue), default=now)
            self.state.watched[validator] = None
            self.wake(f"overdue {validator}", Micros(soonest + OVERDUE))

    def _send_all(self, validator: Hotkey) -> None:
        waiting = [item.prediction for item in self.state.items.values() if item.validator == validator]
        for first in range(0, len(waiting), MAX_PREDICTIONS):
            message = PredictionMessage(predictions=tuple(waiting[first : first + MAX_PREDICTIONS]))
            self.publish(SendRequested(validator, message))

    def _settle(self, validator: Hotkey, result: PredictionResult, now: Micros) -> None:
        item = self.state.items.get(result.prediction_id)
        if item is None or item.validator != validator:
            return  # a verdict that we have, or on what we never said to this validator
        del self.state.items[result.prediction_id]
        latency = Micros(0 if item.written_at is None else now - item.written_at)
        self.publish(VerdictReceived(validator, item.prediction, result.success, result.code, result.message, latency))
