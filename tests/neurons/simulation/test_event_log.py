"""The memory of what happened on a bus."""

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import NeuronDraining, NeuronFailed, NeuronStopping, Observed
from bettensor.neurons.simulation.event_log import EventLog


@pytest.fixture
def log() -> EventLog:
    log = EventLog()
    bus = EventBus(ManualClock(), record=log.append)
    for event in (NeuronStopping("1"), NeuronDraining(), NeuronStopping("2")):
        bus.publish(event)
    return log


def test_every_event_of_a_kind_is_kept_in_order(log: EventLog) -> None:
    assert [event.reason for event in log.all(NeuronStopping)] == ["1", "2"]
    assert len(log.all(Observed)) == 3
    assert [envelope.seq for envelope in log.envelopes] == [1, 2, 3]


def test_the_newest_of_a_kind_is_the_last(log: EventLog) -> None:
    assert log.last(NeuronStopping).reason == "2"
    assert log.last(Observed) == NeuronStopping("2")


def test_what_did_not_happen_is_named_with_what_did(log: EventLog) -> None:
    assert log.all(NeuronFailed) == []
    with pytest.raises(LookupError, match=r"no neuron_failed among \['neuron_stopping', 'neuron_draining'\]"):
        log.last(NeuronFailed)
