"""Timers of actors: typed keys, delivered to their owner alone."""

from collections import Counter

import pytest

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.bus.bus import EVERYTHING, EventBus, Handler, Topic
from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import UnknownTimer
from bettensor.bus.events import (
    ActorFailed,
    Event,
    NeuronDraining,
    NeuronStopping,
    TimerCancelled,
    TimerFired,
    TimerKey,
    TimerRequested,
)
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.simulation import SimulatedMiner, SimulatedNetwork, SimulatedValidator, make_game
from tests.support import Harness


class Kettle(Actor):
    """Sets its timers when the neuron drains, and cancels one when it stops."""

    name = "kettle"

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, TimerKey]] = []

    @on(NeuronDraining)
    def begin(self, _: NeuronDraining, envelope: Envelope) -> None:
        self.set_timer("boil", Micros(envelope.mono + SECOND))
        self.set_timer("pour", Micros(envelope.mono + 2 * SECOND), ("cup", "saucer"))
        self.set_timer("pour", Micros(envelope.mono + 3 * SECOND), 7)

    @on(NeuronStopping)
    def stop(self, _: NeuronStopping, __: Envelope) -> None:
        self.cancel_timer("pour", 7)

    @on_timer("boil")
    def boil(self, _: None, __: Envelope) -> None:
        self.heard.append(("boil", None))

    @on_timer("pour")
    def pour(self, key: TimerKey, _: Envelope) -> None:
        self.heard.append(("pour", key))


class Toaster(Kettle):
    """Another owner, with a timer of the same name."""

    name = "toaster"


class Lidless(Kettle):
    """An overridden handler that is marked anew."""

    name = "lidless"

    @on_timer("boil")
    def boil(self, _: None, __: Envelope) -> None:
        raise RuntimeError("it boils over")


def test_a_timer_calls_its_handler_with_its_key() -> None:
    kettle = Kettle()
    bench = Harness(kettle)
    bench.observe(NeuronDraining())
    bench.advance(10)
    assert kettle.heard == [("boil", None), ("pour", ("cup", "saucer")), ("pour", 7)]
    assert bench.all(TimerRequested)[1] == TimerRequested("kettle", "pour", ("cup", "saucer"), Micros(2 * SECOND))


def test_a_cancelled_timer_calls_nobody() -> None:
    kettle = Kettle()
    bench = Harness(kettle)
    bench.observe(NeuronDraining(), NeuronStopping("enough"))
    bench.advance(10)
    assert bench.last(TimerCancelled) == TimerCancelled("kettle", "pour", 7)
    assert ("pour", 7) not in kettle.heard


def test_a_timer_is_delivered_to_its_owner_and_to_those_who_hear_all() -> None:
    kettle, toaster = Kettle(), Toaster()
    bench = Harness(kettle, toaster)
    order: list[str] = []
    bench.bus.subscribe(EVERYTHING, lambda event, _: order.append(f"all {event.topic}"), "test")
    bench.bus.subscribe(TimerFired, lambda event, _: order.append(f"topic {event.owner}"), "test")
    bench.bus.subscribe(TimerFired, lambda event, _: order.append(f"owner {event.owner}"), "test", address="toaster")
    bench.observe(TimerFired("kettle", "boil", None), TimerFired("toaster", "boil", None))
    assert (kettle.heard, toaster.heard) == ([("boil", None)], [("boil", None)])
    assert order == ["topic kettle", "all timer_fired", "owner toaster", "topic toaster", "all timer_fired"]


def test_a_timer_of_an_owner_that_is_not_there_is_heard_by_those_who_hear_all() -> None:
    kettle, bench = Kettle(), Harness()
    kettle.attach(bench.bus)
    bench.observe(TimerFired("nobody", "boil", None))
    assert kettle.heard == []
    assert bench.bus.counts["timer_fired"] == 1


def test_a_failure_while_a_timer_is_handled_names_its_owner() -> None:
    bench = Harness(Kettle(), Lidless())
    bench.observe(TimerFired("lidless", "boil", None))
    failed = bench.last(ActorFailed)
    assert (failed.actor, failed.handling) == ("lidless", "timer_fired")


def test_a_timer_that_another_version_of_the_actor_set_is_passed_over() -> None:
    kettle = Kettle()
    bench = Harness(kettle)
    bench.observe(TimerFired("kettle", "whistle", None))
    assert (kettle.heard, bench.all(ActorFailed)) == ([], [])


def test_a_timer_without_a_handler_is_refused_where_it_is_set() -> None:
    kettle = Kettle()
    kettle.attach(EventBus(ManualClock()))
    with pytest.raises(
        UnknownTimer, match=r"^no method of Kettle is marked @on_timer\('pur'\); the nearest is 'pour'$"
    ):
        kettle.set_timer("pur", Micros(0))
    with pytest.raises(UnknownTimer, match="'boils'"):
        kettle.cancel_timer("boils")


def test_an_actor_without_timers_sets_none() -> None:
    class Plain(Actor):
        name = "plain"

    plain = Plain()
    plain.attach(EventBus(ManualClock()))
    with pytest.raises(UnknownTimer, match=r"^no method of .*Plain is marked @on_timer\('boil'\)$"):
        plain.set_timer("boil", Micros(0))


def test_two_handlers_of_one_timer_are_refused() -> None:
    class Doubled(Kettle):
        name = "doubled"

        @on_timer("boil")
        def boil_too(self, _: None, __: Envelope) -> None:
            """Too many."""

    with pytest.raises(TypeError, match="Doubled has two handlers of its timer 'boil'; a timer has one"):
        Doubled().attach(EventBus(ManualClock()))


def test_in_an_hour_of_a_subnet_each_timer_is_delivered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered: Counter[tuple[str, str]] = Counter()
    subscribe = EventBus.subscribe

    def counted(bus: EventBus, topic: Topic, handler: Handler, name: str, address: str | None = None) -> None:
        def deliver(event: Event, envelope: Envelope) -> None:
            if isinstance(event, TimerFired):
                delivered[name, event.owner] += 1
            handler(event, envelope)

        subscribe(bus, topic, deliver, name, address)

    monkeypatch.setattr(EventBus, "subscribe", counted)
    network = SimulatedNetwork()
    validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(clock=network.clock)
    network.add(validator, miner)
    validator.offer(make_game())
    network.advance(3600)
    fired = Counter(event.owner for neuron in (validator, miner) for event in neuron.all(TimerFired))
    assert delivered == {(owner, owner): count for owner, count in fired.items()}
    assert fired.total() > 100
