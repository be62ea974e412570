"""Formats of the log: there is a way from each of them to the one that is written."""

from bettensor.bus.eventlog import FORMAT
from bettensor.bus.upcasts import UPCASTS


def test_every_earlier_format_is_known_and_the_one_that_is_written_needs_no_change() -> None:
    assert list(UPCASTS) == list(range(1, FORMAT))


def test_a_change_leaves_alone_what_it_is_not_about() -> None:
    event = ("an_event_of_ones_own", {"a": 1})
    assert [upcast(*event) for upcasts in UPCASTS.values() for upcast in upcasts if upcast(*event) != event] == []
