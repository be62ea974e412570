"""What is read off a log: the way of one prediction, which events are wanted, and figures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BadEventLog
from bettensor.bus.event_json import encode_event
from bettensor.bus.eventlog import Row
from bettensor.bus.events import AxonAnswered, Event, FrameReceived, FrameWritten, HttpRequestReceived, NeuronStopping
from bettensor.bus.identifiers import SECOND, ConnectionId, MessageId, Micros, PredictionId
from bettensor.bus.messages import ConfirmationMessage, PredictionMessage, PredictionResult
from bettensor.neurons.recordings import inspection
from bettensor.neurons.recordings.inspection import EventFilter, Step, Summary, trace, trace_in
from bettensor.neurons.recordings.recording import Recording, ReplayedEvent
from tests.stories import STORIES, Subnet
from tests.support import NOW, make_hotkey, make_prediction, stamp

PEER = make_hotkey()


def row(event: Event, seconds: float = 0.0, seq: int = 1) -> Row:
    mono = Micros(round(seconds * SECOND))
    return Row(seq + 1, seq, Micros(NOW + mono), mono, (), event.topic, encode_event(event))


# --- the way of one prediction


@pytest.fixture
def log(tmp_path: Path) -> Path:
    subnet = Subnet()
    for name in ("one", "one-more"):
        subnet.predict(name, wager=2.0)
    subnet.validator.save(tmp_path / "log.jsonl")
    return tmp_path / "log.jsonl"


def steps(roots: Iterable[Step]) -> list[Step]:
    return [step for root in roots for step in (root, *steps(root.following))]


def test_the_way_begins_in_the_world_and_ends_with_the_confirmation(log: Path) -> None:
    way = [step.envelope.event.topic for step in steps(trace(Recording(log), "one"))]
    assert way[0] == "frame_received"
    assert {"prediction_submitted", "commit_requested", "predictions_stored", "frame_written"} <= set(way)


def test_what_an_actor_decided_names_it_and_what_was_observed_names_nobody(log: Path) -> None:
    actors = {step.envelope.event.topic: step.actor for step in steps(trace(Recording(log), "one"))}
    assert (actors["frame_received"], actors["predictions_stored"]) == ("", "")
    assert (actors["prediction_submitted"], actors["commit_requested"]) == ("auth", "prediction")


def test_what_an_existing_miner_repeats_in_each_answer_is_shown_where_it_led_to_something(tmp_path: Path) -> None:
    (validator,) = STORIES["existing_miner_is_asked"]()
    validator.save(tmp_path / "log.jsonl")
    answers = validator.all(AxonAnswered)
    first = answers[0].predictions[0].prediction_id
    way = [step.envelope.event.topic for step in steps(trace(Recording(tmp_path / "log.jsonl"), first))]
    assert len(answers) > 2
    assert way.count("axon_answered") == 1
    assert {"prediction_submitted", "predictions_stored", "axon_confirm_requested"} <= set(way)


def test_an_answer_is_shown_even_if_none_led_to_anything() -> None:
    answered = AxonAnswered(ConnectionId(-1), PEER, (make_prediction(prediction_id="p"),))
    found = trace_in([ReplayedEvent(row(answered, seq=seq), "") for seq in (1, 2)], "p")
    assert [step.envelope.seq for step in found] == [1]


def test_an_id_within_another_one_is_not_it(log: Path) -> None:
    found = steps(trace(Recording(log), "one"))
    assert found
    assert not any("one-more" in msgspec.json.encode(step.event).decode() for step in found)
    assert steps(trace(Recording(log), "one-m")) == []
    assert steps(trace(Recording(log), "one-mor.")) == []  # an id is no pattern


def test_of_a_list_only_what_concerns_the_prediction_is_shown(tmp_path: Path) -> None:
    subnet = Subnet()
    for name in ("first", "second"):
        subnet.miner.predict(name, subnet.validator.hotkey, wager=1.0)
    subnet.advance(5)
    subnet.miner.save(tmp_path / "log.jsonl")
    sent = [
        step.event["message"]["predictions"]
        for step in steps(trace(Recording(tmp_path / "log.jsonl"), "second"))
        if step.envelope.event.topic == "frame_written"
    ]
    assert [[prediction["prediction_id"] for prediction in predictions] for predictions in sent] == [["second"]]


def test_of_a_damaged_log_what_was_found_before_comes_first(log: Path) -> None:
    whole = [step.envelope.seq for step in steps(trace(Recording(log), "one"))]
    with log.open("ab") as file:
        file.write(b"something else\n")
    found: list[Step] = []
    with pytest.raises(BadEventLog, match="a line follows the seal"):
        found.extend(trace(Recording(log), "one"))
    assert [step.envelope.seq for step in steps(found)] == whole


def test_causes_that_are_too_long_ago_are_forgotten(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [step.envelope.seq for step in steps(trace(Recording(log), "one"))]
    monkeypatch.setattr(inspection, "REMEMBERED", 1)
    found = [step.envelope.seq for step in steps(trace(Recording(log), "one"))]
    assert found
    assert set(found) <= set(whole)


# --- which events


ROWS = [row(NeuronStopping("x"), 1), row(FrameReceived(ConnectionId(1), b""), 2), row(NeuronStopping("y"), 3)]


def at(seconds: float) -> Micros:
    return Micros(NOW + round(seconds * SECOND))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EventFilter(), [0, 1, 2]),
        (EventFilter(topics=("neuron_stopping",)), [0, 2]),
        (EventFilter(topics=("frame_*", "nothing")), [1]),
        (EventFilter(topics=("FRAME_RECEIVED",)), []),
        (EventFilter(since=at(2)), [1, 2]),
        (EventFilter(until=at(2)), [0, 1]),
        (EventFilter(since=at(2), until=at(2)), [1]),
        (EventFilter(since=at(3), until=at(1)), []),
        (EventFilter(topics=("neuron_stopping",), since=at(2)), [2]),
    ],
)
def test_only_what_is_wanted_is_found(wanted: EventFilter, found: list[int]) -> None:
    assert list(wanted.of(ROWS)) == [ROWS[number] for number in found]


def request(connection: int, hotkey: str) -> Row:
    headers = (("x-bittensor-hotkey", hotkey),)
    return row(HttpRequestReceived(ConnectionId(connection), "GET", "/ws", headers, "10.0.0.1", True, "5" * 32))


def test_what_happens_on_a_connection_concerns_the_hotkey_that_opened_it() -> None:
    frame, other = (row(FrameReceived(ConnectionId(number), b"")) for number in (1, 2))
    rows = [request(1, PEER), request(2, make_hotkey("other")), frame, other]
    assert list(EventFilter(hotkey=PEER).of(rows)) == [rows[0], frame]


# --- figures


def asked(about: str, seconds: float) -> Row:
    message = PredictionMessage(session="5" * 32, seq=1, predictions=(make_prediction(),), message_id=MessageId(about))  # type: ignore[arg-type]
    payload = msgspec.json.encode(message)
    return row(FrameReceived(ConnectionId(1), payload + b"\n0x" + b"0" * 128), seconds)


def answered(seconds: float, *results: tuple[str, str]) -> Row:
    confirmation = ConfirmationMessage(
        results=tuple(
            PredictionResult(
                prediction_id=PredictionId("p"), about=about, success=code == "accepted", code=code, message=""
            )
            for about, code in results
        )
    )
    return row(FrameWritten(ConnectionId(1), PEER, stamp(confirmation, PEER), 300, "websocket"), seconds)


def summed(*rows: Row) -> dict[str, Any]:
    summary = Summary()
    for one in rows:
        summary.add(one)
    return summary.as_json()


A, B = "a" * 32, "b" * 32


def test_a_latency_goes_from_a_message_to_each_message_that_answers_it() -> None:
    figures = summed(
        asked(A, 1), asked(B, 2), answered(3, (A, "accepted"), (B, "conflict")), answered(5, (B, "accepted"))
    )
    assert figures["results"] == {"accepted": 2, "conflict": 1}
    assert figures["latency_ms"] == {"p50": 2000, "p95": 3000, "p99": 3000, "max": 3000}
    assert (figures["seconds"], figures["results_per_second"]) == (4.0, 0.75)
    assert (figures["first"], figures["last"]) == (at(1), at(5))


def test_two_results_about_one_message_are_one_answer() -> None:
    assert summed(asked(A, 1), answered(2, (A, "accepted"), (A, "accepted")))["latency_ms"]["max"] == 1000


def test_a_repetition_counts_from_the_first_time_it_was_said() -> None:
    assert summed(asked(A, 1), asked(A, 3), answered(4, (A, "accepted")))["latency_ms"]["max"] == 3000


def test_what_answers_nothing_that_was_heard_has_no_latency() -> None:
    figures = summed(answered(2, (A, "accepted")))
    assert (figures["results"], figures["latency_ms"]) == ({"accepted": 1}, {})


def test_another_run_has_a_clock_of_its_own() -> None:
    figures = summed(
        asked(A, 100), row(NeuronStopping("x"), 101), row(NeuronStopping("x"), 1), answered(4, (A, "accepted"))
    )
    assert figures["seconds"] == 1 + 3
    assert figures["latency_ms"] == {}  # an answer of this run is none to a message of the one before


def test_of_no_events_there_are_no_rates() -> None:
    figures = summed()
    assert (figures["first"], figures["events"], figures["results_per_second"]) == (None, {}, 0.0)
    assert summed(row(NeuronStopping("x"), 1))["events_per_second"] == {"neuron_stopping": 0.0}


def test_an_envelope_and_its_row_are_of_the_same_event() -> None:
    event = NeuronStopping("x")
    assert row(event).same(Envelope(1, NOW, Micros(0), (), event))
