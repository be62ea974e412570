"""Actors as they should not be: what they decide is no function of events. And one that is only stricter."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from bettensor.actors.actor import Actor, on
from bettensor.actors.validator.prediction import PredictionActor
from bettensor.bus.codes import VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import LineLogged, Observed, PredictionSubmitted, ProposedVerdict, TimerFired
from bettensor.bus.identifiers import Micros, Millionths

MILLION = 1_000_000


class Planted(Actor):
    """Says something whenever a timer fires."""

    def said(self) -> str:
        raise NotImplementedError

    @on(TimerFired)
    def say(self, _: TimerFired, __: Envelope) -> None:
        self.publish(LineLogged("INFO", self.said()))


class ReadsTheTime(Planted):
    name = "reads_the_time"

    def said(self) -> str:
        return f"it is {time.time()}"


class DrawsAnId(Planted):
    name = "draws_an_id"

    def said(self) -> str:
        return f"this is {uuid4()}"


class WritesNothing(Actor):
    """A logbook without lines."""

    name = "logbook"


class IteratesOverASet(Planted):
    name = "iterates_over_a_set"

    def said(self) -> str:
        return " ".join({f"miner{i}" for i in range(20)})


@dataclass(frozen=True, slots=True)
class Whispered(Observed):
    """What nobody said."""

    text: str


class MakesUpTheWorld(Planted):
    name = "makes_up_the_world"

    def said(self) -> str:
        self._bus.publish(Whispered("psst"))
        return "said"


@dataclass(frozen=True)
class SecretSettings:
    """Not all of them may be recorded, and not all are JSON as they are."""

    token: str = ""
    folder: Path = Path()


class KnowsASecret(Actor):
    """Tells it nobody."""

    name = "knows_a_secret"
    Settings = SecretSettings


class StrictPredictionActor(PredictionActor):
    """Takes no wager above five."""

    def judge(self, event: PredictionSubmitted, mono: Micros) -> ProposedVerdict:
        proposal = super().judge(event, mono)
        if proposal.code is VerdictCode.ACCEPTED and proposal.wager > 5 * MILLION:
            return replace(proposal, code=VerdictCode.INVALID_WAGER, message="at most 5 here", wager=Millionths(0))
        return proposal


class TakesNothing(PredictionActor):
    """Nothing at all."""

    def judge(self, event: PredictionSubmitted, mono: Micros) -> ProposedVerdict:
        refused = replace(super().judge(event, mono), code=VerdictCode.INVALID_WAGER, message="no")
        return replace(refused, wager=Millionths(0))


class Nameless(Actor):
    """Nobody has said in whose place it is."""
