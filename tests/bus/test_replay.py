"""What was observed, fed again, leads to the same decisions; and where it does not, the first difference is shown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from bettensor.bus import Decided, Envelope, EventBus, ManualClock, Observed
from bettensor.bus.errors import BadEventLog, NotAllowed
from bettensor.bus.identifiers import Micros
from bettensor.bus.replay import Difference, ReplayBus, WhatIfBus, replay


@dataclass(frozen=True, slots=True)
class Asked(Observed):
    number: int


@dataclass(frozen=True, slots=True)
class LookupRequested(Decided):
    number: int


@dataclass(frozen=True, slots=True)
class LookedUp(Observed):
    number: int
    result: int


@dataclass(frozen=True, slots=True)
class Concluded(Decided):
    text: str


class Thinker:
    """Asks the world for each number, and concludes with what it knows by then."""

    def __init__(self, bus: EventBus, surplus: int = 0) -> None:
        self.bus = bus
        self.total = surplus
        bus.subscribe(Asked, self.ask, "thinker")
        bus.subscribe(LookedUp, self.conclude, "thinker")

    def ask(self, event: Asked, _: Envelope) -> None:
        self.bus.publish(LookupRequested(event.number))
        self.bus.publish(Concluded(f"asked {event.number} at {self.total}"))

    def conclude(self, event: LookedUp, envelope: Envelope) -> None:
        self.total += event.result
        self.bus.publish(Concluded(f"{event.number}: {self.total} at {envelope.mono}"))


class World:
    """Answers even numbers within the drain, odd ones later."""

    def __init__(self, bus: EventBus, clock: ManualClock) -> None:
        self.bus, self.clock = bus, clock
        self.later: list[int] = []
        bus.subscribe(LookupRequested, self.look_up, "world")

    def look_up(self, event: LookupRequested, _: Envelope) -> None:
        self.clock.advance(Micros(3))
        if event.number % 2:
            self.later.append(event.number)
        else:
            self.bus.publish(LookedUp(event.number, event.number))

    def answer(self) -> None:
        while self.later:
            number = self.later.pop()
            self.bus.publish(LookedUp(number, 10 * number))


def record() -> list[Envelope]:
    clock = ManualClock()
    recorded: list[Envelope] = []
    bus = EventBus(clock, record=recorded.append)
    Thinker(bus)
    world = World(bus, clock)
    for number in (1, 2, 3, 4):
        clock.advance(Micros(100))
        bus.publish(Asked(number))
    world.answer()
    return recorded


def test_a_replay_equals_its_recording() -> None:
    recorded = record()
    assert len(recorded) == 20
    assert replay(recorded, Thinker) is None


def test_another_actor_is_found_at_its_first_other_decision() -> None:
    difference = replay(record(), lambda bus: Thinker(bus, surplus=1))
    assert difference is not None
    assert difference.recorded is not None
    assert difference.replayed is not None
    assert difference.recorded.event == Concluded("asked 1 at 0")
    assert difference.replayed.event == Concluded("asked 1 at 1")


def test_a_decision_that_is_missing_is_found() -> None:
    difference = replay(record(), lambda _: None)
    assert difference is not None
    assert difference.recorded is not None
    assert isinstance(difference.recorded.event, LookupRequested)


def test_a_decision_too_many_at_the_end_is_found() -> None:
    recorded = record()
    difference = replay(recorded[:-1], Thinker)
    assert difference is not None
    assert difference.recorded is None
    assert difference.replayed == recorded[-1]


def test_a_decision_too_few_at_the_end_is_found() -> None:
    recorded = record()
    extra = recorded[-1]._replace(seq=recorded[-1].seq + 1, event=Concluded("never"))
    difference = replay([*recorded, extra], Thinker)
    assert difference is not None
    assert difference.recorded == extra
    assert difference.replayed is None


def test_an_observation_from_before_the_beginning_is_a_difference() -> None:
    recorded = record()
    difference = replay([recorded[0]._replace(seq=0), *recorded[1:]], Thinker)
    assert difference is not None
    assert (difference.recorded, difference.replayed) == (recorded[0]._replace(seq=0), None)


def test_in_a_replay_nobody_observes_but_the_recording() -> None:
    bus = ReplayBus([])
    with pytest.raises(NotAllowed, match="only the recording may observe"):
        bus.publish(Asked(1))


def observed(recorded: list[Envelope]) -> list[Envelope]:
    return [envelope for envelope in recorded if isinstance(envelope.event, Observed)]


class Chatterer(Thinker):
    """Concludes once too often."""

    def ask(self, event: Asked, envelope: Envelope) -> None:
        super().ask(event, envelope)
        self.bus.publish(Concluded("and so on"))


class Mute(Thinker):
    """Asks, and concludes nothing from that."""

    def ask(self, event: Asked, _: Envelope) -> None:
        self.bus.publish(LookupRequested(event.number))


@pytest.mark.parametrize(("build", "differs"), [(Thinker, False), (Chatterer, True), (Mute, True)])
def test_where_decisions_are_not_recorded_their_number_is(build: Callable[[EventBus], object], differs: bool) -> None:
    bus = ReplayBus(observed(record()), decided=False)
    build(bus)
    bus.run()
    assert (bus.difference is not None) == differs


def unreadable(recorded: list[Envelope]) -> Iterator[Envelope]:
    yield from recorded
    raise BadEventLog("line 21: changed")


@pytest.mark.parametrize("length", range(1, 20))
def test_a_fault_in_the_recording_ends_the_replay_wherever_it_is(length: int) -> None:
    for bus in (
        ReplayBus(unreadable(record()[:length])),
        WhatIfBus(unreadable(record()[:length]), changed=lambda _: None),
    ):
        Thinker(bus)
        with pytest.raises(BadEventLog, match="line 21"):
            bus.run()


@pytest.mark.parametrize(
    ("build", "others", "surplus"),
    [(Thinker, 0, 0), (Chatterer, 6, 4), (Mute, 4, -4), (lambda bus: Thinker(bus, surplus=1), 8, 0)],
)
def test_what_another_actor_would_have_decided(build: Callable[[EventBus], object], others: int, surplus: int) -> None:
    found: list[Difference] = []
    seen: list[Envelope] = []
    bus = WhatIfBus(record(), changed=found.append, record=seen.append)
    build(bus)
    bus.run()
    assert len(found) == others
    assert sum((change.recorded is None) - (change.replayed is None) for change in found) == surplus
    assert len({envelope.seq for envelope in seen}) == len(seen)
    assert bus.unchanged + sum(change.recorded is not None for change in found) == 12
