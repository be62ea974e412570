"""Decides the consequence when a handler raises.

While a peer's message was handled: the peer hears ``internal``, and after three times its session ends; what a message
can trigger must not stop a neuron. Otherwise the actor is rebuilt from its own state; where that cannot be done, or
does not help, or the failure is an edge's, the neuron stops: better none than one that works on a state that is wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on
from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ActorFailed,
    CloseRequested,
    ConnectionClosed,
    EdgeFailed,
    MessageRefused,
    NeuronFailed,
    QueryEnded,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Micros

MAX_FAILURES = 3
"""A connection is closed at its third failure; a fourth one of an actor within ``PATIENCE`` stops the neuron."""
PATIENCE = Micros(60 * SECOND)


@dataclass(slots=True)
class SupervisorState:
    """Failures that were seen."""

    of_connection: dict[ConnectionId, int] = field(default_factory=dict)
    of_actor: dict[str, list[Micros]] = field(default_factory=dict)


class SupervisorActor(Actor):
    """Applies the failure policy. The one actor that knows of the others, and only that they can be rebuilt."""

    name = "supervisor"
    State = SupervisorState
    state: SupervisorState

    def __init__(self, actors: Iterable[Actor] = ()) -> None:
        super().__init__()
        self._actors = {actor.name: actor for actor in actors}

    @on(ActorFailed)
    def apply_policy(self, event: ActorFailed, envelope: Envelope) -> None:
        if event.connection is not None:
            self._charge(event.connection)
        elif event.actor not in self._actors:
            self.publish(NeuronFailed(f"{event.actor} failed while it handled {event.handling}:\n{event.error}"))
        else:
            self._rebuild(event, envelope.mono)

    @on(EdgeFailed)
    def give_up(self, event: EdgeFailed, _: Envelope) -> None:
        self.publish(NeuronFailed(f"{event.edge} failed ({event.task}):\n{event.error}"))

    @on(ConnectionClosed, QueryEnded)
    def forget(self, event: ConnectionClosed | QueryEnded, _: Envelope) -> None:
        self.state.of_connection.pop(event.connection, None)

    def _charge(self, connection: ConnectionId) -> None:
        failures = self.state.of_connection.get(connection, 0) + 1
        self.state.of_connection[connection] = failures
        text = "this message could not be handled; it has no verdict"
        self.publish(MessageRefused(connection, None, ErrorCode.INTERNAL, text))
        if failures >= MAX_FAILURES:
            reason = f"{failures} messages of this session could not be handled"
            self.publish(CloseRequested(connection, CloseCode.PROTOCOL_VIOLATION, reason))

    def _rebuild(self, event: ActorFailed, now: Micros) -> None:
        recent = [at for at in self.state.of_actor.get(event.actor, []) if now - at < PATIENCE]
        self.state.of_actor[event.actor] = [*recent, now]
        if len(recent) >= MAX_FAILURES:
            self.publish(NeuronFailed(f"{event.actor} goes on failing:\n{event.error}"))
            return
        actor = self._actors[event.actor]
        try:
            actor.restore(actor.snapshot())
        except Exception as error:  # noqa: BLE001 - its state may be anything after a failure
            self.publish(NeuronFailed(f"{event.actor} cannot be rebuilt: {error}\n{event.error}"))
