"""The vocabulary: each event says what kind it is, and is the same wherever it is read."""

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from bettensor.bus import events
from bettensor.bus.events import TOPICS, Decided, FromPeer, NeuronDraining, NeuronStopping, Observed

OURS = [cls for cls in TOPICS.values() if cls.__module__ == events.__name__]


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.topic)
def test_an_event_is_either_observed_or_decided_frozen_slotted_and_explained(cls: Any) -> None:
    assert issubclass(cls, Observed) is not issubclass(cls, Decided)
    assert cls.__dataclass_params__.frozen
    assert not any("__dict__" in vars(base) for base in cls.__mro__)
    assert inspect.getdoc(cls)
    assert not str(cls.__doc__).startswith(f"{cls.__name__}(")  # which dataclass writes if nobody does


def test_what_a_peers_message_leads_to_names_its_connection() -> None:
    charged: list[Any] = [cls for cls in OURS if issubclass(cls, FromPeer)]
    assert charged
    assert [cls for cls in charged if "connection" not in {field.name for field in fields(cls)}] == []


def test_the_kinds_themselves_are_no_topics() -> None:
    assert {"event", "observed", "decided"}.isdisjoint(TOPICS)


def test_an_event_cannot_be_changed_after_it_was_published() -> None:
    event = NeuronStopping("enough")
    with pytest.raises(FrozenInstanceError):
        event.reason = "more"  # type: ignore[misc]


def test_events_are_equal_by_what_they_say() -> None:
    assert NeuronStopping("x") == NeuronStopping("x") != NeuronStopping("y")
    assert NeuronDraining() == NeuronDraining()
