"""The one FIFO: order, clocks, causes, guards, subscriptions."""

from dataclasses import dataclass

import pytest

from bettensor.bus import EVERYTHING, Decided, Envelope, Event, EventBus, ManualClock, Observed
from bettensor.bus.errors import NotAllowed, UnknownTopic
from bettensor.bus.events import ActorFailed, BinaryReceived, ClockStepped, FrameReceived, NeuronFailed, NeuronStopping
from bettensor.bus.identifiers import SECOND, ConnectionId, Micros


@dataclass(frozen=True, slots=True)
class Rang(Observed):
    text: str


@dataclass(frozen=True, slots=True)
class Answered(Decided):
    text: str


@dataclass(frozen=True, slots=True)
class Echoed(Decided):
    text: str


class Log:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.recorded: list[Envelope] = []
        self.bus = EventBus(self.clock, record=self.recorded.append)

    def events(self) -> list[Event]:
        return [envelope.event for envelope in self.recorded]


@pytest.fixture
def log() -> Log:
    return Log()


def test_topics_are_the_class_names_in_snake_case() -> None:
    assert Rang.topic == "rang"
    assert NeuronStopping.topic == "neuron_stopping"
    assert not any(topic == "error" for topic in (Rang.topic, "send_failed"))


def test_a_second_event_of_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"belongs to bettensor\.bus\.events\.NeuronStopping"):
        type("NeuronStopping", (Observed,), {})


def test_what_is_published_inside_a_handler_is_delivered_after_it(log: Log) -> None:
    heard: list[str] = []

    def answer(event: Rang, _: Envelope) -> None:
        log.bus.publish(Answered(event.text))
        heard.append("after publish")

    log.bus.subscribe(Rang, answer, "first")
    log.bus.subscribe(Rang, lambda event, _: heard.append(f"second {event.text}"), "second")
    log.bus.subscribe(Answered, lambda event, _: heard.append(f"answered {event.text}"), "third")
    log.bus.publish(Rang("x"))
    assert heard == ["after publish", "second x", "answered x"]


def test_the_order_of_delivery_is_the_order_of_the_log(log: Log) -> None:
    delivered: list[int] = []
    log.bus.subscribe(EVERYTHING, lambda _, envelope: delivered.append(envelope.seq), "log")

    def branch(event: Rang, _: Envelope) -> None:
        for text in "ab":
            log.bus.publish(Answered(event.text + text))

    log.bus.subscribe(Rang, branch, "branch")
    log.bus.subscribe(Answered, lambda event, _: log.bus.publish(Echoed(event.text)), "echo")
    log.bus.publish(Rang("1"))
    log.bus.publish(Rang("2"))
    assert delivered == [envelope.seq for envelope in log.recorded] == list(range(1, 11))


def test_decisions_carry_their_causes_and_the_clocks_of_the_newest_observation(log: Log) -> None:
    log.bus.subscribe(Rang, lambda event, _: log.bus.publish(Answered(event.text)), "answer")

    def slow(event: Answered, _: Envelope) -> None:
        log.clock.advance(Micros(7))
        log.bus.publish(Echoed(event.text))
        log.bus.publish(Echoed("grouped"), causes=(1, 2))

    log.bus.subscribe(Answered, slow, "slow")
    log.clock.advance(SECOND)
    log.bus.publish(Rang("x"))
    rang, answered, echoed, grouped = log.recorded
    assert (rang.causes, answered.causes, echoed.causes, grouped.causes) == ((), (1,), (2,), (1, 2))
    assert {envelope.mono for envelope in log.recorded} == {SECOND}
    assert rang.at == log.clock.wall() - 7


def test_an_observation_inside_a_drain_reads_the_clocks_and_has_its_cause(log: Log) -> None:
    def observe(_: Rang, __: Envelope) -> None:
        log.clock.advance(Micros(5))
        log.bus.publish(FrameReceived(ConnectionId(1), b""))

    log.bus.subscribe(Rang, observe, "edge")
    log.bus.publish(Rang("x"))
    assert [envelope.mono for envelope in log.recorded] == [0, 5]
    assert log.recorded[1].causes == (1,)


def test_a_decision_outside_a_drain_is_refused(log: Log) -> None:
    with pytest.raises(NotAllowed, match="answered was decided outside of any event"):
        log.bus.publish(Answered("x"))


def test_a_raising_handler_stops_no_other_and_is_reported_with_its_traceback(log: Log) -> None:
    heard: list[str] = []

    def fail(_: Rang, __: Envelope) -> None:
        raise RuntimeError("broken on purpose \ud800")

    log.bus.subscribe(Rang, fail, "clumsy")
    log.bus.subscribe(Rang, lambda event, _: heard.append(event.text), "careful")
    log.bus.publish(Rang("x"))
    assert heard == ["x"]
    failure = log.events()[1]
    assert isinstance(failure, ActorFailed)
    assert failure.error.encode()  # what cannot be written is escaped, so that a log can hold it
    assert (failure.actor, failure.seq, failure.handling, failure.connection) == ("clumsy", 1, "rang", None)
    assert "broken on purpose" in failure.error
    assert "in fail" in failure.error


def test_a_failure_over_a_peers_message_names_the_peer(log: Log) -> None:
    def fail(_: BinaryReceived, __: Envelope) -> None:
        raise RuntimeError

    log.bus.subscribe(BinaryReceived, fail, "clumsy")
    log.bus.publish(BinaryReceived(ConnectionId(7), 1))
    assert isinstance(failure := log.events()[1], ActorFailed)
    assert failure.connection == 7


def test_a_failure_over_a_failure_fails_the_neuron_and_nothing_loops(log: Log) -> None:
    def fail(_: Event, __: Envelope) -> None:
        raise RuntimeError

    log.bus.subscribe(EVERYTHING, fail, "hopeless")
    log.bus.publish(Rang("x"))
    assert [type(event) for event in log.events()] == [Rang, ActorFailed, NeuronFailed]


@pytest.mark.parametrize("topic", ["rang", Rang], ids=["topic", "class"])
def test_users_subscribe_by_topic_or_class_with_or_without_the_envelope(log: Log, topic: str | type[Event]) -> None:
    heard: list[object] = []

    @log.bus.on(topic)
    def one(event: Rang) -> None:
        heard.append(event.text)

    def two(event: Rang, envelope: Envelope) -> None:
        heard.append((event.text, envelope.seq))

    assert log.bus.on(topic, two) is two
    log.bus.publish(Rang("x"))
    assert heard == ["x", ("x", 1)]


def test_everything_is_heard_by_a_star(log: Log) -> None:
    heard: list[str] = []
    log.bus.on("*", lambda event: heard.append(event.topic))
    log.bus.subscribe(Rang, lambda event, _: log.bus.publish(Answered(event.text)), "answer")
    log.bus.publish(Rang("x"))
    assert heard == ["rang", "answered"]


def test_an_unknown_topic_is_refused_with_the_nearest_name(log: Log) -> None:
    with pytest.raises(UnknownTopic, match="no event 'prediction_acepted'; the nearest is 'prediction_accepted'"):
        log.bus.on("prediction_acepted", print)


def test_handlers_take_one_or_two_arguments(log: Log) -> None:
    heard: list[int] = []
    log.bus.on(Rang, lambda *arguments: heard.append(len(arguments)))
    log.bus.on(Rang, lambda _event, _envelope=None: heard.append(1))
    log.bus.publish(Rang("x"))
    assert heard == [2, 1]
    with pytest.raises(TypeError, match="takes 3 arguments"):
        log.bus.on(Rang, lambda a, b, c: (a, b, c))


@pytest.mark.parametrize("by", [3600 * SECOND, -3600 * SECOND], ids=["forward", "back"])
def test_a_step_of_the_wall_clock_is_observed_before_the_event_that_shows_it(log: Log, by: int) -> None:
    log.bus.publish(Rang("before"))
    log.clock.step_wall(Micros(by))
    log.bus.publish(Rang("after"))
    log.bus.publish(Rang("later"))
    assert log.events() == [Rang("before"), ClockStepped(Micros(by)), Rang("after"), Rang("later")]


def test_a_step_is_told_at_a_look_at_the_clocks_though_nothing_else_happens(log: Log) -> None:
    log.bus.publish(Rang("before"))
    log.bus.look_at_clocks()
    log.clock.step_wall(Micros(-60 * SECOND))
    log.bus.look_at_clocks()
    log.bus.look_at_clocks()
    assert log.events() == [Rang("before"), ClockStepped(Micros(-60 * SECOND))]
    assert log.recorded[-1].at == log.clock.wall()


def test_a_look_at_the_clocks_within_a_delivery_waits_for_its_turn(log: Log) -> None:
    def look(_: Rang, __: Envelope) -> None:
        log.clock.step_wall(Micros(60 * SECOND))
        log.bus.look_at_clocks()
        log.bus.publish(Answered("x"))

    log.bus.subscribe(Rang, look, "test")
    log.bus.publish(Rang("x"))
    assert log.events() == [Rang("x"), ClockStepped(Micros(60 * SECOND)), Answered("x")]


def test_small_steps_within_a_minute_add_up(log: Log) -> None:
    for _ in range(3):
        log.clock.advance(Micros(10 * SECOND))
        log.clock.step_wall(Micros(2 * SECOND))
        log.bus.publish(Rang("x"))
    assert log.events().count(ClockStepped(Micros(6 * SECOND))) == 1


def test_slow_drift_is_no_step(log: Log) -> None:
    for _ in range(10):
        log.clock.advance(Micros(61 * SECOND))
        log.clock.step_wall(Micros(2 * SECOND))
        log.bus.publish(Rang("x"))
    assert not any(isinstance(event, ClockStepped) for event in log.events())


def test_the_manual_clock_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="cannot go back by 1 us"):
        ManualClock().advance(Micros(-1))
