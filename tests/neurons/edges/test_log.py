"""Lines as the logbook decided them: text is data, and whose line it is stands where loguru has the caller."""

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import LineLogged, NeuronStopping
from bettensor.bus.text import short
from bettensor.neurons.edges.log import LogLines
from tests.support import Injected, make_identity


@pytest.fixture
def records() -> Iterator[list[Any]]:
    """What loguru was given."""
    found: list[Any] = []
    sink = logger.add(lambda message: found.append(message.record), level=0)
    yield found
    logger.remove(sink)


@pytest.fixture
def bus() -> EventBus:
    bus = EventBus(ManualClock())
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    LogLines(make_identity(role="miner")).attach(bus)
    return bus


def test_a_line_has_its_level_its_neuron_and_its_place_in_the_log(bus: EventBus, records: list[Any]) -> None:
    bus.publish(NeuronStopping("x"))
    bus.publish(Injected(LineLogged("WARNING", "beware")))
    (record,) = records
    assert (record["level"].name, record["message"]) == ("WARNING", "beware")
    hotkey = make_identity(role="miner").hotkey
    assert (record["name"], record["function"]) == ("bettensor.miner", short(hotkey))
    assert record["extra"] == {"role": "miner", "hotkey": hotkey, "seq": 3}


@pytest.mark.parametrize("text", ["{}", "{0} {x!r}", "<red>", "\\<red>", "100 % of {", "%s"])
def test_what_looks_like_a_format_is_text(bus: EventBus, records: list[Any], text: str) -> None:
    bus.publish(Injected(LineLogged("INFO", text)))
    assert [record["message"] for record in records] == [text]


def test_nothing_else_is_written(bus: EventBus, records: list[Any]) -> None:
    bus.publish(NeuronStopping("x"))
    assert records == []
