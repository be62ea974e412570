"""A miner between validators, in weather of any kind: each prediction ends once, in order, and then there is rest."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from bus.events import (
    ActorFailed,
    GamesRequested,
    GamesUpdated,
    MetagraphFetched,
    PeerMisbehaved,
    PostRequested,
    PredictionSubmitted,
    SessionActivated,
    VerdictOverdue,
    VerdictReceived,
)
from bus.identifiers import Micros
from neurons.simulation import SimulatedMiner, SimulatedNetwork, SimulatedValidator
from tests.support import make_game

GAME = make_game()
SPELLS = (0, 0.0005, 0.0011, 0.05, 1, 3, 5, 12, 30)
"""Seconds between two troubles; messages take 1 ms or more."""


class Weather(SimulatedNetwork):
    """One trouble after the other, by a seed."""

    def __init__(self, seed: int) -> None:
        self.luck = Random(seed)
        super().__init__(seed=seed, jitter=Micros(self.luck.choice((0, 5_000, 50_000))))
        self.validators = [SimulatedValidator(name, self.clock) for name in ("one", "two")]
        self.miner = SimulatedMiner(clock=self.clock, seed=seed)
        self.made = 0
        self.add(*self.validators, self.miner)
        for validator in self.validators:
            validator.offer(GAME)

    def trouble(self) -> None:
        """Anything that happens to a miner, or ceases to."""
        validator, everybody = self.luck.choice(self.validators), self.metagraph
        others = tuple(replace(n, validator_permit=False) if n.hotkey == validator.hotkey else n for n in everybody)
        happenings: dict[str, Callable[[], object]] = {
            "predict": lambda: self.predict(validator, self.luck.choice((1, 1, 3, 70, 140))),
            "cut": lambda: self.cut(self.luck.choice((validator, self.miner))),
            "freeze": lambda: self.freeze(self.luck.choice((validator, self.miner))),
            "block": lambda: self.blocked.add(self.miner.hotkey),
            "unblock": self.blocked.clear,
            "lose": lambda: self.unreachable.add(validator.hotkey),
            "find": self.unreachable.clear,
            "disable": lambda: self.switch(websocket=False),
            "enable": lambda: self.switch(websocket=True),
            "blacklist": lambda: validator.blacklist(self.miner.hotkey),
            "forgive": validator.blacklist,
            "deprive": lambda: self.miner.bus.publish(MetagraphFetched(others)),
            "permit": lambda: self.miner.bus.publish(MetagraphFetched(everybody)),
            "hold": lambda: setattr(validator.ledger, "held", True),
            "break": lambda: setattr(validator.ledger, "failing", "the disk is full"),
            "mend": lambda: self.mend(validator),
        }
        happenings[self.luck.choice((*happenings, "predict", "predict"))]()
        self.advance(self.luck.choice(SPELLS))

    def predict(self, validator: SimulatedValidator, count: int) -> None:
        for _ in range(count):
            self.miner.predict(str(self.made), validator.hotkey, GAME, wager=0.5)
            self.made += 1

    def switch(self, *, websocket: bool) -> None:
        for actor in ("reconnect", "http_fallback"):
            self.miner.reload(actor, websocket_enabled=websocket)

    def mend(self, validator: SimulatedValidator) -> None:
        validator.ledger.held, validator.ledger.failing = False, None
        validator.ledger.release()

    def clear_up(self, *, websocket: bool) -> None:
        """All troubles end, but for the WebSocket's."""
        self.blocked.clear()
        self.unreachable.clear()
        self.switch(websocket=websocket)
        self.miner.bus.publish(MetagraphFetched(self.metagraph))
        for validator in self.validators:
            validator.blacklist()
            self.mend(validator)


# 229: all verdicts came by HTTP, and then nothing was said; 50353: a send failed before the session's end was told
@pytest.mark.parametrize("seed", [*range(20), 229, 50353])
def test_every_prediction_ends_once_in_order_and_then_there_is_rest(seed: int) -> None:
    weather = Weather(seed)
    for _ in range(weather.luck.randint(5, 40)):
        weather.trouble()
    websocket = weather.luck.random() < 0.7
    weather.clear_up(websocket=websocket)
    weather.advance(1_200)

    miner = weather.miner
    verdicts = Counter(verdict.prediction.prediction_id for verdict in miner.all(VerdictReceived))
    assert verdicts == Counter(map(str, range(weather.made)))
    for validator in weather.validators:
        first_seen = dict.fromkeys(int(e.prediction.prediction_id) for e in validator.all(PredictionSubmitted))
        assert list(first_seen) == sorted(first_seen)

    before = len(miner.envelopes)
    weather.advance(300)
    topics = Counter(envelope.event.topic for envelope in miner.envelopes[before:])
    assert not topics[PostRequested.topic]
    assert not topics[VerdictOverdue.topic]
    assert bool(topics[GamesRequested.topic]) is not websocket

    before = len(miner.envelopes)
    for validator in weather.validators:
        validator.offer(replace(GAME, team_a_odds=2.5))
    weather.advance(30)
    news = [envelope.event for envelope in miner.envelopes[before:] if isinstance(envelope.event, GamesUpdated)]
    assert {update.validator for update in news} == {validator.hotkey for validator in weather.validators}
    for neuron in weather.neurons:
        assert not neuron.all(ActorFailed)
        assert not neuron.all(PeerMisbehaved)


def test_a_validator_that_dies_while_it_is_dialled_is_dialled_again() -> None:
    network = SimulatedNetwork()
    validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(clock=network.clock)
    network.add(validator, miner)
    network.remove(validator)
    network.add(SimulatedValidator(clock=network.clock, restarted=validator))
    network.advance(60)
    assert len(miner.all(SessionActivated)) == 1
