"""Where time goes: what one step has another do is the other's time, and each handler's has its name."""

from bettensor.bus.clock import ManualClock
from bettensor.bus.events import LineLogged, NeuronDraining, PredictionsStored
from bettensor.neurons.bench.budget import STEPS, Stopwatch, TimedBus, _step


def work() -> int:
    return sum(range(200_000))


def test_a_step_that_raises_is_timed_too() -> None:
    watch = Stopwatch()

    def fail() -> None:
        work()
        raise RuntimeError

    for _ in range(2):
        try:
            watch.timed(("fails", ""), fail)()
        except RuntimeError:
            continue
    assert watch.calls["fails", ""] == 2
    assert watch.seconds["fails", ""] > 0


def test_what_is_cleared_is_forgotten() -> None:
    watch = Stopwatch()
    watch.timed(("a", ""), work)()
    watch.clear()
    assert (dict(watch.seconds), dict(watch.calls)) == ({}, {})


def test_timing_itself_costs_something_and_little() -> None:
    inside, outside = Stopwatch().cost()
    assert 0 <= inside < 1e-3
    assert 0 < outside < 1e-3


def test_a_bus_takes_the_time_of_each_handler_by_its_name_and_topic() -> None:
    bus = TimedBus(ManualClock())
    bus.subscribe(NeuronDraining, lambda _, __: work(), "a")
    bus.subscribe(NeuronDraining, lambda _, __: bus.publish(LineLogged("INFO", "x")), "b")
    bus.subscribe(LineLogged, lambda _, __: work(), "c")
    bus.publish(NeuronDraining())
    assert bus.watch.calls == {
        ("a", "neuron_draining"): 1,
        ("b", "neuron_draining"): 1,
        ("c", "line_logged"): 1,
        ("bus", ""): 1,
    }
    assert bus.watch.seconds["b", "neuron_draining"] < bus.watch.seconds["c", "line_logged"]


def test_before_the_first_prediction_nothing_is_counted() -> None:
    bus = TimedBus(ManualClock())
    bus.publish(PredictionsStored(1, ()))
    assert (bus.began, bus.predictions) == (None, 0)


def test_each_handler_belongs_to_one_step() -> None:
    assert _step("prediction", "prediction_submitted") == "actor: prediction, before the commit"
    assert _step("prediction", "predictions_stored") == "actor: prediction, after it"
    assert _step("connection", "frame_received") == "actor: connection"
    assert _step("heartbeat", "message_accepted") == "other actors"
    assert _step("ledger", "commit_requested") == "other edges"
    assert {"other actors", "other edges"} <= set(STEPS)
