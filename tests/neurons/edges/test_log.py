"""Lines as the logbook decided them: text is data, each line tells its neuron, and a process has times with offsets."""

import re
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from loguru import logger

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import LineLogged, NeuronStopping
from bettensor.bus.text import short
from bettensor.neurons.edges.log import LogLines, set_log_level
from bettensor.neurons.simulation import make_hotkey
from tests.support import Injected, make_identity

OWN = make_identity(role="miner").hotkey
PEER = "5DFzyX4p" + "a" * 36 + "8mTv"


@pytest.fixture
def records() -> Iterator[list[Any]]:
    """What loguru was given, in a program that wants the lines."""
    found: list[Any] = []
    logger.enable("bettensor")
    sink = logger.add(lambda message: found.append(message.record), level=0)
    yield found
    logger.remove(sink)
    logger.disable("bettensor")


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
    assert (record["level"].name, record["message"]) == ("WARNING", f"miner {short(OWN)}: beware")
    assert record["extra"] == {"role": "miner", "hotkey": OWN, "seq": 3, "text": "beware"}


def test_the_place_in_the_source_is_a_real_one(bus: EventBus, records: list[Any]) -> None:
    bus.publish(Injected(LineLogged("INFO", "x")))
    assert (records[0]["name"], records[0]["function"]) == ("bettensor.neurons.edges.log", "line")


def test_a_program_that_does_not_ask_for_the_lines_gets_none(bus: EventBus, records: list[Any]) -> None:
    logger.disable("bettensor")
    bus.publish(Injected(LineLogged("CRITICAL", "x")))
    assert records == []


@pytest.mark.parametrize("text", ["{}", "{0} {x!r}", "<red>", "\\<red>", "100 % of {", "%s"])
def test_what_looks_like_a_format_is_text(bus: EventBus, records: list[Any], text: str) -> None:
    bus.publish(Injected(LineLogged("INFO", text)))
    assert [record["extra"]["text"] for record in records] == [text]
    assert records[0]["message"].endswith(f": {text}")


def test_nothing_else_is_written(bus: EventBus, records: list[Any]) -> None:
    bus.publish(NeuronStopping("x"))
    assert records == []


# --- the process of a neuron


class Terminal(StringIO):
    """What a terminal, or a file, was given."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def stderr(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Standard error of a process that a neuron owns."""
    terminal = Terminal(is_terminal=request.param)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    set_log_level("INFO")
    yield terminal
    logger.remove()
    logger.disable("bettensor")


TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
LINE = f"of {PEER} (UID: 7), to {OWN}: {{x}} <red>"


@pytest.mark.parametrize("stderr", [False], indirect=True)
def test_a_line_begins_with_a_time_that_has_its_offset_and_is_whole_in_a_file(bus: EventBus, stderr: Terminal) -> None:
    bus.publish(Injected(LineLogged("INFO", LINE)))
    bus.publish(Injected(LineLogged("DEBUG", "not wanted")))
    assert re.fullmatch(rf"{TIME} \| INFO     \| {re.escape(LINE)}\n", stderr.getvalue())


@pytest.mark.parametrize("stderr", [True], indirect=True)
def test_on_a_terminal_addresses_of_others_are_short_and_tracebacks_are_whole(bus: EventBus, stderr: Terminal) -> None:
    bus.publish(Injected(LineLogged("ERROR", f"{LINE}\n  {PEER}")))
    line, traceback = stderr.getvalue().splitlines()
    assert line.endswith(f" | of 5DFzyX…8mTv (UID: 7), to {OWN}: {{x}} <red>")
    assert traceback == f"  {PEER}"


@pytest.mark.parametrize("stderr", [True, False], indirect=True)
def test_a_handler_that_logs_by_loguru_itself_has_its_line(stderr: Terminal) -> None:
    logger.info("mine: {}", make_hotkey("x"))
    assert stderr.getvalue().endswith(f" | mine: {make_hotkey('x')}\n")


@pytest.mark.parametrize("stderr", [True, False], indirect=True)
def test_a_line_that_holds_escape_sequences_is_not_obeyed(bus: EventBus, stderr: Terminal) -> None:
    bus.publish(Injected(LineLogged("ERROR", "an actor failed\nTraceback\n  ValueError: \x1b[2J\x9b")))
    logger.info("mine: \x1b]0;x\x07")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", stderr.getvalue())
    assert "ValueError: \\x1b[2J\\x9b\n" in stderr.getvalue()


@pytest.mark.parametrize("stderr", [True, False], indirect=True)
def test_a_traceback_has_no_values_of_variables(stderr: Terminal) -> None:
    def fail(api_key: str) -> None:
        raise ValueError(len(api_key))

    try:
        fail("PLANTED")
    except ValueError:
        logger.exception("it failed")
    assert "ValueError: 7\n" in stderr.getvalue()
    assert "PLANTED" not in stderr.getvalue().replace('fail("PLANTED")', "")
