"""Which neurons speak Synapse alone: a miner does not reach them, and that is no fault.

An existing validator announces an endpoint at which nothing listens, and asks its miners. An existing miner with a
validator permit has an Axon there.
"""

from dataclasses import dataclass
from typing import Any, Final

from bettensor.actors.actor import Actor, on
from bettensor.bus.codes import AXON
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    DialFailed,
    OutboxOpened,
    PostAnswered,
    PostFailed,
    QueryAdmitted,
    SessionActivated,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros
from bettensor.bus.synapse import SYNAPSE_EPOCH

LATELY: Final = Micros(3600 * SECOND)
"""How long a neuron counts as one that speaks Synapse after it was heard: existing validators ask every 8 minutes."""
LONGEST_WAIT: Final = 3600.0
"""Seconds; the longest wait between two tries to reach such a neuron, which may have been replaced by a new one."""


@dataclass(slots=True)
class Existing:
    """A neuron that speaks Synapse, or one of ours."""

    asks_until: Micros = Micros(0)
    """So long it counts as asking; monotonic."""
    has_axon: bool = False
    """Its endpoint has answered as an Axon does."""
    is_ours: bool = False
    """It has answered in our protocol, now or in an earlier run: it asks because it cannot be heard otherwise."""


class ExistingFollower(Actor):
    """Base of actors that treat neurons differently that speak Synapse alone: they are in ``state.existing``."""

    @on(OutboxOpened)
    def recall_existing(self, event: OutboxOpened, envelope: Envelope) -> None:
        """A validator whose last slate came over Synapse will ask again; one that named a ledger is one of ours."""
        for slate in event.slates:
            if slate.epoch == SYNAPSE_EPOCH:
                self.state.existing[slate.validator] = Existing(asks_until=Micros(envelope.mono + LATELY))
        for validator, _ in event.ledgers:
            self.state.existing.setdefault(validator, Existing()).is_ours = True

    @on(QueryAdmitted)
    def hear_question(self, event: QueryAdmitted, envelope: Envelope) -> None:
        found = self.state.existing.setdefault(event.hotkey, Existing())
        found.asks_until = Micros(envelope.mono + LATELY)

    @on(DialFailed, PostFailed)
    def learn_from_refusal(self, event: DialFailed | PostFailed, _: Envelope) -> None:
        """An Axon's refusal shows an existing neuron, and one in our protocol shows a new one."""
        if event.code == AXON:
            found = self.state.existing.setdefault(event.hotkey, Existing())
            found.has_axon, found.is_ours = True, False
        elif event.code:
            self._find_ours(event.hotkey)

    @on(SessionActivated, PostAnswered)
    def find_new(self, event: SessionActivated | PostAnswered, _: Envelope) -> None:
        """It answers as a validator of Bettensor does."""
        self._find_ours(event.hotkey)

    def _find_ours(self, hotkey: Hotkey) -> None:
        self.state.existing[hotkey] = Existing(is_ours=True)

    def speaks_synapse_alone(self, event: DialFailed | PostFailed, now: Micros) -> bool:
        """Whether a failure to reach a neuron is none: it asks by Synapse or has an Axon, and refuses nothing in our
        protocol.
        """
        return event.code in ("", AXON) and self._is_existing(event.hotkey, now)

    def _is_existing(self, hotkey: Hotkey, now: Micros) -> bool:
        found: Any = self.state.existing.get(hotkey)
        return found is not None and not found.is_ours and (found.has_axon or now < found.asks_until)
