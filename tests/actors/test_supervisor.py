"""What a raising handler leads to: for the peer, for the actor, for the neuron."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from bettensor.actors.actor import Actor, on
from bettensor.actors.supervisor import MAX_FAILURES, SupervisorActor
from bettensor.bus.bus import EventBus
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    MessageRefused,
    NeuronFailed,
    NeuronStopping,
    QueryEnded,
    SendFailed,
)
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import HeartbeatMessage
from tests.support import Harness, make_hotkey

PEER = ConnectionId(4)


@dataclass(slots=True)
class ClumsyState:
    heard: dict[str, int] = field(default_factory=dict)
    poison: Any = None


class Clumsy(Actor):
    name = "clumsy"
    State = ClumsyState
    state: ClumsyState

    @on(BinaryReceived, NeuronStopping)
    def fail(self, event: BinaryReceived | NeuronStopping, _: Envelope) -> None:
        self.state.heard[event.topic] = self.state.heard.get(event.topic, 0) + 1
        raise RuntimeError("clumsy")


class Bench(Harness):
    def __init__(self) -> None:
        self.actor = Clumsy()
        super().__init__(self.actor, SupervisorActor([self.actor]))


def test_over_a_peers_message_the_peer_hears_internal_and_the_neuron_goes_on() -> None:
    bench = Bench()
    bench.observe(BinaryReceived(PEER, 1))
    assert (bench.last(MessageRefused).connection, bench.last(MessageRefused).code) == (PEER, "internal")
    assert bench.all(CloseRequested) == []
    assert bench.all(NeuronFailed) == []


def test_after_three_failures_the_peers_session_ends_and_it_never_counts_against_the_neuron() -> None:
    bench = Bench()
    bench.observe(*[BinaryReceived(PEER, 1)] * MAX_FAILURES, *[BinaryReceived(ConnectionId(5), 1)] * 2)
    assert [(close.connection, close.code) for close in bench.all(CloseRequested)] == [(PEER, 4000)]
    for other in range(100, 200):
        bench.observe(BinaryReceived(ConnectionId(other), 1))
    assert bench.all(NeuronFailed) == []


def test_failures_of_a_connection_are_forgotten_with_it() -> None:
    bench = Bench()
    for _ in range(3):
        bench.observe(BinaryReceived(PEER, 1), BinaryReceived(PEER, 1), ConnectionClosed(PEER, 1006, ""))
        bench.observe(BinaryReceived(PEER, 1), BinaryReceived(PEER, 1), QueryEnded(PEER))
    assert bench.all(CloseRequested) == []


def test_over_our_own_affairs_the_actor_is_rebuilt_from_its_state() -> None:
    bench = Bench()
    before = bench.actor.state
    bench.observe(NeuronStopping("x"))
    assert bench.actor.state is not before
    assert bench.actor.state.heard == {"neuron_stopping": 1}
    assert bench.all(NeuronFailed) == []


def test_an_actor_that_goes_on_failing_stops_the_neuron() -> None:
    bench = Bench()
    for _ in range(MAX_FAILURES):
        bench.observe(NeuronStopping("x"))
    assert bench.all(NeuronFailed) == []
    bench.observe(NeuronStopping("x"))
    assert "clumsy goes on failing" in bench.last(NeuronFailed).reason


def test_failures_long_ago_do_not_count() -> None:
    bench = Bench()
    for _ in range(10):
        bench.observe(NeuronStopping("x"))
        bench.advance(61)
    assert bench.all(NeuronFailed) == []


def test_an_actor_whose_state_cannot_be_rebuilt_stops_the_neuron() -> None:
    bench = Bench()
    bench.actor.state.poison = object()
    bench.observe(NeuronStopping("x"))
    assert "clumsy cannot be rebuilt" in bench.last(NeuronFailed).reason


def test_an_edge_that_fails_stops_the_neuron() -> None:
    bench = Bench()

    def broken(_: SendFailed, __: Envelope) -> None:
        raise OSError("no such edge")

    bench.bus.subscribe(SendFailed, broken, "writer")
    bench.observe(SendFailed(make_hotkey(), HeartbeatMessage(), "x"))
    assert "writer failed while it handled send_failed" in bench.last(NeuronFailed).reason


def test_a_subclass_hears_what_its_base_hears_and_may_override_it() -> None:
    class Careful(Clumsy):
        name = "careful"

        @on(NeuronStopping)
        def fail(self, event: BinaryReceived | NeuronStopping, _: Envelope) -> None:
            self.state.heard[f"overridden {event.topic}"] = 1

    actor = Careful()
    bench = Harness(actor)
    bench.observe(NeuronStopping("x"), BinaryReceived(PEER, 1))
    assert actor.state.heard == {"overridden neuron_stopping": 1}


def test_a_snapshot_of_another_actor_is_refused() -> None:
    with pytest.raises(ValueError, match="heard"):
        Clumsy().restore({"heard": "nothing"})


def test_an_actor_without_settings_has_none() -> None:
    assert Clumsy().settings == Clumsy.Settings()
    assert isinstance(Harness(Clumsy()).bus, EventBus)
