"""How handlers are marked, found and subscribed: what actors and edges have in common."""

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import ActorFailed, NeuronDraining, NeuronStopping
from bettensor.bus.subscriber import Subscriber, marked, on


class Listener(Subscriber):
    name = "listener"

    def __init__(self) -> None:
        self.heard: list[str] = []

    @on(NeuronDraining)
    def second_by_alphabet(self, _: NeuronDraining, __: Envelope) -> None:
        self.heard.append("first")

    @on(NeuronDraining, NeuronStopping)
    def a(self, event: NeuronDraining | NeuronStopping, _: Envelope) -> None:
        self.heard.append(event.topic)

    def unmarked(self, _: NeuronDraining, __: Envelope) -> None:
        raise AssertionError


class Marking(Listener):
    @on(NeuronStopping)
    def a(self, event: NeuronDraining | NeuronStopping, _: Envelope) -> None:
        self.heard.append(f"override of {event.topic}")


class NotMarking(Listener):
    def a(self, event: NeuronDraining | NeuronStopping, _: Envelope) -> None:
        self.heard.append(f"override of {event.topic}")


def heard(listener: Listener) -> list[str]:
    bus = EventBus(ManualClock())
    listener.attach(bus)
    bus.publish(NeuronDraining())
    bus.publish(NeuronStopping(""))
    return listener.heard


def test_handlers_are_called_in_the_order_in_which_they_stand() -> None:
    assert heard(Listener()) == ["first", "neuron_draining", "neuron_stopping"]


def test_an_override_hears_what_its_own_mark_says() -> None:
    assert heard(Marking()) == ["first", "override of neuron_stopping"]


def test_an_override_without_a_mark_hears_what_it_overrides() -> None:
    assert heard(NotMarking()) == ["first", "override of neuron_draining", "override of neuron_stopping"]


def test_the_handlers_of_a_base_come_first_and_each_stands_once() -> None:
    class Longer(Marking):
        @on(NeuronDraining)
        def z(self, _: NeuronDraining, __: Envelope) -> None: ...

    assert marked(Longer, "handles") == [
        ("second_by_alphabet", (NeuronDraining,)),
        ("a", (NeuronStopping,)),
        ("z", (NeuronDraining,)),
    ]


def test_a_failure_is_told_under_the_name_of_the_subscriber() -> None:
    class Clumsy(Subscriber):
        name = "clumsy"

        @on(NeuronDraining)
        def fail(self, _: NeuronDraining, __: Envelope) -> None:
            raise RuntimeError

    failures: list[ActorFailed] = []
    bus = EventBus(ManualClock())
    bus.subscribe(ActorFailed, lambda event, _: failures.append(event), "test")
    Clumsy().attach(bus)
    bus.publish(NeuronDraining())
    assert [failure.actor for failure in failures] == ["clumsy"]


def test_an_async_handler_is_refused_where_it_is_marked() -> None:
    with pytest.raises(TypeError, match=r"Late\.hear is async: a handler decides at once"):

        class Late(Subscriber):
            @on(NeuronDraining)  # type: ignore[type-var]
            async def hear(self, _: NeuronDraining, __: Envelope) -> None: ...
