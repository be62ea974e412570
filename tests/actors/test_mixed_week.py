"""A week of a mixed network: existing neurons and ours, while operators migrate and all kinds of things go wrong.

``make week DAYS=7 SEED=3`` lives through more of the same than the suite does.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, Final

import msgspec
import pytest

from bettensor.bus.codes import VerdictCode
from bettensor.bus.events import (
    ActorFailed,
    Event,
    FrameWritten,
    LineLogged,
    ModelAnswered,
    OutboxEntry,
    PeerMisbehaved,
    PredictionExpired,
    PredictionsRequested,
    PredictionSubmitted,
    ProposedVerdict,
    VerdictReceived,
)
from bettensor.bus.games import TeamGame, content_digest, millionths, start_of
from bettensor.bus.identifiers import SECOND, Hotkey, Micros, Millionths, PredictionId
from bettensor.bus.messages import PredictionMessage
from bettensor.bus.synapse import ALREADY_THERE
from bettensor.bus.timestamps import DAY, utc_day
from bettensor.neurons.simulation import (
    ExistingMiner,
    ExistingNeuron,
    ExistingValidator,
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedNeuron,
    SimulatedValidator,
    make_game,
    make_hotkey,
    make_soccer_game,
)
from tests.support import NOW, OwnClock

DAYS: Final = float(os.environ.get("DAYS", "1.5"))
SEEDS: Final = [int(os.environ["SEED"])] if "SEED" in os.environ else [1, 2]
STEP: Final = 600
"""Seconds between two looks at the network."""
OUR_VALIDATORS: Final = ("new1", "new2")
OLD_VALIDATORS: Final = ("old1", "old2")
OUR_MINERS: Final = tuple(f"fresh{number}" for number in range(1, 7))
OLD_MINERS: Final = tuple(f"stale{number}" for number in range(1, 7))
VALIDATING: Final = {
    "synapse": {"enabled": True, "query_interval": 900.0},
    "websocket": {"heartbeat_interval": 900.0, "connection_timeout": 3600.0},
}
MINING: Final = {
    "synapse": {"enabled": True},
    "websocket": VALIDATING["websocket"],
    "actors": {"model": {"interval": 7200.0}},
}
MOST_WARNINGS: Final = 60
"""Of one neuron in a day of such trouble."""
MOST_IN_AN_OUTAGE: Final = 700
"""The same, if its disk is full for an hour of that day, or its clock wrong."""
WAITING: Final = ("exchanges", "questions", "asking", "undecided", "waiting", "committing", "unverified")
"""Parts of states that are empty when nothing is under way."""
MOST_STATE: Final = 150_000
"""Bytes of all actors of a neuron, as a checkpoint has them."""


class Week(SimulatedNetwork):
    """Two existing validators and two of ours, six existing miners and six of ours."""

    def __init__(self, seed: int, days: float) -> None:
        self.luck = Random(seed)
        super().__init__(seed=seed, jitter=Micros(20_000))
        self.end = Micros(NOW + round(days * DAY))
        self.clocks: defaultdict[str, OwnClock] = defaultdict(lambda: OwnClock(self.clock))
        self.games: dict[str, TeamGame] = {}
        self.verdicts: Counter[tuple[Hotkey, Hotkey, PredictionId]] = Counter()
        """Of miner, validator and prediction."""
        self.roads: set[tuple[Hotkey, Hotkey, str]] = set()
        """Validator, miner, and the road that a prediction took, or its proof at a validator of ours."""
        self.warnings: defaultdict[tuple[Hotkey, int], list[str]] = defaultdict(list)
        self.faults: list[Event] = []
        self.names = {make_hotkey(name): name for name in (*OUR_VALIDATORS, *OLD_VALIDATORS, *OUR_MINERS, *OLD_MINERS)}
        self.codes: defaultdict[Hotkey, dict[tuple[Hotkey, PredictionId], str]] = defaultdict(dict)
        """What each validator has told miners of ours, by miner and prediction."""
        self.migrated: ExistingMiner
        self.add(
            *(self.validator(name) for name in OUR_VALIDATORS),
            *(ExistingValidator(name, self.clock, query_interval=1200.0) for name in OLD_VALIDATORS),
            *(self.miner(name) for name in OUR_MINERS),
            *(ExistingMiner(name, self.clock, permit=name == OLD_MINERS[1]) for name in OLD_MINERS),
        )
        self.offer()

    # --- the neurons

    def validator(self, name: str, restarted: SimulatedValidator | None = None) -> SimulatedValidator:
        return SimulatedValidator(name, self.clocks[name], VALIDATING, restarted=restarted)

    def miner(self, name: str, restarted: SimulatedMiner | None = None) -> SimulatedMiner:
        """With a model that bets once on each game of each validator."""
        miner = SimulatedMiner(name, self.clocks[name], MINING, restarted=restarted)

        def bet(asked: PredictionsRequested, _: object) -> None:
            for game in asked.games:
                prediction_id = PredictionId(f"{name}-{self.names[asked.validator]}-{game.game_id}")
                key = asked.validator, prediction_id
                if key not in miner.outbox.entries and key not in miner.outbox.settled:
                    wager = float(100 + len(game.game_id + name) * 7 % 300)
                    miner.predict(prediction_id, asked.validator, game, wager=wager)
            miner.bus.publish(ModelAnswered(asked.validator, 0))

        miner.bus.subscribe(PredictionsRequested, bet, "test")
        return miner

    def ours(self, name: str) -> Any:
        """The present run of a neuron of ours."""
        return next(neuron for neuron in self.neurons if neuron.hotkey == make_hotkey(name))

    def theirs(self, name: str) -> Any:
        """The present run of an existing neuron."""
        return next(neuron for neuron in self.existing if neuron.hotkey == make_hotkey(name))

    def ours_that_judge(self) -> list[SimulatedValidator]:
        return [neuron for neuron in self.neurons if isinstance(neuron, SimulatedValidator)]

    def kind(self, hotkey: Hotkey) -> str:
        """new, old, fresh or stale."""
        return self.names[hotkey].rstrip("123456")

    def roads_of(self, validator: Hotkey, miner: Hotkey) -> set[str]:
        return {road for one, other, road in self.roads if (one, other) == (validator, miner)}

    def restart(self, neuron: SimulatedNeuron | ExistingNeuron) -> None:
        self.collect()
        self.remove(neuron)
        name = self.names[neuron.hotkey]
        again: SimulatedNeuron | ExistingNeuron
        if isinstance(neuron, SimulatedValidator):
            again = self.validator(name, neuron)
        elif isinstance(neuron, SimulatedMiner):
            again = self.miner(name, neuron)
        elif isinstance(neuron, ExistingValidator):
            again = ExistingValidator(name, self.clock, query_interval=1200.0, restarted=neuron)
        else:
            assert isinstance(neuron, ExistingMiner)
            again = ExistingMiner(name, self.clock, permit=neuron.permit, restarted=neuron)
        self.add(again)
        self.offer()

    # --- games

    def offer(self) -> None:
        """All validators have the same feed, of which ours show what has not started."""
        now = self.clock.wall()
        coming = [game for game in self.games.values() if (start_of(game) or 0) > now]
        for validator in self.ours_that_judge():
            validator.offer(*coming)
        for existing in self.existing:
            if isinstance(existing, ExistingValidator):
                existing.offer(*self.games.values())

    def feed(self) -> None:
        """A few new games, and other odds for one that is there."""
        for _ in range(2):
            number = str(100_000 + len(self.games))
            starts_at = Micros(self.clock.wall() + self.luck.randint(6, 40) * 3600 * SECOND)
            make = self.luck.choice((make_game, make_soccer_game))
            self.games[number] = replace(make(number), event_start_date=make_game(starts_at=starts_at).event_start_date)
        moved = self.luck.choice(list(self.games.values()))
        self.games[moved.game_id] = replace(moved, team_a_odds=round(self.luck.uniform(1.75, 1.85), 2))
        self.offer()

    # --- migrations

    def migrate_miner(self, name: str) -> None:
        """An existing miner becomes ours, with its hotkey and its open predictions."""
        existing = self.migrated = self.theirs(name)
        self.remove(existing)
        miner = self.miner(name)
        for validator in self.validators():
            for prediction in existing.unfinished():
                key = validator, prediction.prediction_id
                miner.outbox.entries[key] = OutboxEntry(validator, prediction)
        self.add(miner)

    def migrate_validator(self, name: str) -> None:
        """An existing validator becomes ours, with its hotkey and what it has accepted."""
        existing = self.theirs(name)
        self.remove(existing)
        validator = self.validator(name)
        for booked in existing.database.accepted.values():
            validator.ledger.rows[booked.hotkey, booked.prediction.prediction_id] = ProposedVerdict(
                booked.hotkey,
                booked.prediction,
                content_digest(booked.prediction),
                VerdictCode.ACCEPTED,
                "",
                booked.received_at,
                millionths(booked.prediction.wager) or Millionths(0),
                Micros(booked.received_at + 31 * DAY),
                "imported",
            )
        self.add(validator)
        self.offer()

    def validators(self) -> list[Hotkey]:
        return [
            row.hotkey for row in self.metagraph if row.validator_permit and row.hotkey != make_hotkey(OLD_MINERS[1])
        ]

    # --- time

    def live(self) -> None:
        """Until the end of the week, and then until all is at rest."""
        steps = round((self.end - self.clock.wall()) / (STEP * SECOND))
        agenda = self.agenda(steps)
        for step in range(steps):
            if step % 36 == 0:
                self.feed()
            elif step % 6 == 0:
                self.offer()  # what has started is gone
            for act in agenda.pop(step, ()):
                act()
            if self.luck.random() < 0.15:
                self.trouble(step, agenda)
            self.advance(STEP)
            self.collect()
        for acts in agenda.values():
            for act in acts:
                act()
        for _ in range(round(2.5 * DAY / SECOND / STEP)):  # the last game has started
            self.offer()
            self.advance(STEP)
            self.collect()

    def agenda(self, steps: int) -> defaultdict[int, list[Callable[[], object]]]:
        """What happens once, and when; an hour has six steps."""
        new1, new2, fresh = OUR_VALIDATORS[0], OUR_VALIDATORS[1], OUR_MINERS[1]
        plan: dict[float, Callable[[], object]] = {
            1.0: lambda: setattr(self.ours(new1).ledger, "failing", "database or disk is full"),
            1.5: lambda: setattr(self.ours(fresh).outbox, "failing", "database or disk is full"),
            2.0: lambda: self.migrate_miner(OLD_MINERS[0]),
            3.0: lambda: self.set_clock(new2, -600),
            3.5: lambda: self.set_clock(fresh, 900),
            4.0: lambda: self.migrate_validator(OLD_VALIDATORS[0]),
        }
        ends: dict[float, Callable[[], object]] = {
            1.0: lambda: setattr(self.ours(new1).ledger, "failing", None),
            1.5: lambda: setattr(self.ours(fresh).outbox, "failing", None),
            3.0: lambda: self.set_clock(new2, 0),
            3.5: lambda: self.set_clock(fresh, 0),
        }
        agenda: defaultdict[int, list[Callable[[], object]]] = defaultdict(list)
        for day, act in plan.items():
            agenda[round(day / 7 * steps)].append(act)
        for day, act in ends.items():
            agenda[round(day / 7 * steps) + 6].append(act)
        return agenda

    def set_clock(self, name: str, ahead: int) -> None:
        self.clocks[name].ahead = ahead * SECOND

    def trouble(self, step: int, agenda: defaultdict[int, list[Callable[[], object]]]) -> None:
        """Something happens to a neuron, for a step or up to an hour."""
        everybody: list[SimulatedNeuron | ExistingNeuron] = [*self.neurons, *self.existing]
        neuron = self.luck.choice(everybody)
        until = step + self.luck.randint(1, 6)
        match self.luck.choice(("cut", "freeze", "lose", "block", "restart")):
            case "cut":
                self.advance(self.luck.choice((0.01, 1, 30)))
                self.cut(neuron)
            case "freeze":
                self.freeze(neuron)
            case "lose":
                self.unreachable.add(neuron.hotkey)
                agenda[until].append(lambda: self.unreachable.discard(neuron.hotkey))
            case "block":
                self.blocked.add(neuron.hotkey)
                agenda[until].append(lambda: self.blocked.discard(neuron.hotkey))
            case "restart":
                self.restart(neuron)

    # --- what is seen

    def collect(self) -> None:
        """Note what has happened, and forget the events: a week has millions."""
        for neuron in self.neurons:
            for envelope in neuron.envelopes:
                self.note(neuron.hotkey, envelope.event)
            neuron.envelopes.clear()

    def note(self, hotkey: Hotkey, event: Event) -> None:
        match event:
            case VerdictReceived(validator=validator, prediction=prediction, code=code):
                self.verdicts[hotkey, validator, prediction.prediction_id] += 1
                self.codes[validator][hotkey, prediction.prediction_id] = code
            case PredictionExpired(validator=validator, prediction=prediction):
                self.verdicts[hotkey, validator, prediction.prediction_id] += 1
            case PredictionSubmitted(hotkey=miner, proof=proof):
                self.roads.add((hotkey, miner, proof))
            case FrameWritten(message=PredictionMessage(), hotkey=validator, road=road):
                self.roads.add((validator, hotkey, road))
            case LineLogged(level="WARNING" | "ERROR" | "CRITICAL", text=text):
                self.warnings[hotkey, utc_day(self.clock.wall())].append(text)
            case ActorFailed() | PeerMisbehaved():
                self.faults.append(event)


@pytest.fixture(scope="module", params=SEEDS)
def week(request: pytest.FixtureRequest) -> Week:
    """A whole one: each test looks at another side of it."""
    week = Week(request.param, DAYS)
    week.live()
    return week


def test_each_prediction_of_our_miners_ends_once(week: Week) -> None:
    miners = [neuron for neuron in week.neurons if isinstance(neuron, SimulatedMiner)]
    assert len(miners) == len(OUR_MINERS) + 1
    for miner in miners:
        assert miner.outbox.entries == {}
        ended = {key[1:] for key in week.verdicts if key[0] == miner.hotkey}
        assert ended == set(miner.outbox.settled)
    assert set(week.verdicts.values()) == {1}


def test_no_prediction_has_two_verdicts_of_one_validator(week: Week) -> None:
    """Whichever roads it takes, and whoever its miner is by then."""
    for existing in week.existing:
        if isinstance(existing, ExistingMiner):
            for bet in existing.database.bets.values():
                for name in OUR_VALIDATORS:
                    assert len(bet.told.get(make_hotkey(name), {"never": None})) == 1
    for validator in week.ours_that_judge():
        told = week.codes[validator.hotkey]
        stored = {key: row.code for key, row in validator.ledger.rows.items()}  # Synapse has no other code for "no"
        accepted = {key: stored.get(key, code) == "accepted" for key, code in told.items()}
        assert {key: code for key, code in told.items() if accepted[key] != (code == "accepted")} == {}


def test_a_migrated_miners_open_predictions_keep_their_verdicts(week: Week) -> None:
    kept = 0
    for prediction_id, bet in week.migrated.database.bets.items():
        for validator, texts in bet.told.items():
            code = week.codes[validator].get((week.migrated.hotkey, prediction_id))
            if code is not None and any(text.startswith("True") or ALREADY_THERE in text for text in texts):
                assert code == "accepted"
                kept += 1
    assert kept


def test_nobody_is_over_the_daily_limit_of_any_validator_of_ours(week: Week) -> None:
    codes: Counter[str] = Counter()
    for validator in week.ours_that_judge():
        wagered: Counter[tuple[Hotkey, int]] = Counter()
        for row in validator.ledger.rows.values():
            codes[row.code] += 1
            if row.code is VerdictCode.ACCEPTED:
                wagered[row.hotkey, utc_day(row.received_at)] += row.wager
        assert max(wagered.values()) <= 1_000 * 1_000_000
    assert codes["daily_limit_exceeded"]  # it was tried


def test_each_pair_uses_its_road(week: Week) -> None:
    migrated = {make_hotkey(OLD_MINERS[0]), make_hotkey(OLD_VALIDATORS[0])}
    roads: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for validator, miner, road in week.roads:
        if not migrated & {validator, miner}:
            roads[week.kind(validator), week.kind(miner)].add(road)
    ours = roads.pop(("new", "fresh"))
    assert ours == {"signature", "websocket"} | (ours & {"http"})
    assert roads == {("new", "stale"): {"endpoint"}, ("old", "fresh"): {"synapse"}}
    [existing] = (neuron for neuron in week.existing if isinstance(neuron, ExistingValidator))
    booked = {booked.hotkey for booked in existing.database.accepted.values()}
    assert booked == {make_hotkey(name) for name in (*OUR_MINERS, *OLD_MINERS)}


def test_those_that_migrate_use_the_roads_of_before_and_of_after(week: Week) -> None:
    validator, miner = make_hotkey(OLD_VALIDATORS[0]), make_hotkey(OLD_MINERS[0])
    assert week.roads_of(validator, make_hotkey(OUR_MINERS[0])) >= {"synapse", "websocket", "signature"}
    assert week.roads_of(validator, make_hotkey(OLD_MINERS[2])) == {"endpoint"}
    assert week.roads_of(make_hotkey(OUR_VALIDATORS[0]), miner) >= {"endpoint", "websocket", "signature"}
    assert week.roads_of(make_hotkey(OLD_VALIDATORS[1]), miner) == {"synapse"}


def test_the_logs_have_no_storms_and_no_actor_fails(week: Week) -> None:
    assert week.faults == []
    days = {(week.names[hotkey], day): len(lines) for (hotkey, day), lines in week.warnings.items()}
    loud = {day: lines for day, lines in days.items() if lines > MOST_WARNINGS}
    assert {name for name, _ in loud} <= set(OUR_VALIDATORS)
    assert len(loud) <= 2  # a full disk and a wrong clock concern each peer
    assert max(days.values()) <= MOST_IN_AN_OUTAGE


def test_actors_remember_little(week: Week) -> None:
    sizes = {week.names[neuron.hotkey]: len(msgspec.json.encode(neuron.checkpoint())) for neuron in week.neurons}
    assert {name: size for name, size in sizes.items() if size > MOST_STATE} == {}


def test_then_there_is_rest(week: Week) -> None:
    week.advance(3600)
    for neuron in week.neurons:
        topics = {envelope.event.topic for envelope in neuron.envelopes}
        assert not {"prediction_submitted", "verdict_overdue", "post_requested", "axon_confirm_requested"} & topics
        for actor in neuron.actors:
            state = {name: getattr(actor.state, name, None) for name in WAITING}
            waiting = {name: found for name, found in state.items() if found and not isinstance(found, int)}
            assert waiting == {}, (week.names[neuron.hotkey], actor.name)
    week.collect()
