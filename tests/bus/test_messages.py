"""Messages: the registry of kinds, their dictionaries for people and tools, and their frames."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bettensor.bus import codec
from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.errors import Unreadable
from bettensor.bus.games import UnreadablePrediction, content_digest, millionths
from bettensor.bus.identifiers import PredictionId
from bettensor.bus.messages import (
    KINDS,
    HeartbeatMessage,
    PointToPoint,
    PredictionMessage,
    WebSocketMessage,
    WelcomeMessage,
    register,
)
from bettensor.bus.timestamps import parse_rfc3339, rfc3339
from tests.actors.miner.messages import welcome
from tests.support import NOW, make_hotkey, make_prediction, stamp
from tests.test_protocol_vectors import messages


@dataclass(frozen=True, slots=True, kw_only=True)
class InjuryReport(PointToPoint):
    message_type: Literal["injury_report"] = "injury_report"
    player: str


@pytest.fixture
def injury_reports() -> Iterator[None]:
    register(InjuryReport)
    yield
    del KINDS["injury_report"]


def read(message: WebSocketMessage) -> WebSocketMessage:
    return codec.read(codec.encode(stamp(message, make_hotkey())))


@pytest.mark.parametrize("name", messages())
def test_every_kind_has_its_dictionary_and_its_json(name: str) -> None:
    _, message, _ = messages()[name]
    kind = type(message)
    assert kind.from_dict(message.to_dict()) == message
    assert kind.from_json(message.to_json()) == message
    assert message.to_dict()["message_type"] == name


def test_a_kind_of_ones_own_is_read_once_it_is_registered(injury_reports: None) -> None:
    assert injury_reports is None
    message = read(InjuryReport(session="ab" * 16, seq=1, player="Salah"))  # type: ignore[arg-type]
    assert isinstance(message, InjuryReport)
    assert message.player == "Salah"
    assert register(InjuryReport) is InjuryReport


def test_until_then_it_is_of_an_unknown_type() -> None:
    message = read(InjuryReport(session="ab" * 16, seq=1, player="Salah"))  # type: ignore[arg-type]
    assert isinstance(message, codec.UnreadMessage)
    assert (message.code, message.message_type, message.seq) == (ErrorCode.UNKNOWN_TYPE, "injury_report", 1)


def test_a_taken_name_is_refused() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Mine(PointToPoint):
        message_type: Literal["heartbeat"] = "heartbeat"

    with pytest.raises(ValueError, match="'heartbeat' is taken by HeartbeatMessage"):
        register(Mine)
    assert KINDS["heartbeat"] is HeartbeatMessage


def test_what_is_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="inherit from PointToPoint"):
        register(PointToPoint)
    with pytest.raises(ValueError, match="inherit from PointToPoint"):
        register(WebSocketMessage)


@given(text=st.text(max_size=256), number=st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_written_is_read_again(text: str, number: float) -> None:
    prediction = make_prediction(None, model_name=text, wager=number, predicted_outcome=text)
    fault = codec.fault_of(prediction)
    if fault is not None:
        assert "surrogates" in fault
        return
    message = read(PredictionMessage(session="ab" * 16, seq=1, predictions=(prediction,)))  # type: ignore[arg-type]
    assert isinstance(message, PredictionMessage)
    assert message.predictions == (prediction,)


@given(st.binary(max_size=300))
def test_no_bytes_are_worse_than_unreadable(data: bytes) -> None:
    closes = set()
    for read_it in (codec.split, codec.read):
        try:
            read_it(data)
        except Unreadable as fault:
            closes.add(fault.close)
    assert closes <= {CloseCode.PROTOCOL_VIOLATION, CloseCode.BAD_SIGNATURE, CloseCode.INVALID_DATA}


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 400, b"9" * 5000, b"9" * 5000 + b".5"])
def test_a_number_beyond_binary64_spoils_its_own_prediction_alone(number: bytes) -> None:
    predictions = (make_prediction(wager=1.25), make_prediction())
    written = codec.encode(stamp(PredictionMessage(session="ab" * 16, predictions=predictions), make_hotkey()))  # type: ignore[arg-type]
    message = codec.read(written.replace(b'"wager":1.25', b'"wager":' + number))
    assert isinstance(message, PredictionMessage)
    bad, good = message.predictions
    assert isinstance(bad, UnreadablePrediction)
    assert str(bad.content["wager"]) == number.decode()
    assert good == predictions[1]


def nested(levels: int) -> bytes:
    """A message with a prediction whose outcome is a list so deep, counted from the message itself."""
    outcome = "[" * (levels - 3) + "]" * (levels - 3)
    good = codec.encode(stamp(PredictionMessage(session="ab" * 16, predictions=(make_prediction(),)), make_hotkey()))  # type: ignore[arg-type]
    return re.sub(rb'"predicted_outcome":"[^"]*"', b'"predicted_outcome":' + outcome.encode(), good)


def test_a_field_nested_deeper_than_32_levels_is_kept_as_its_text() -> None:
    for levels, kept in ((32, list), (33, str), (400, str)):
        message = codec.read(nested(levels))
        assert isinstance(message, PredictionMessage)
        (prediction,) = message.predictions
        assert isinstance(prediction, UnreadablePrediction)
        assert (prediction.prediction_id != "", type(prediction.content["predicted_outcome"])) == (True, kept)
    with pytest.raises(Unreadable, match="nested too deeply"):
        codec.read(nested(30_000))


@given(
    st.dictionaries(st.text(max_size=20), st.none() | st.booleans() | st.integers() | st.text(max_size=20), max_size=6)
)
def test_content_that_cannot_be_read_still_has_its_digest(content: dict[str, object]) -> None:
    unreadable = UnreadablePrediction(prediction_id=PredictionId("x"), fault="", content=content)
    assert len(content_digest(unreadable)) == 64


def test_the_digest_of_what_cannot_be_read_takes_numbers_as_binary64() -> None:
    def digest(**content: object) -> str:
        return content_digest(UnreadablePrediction(prediction_id=PredictionId("x"), fault="", content=content))

    assert digest(wager=1) == digest(wager=1.0) != digest(wager=2)
    assert digest(wager=True) != digest(wager=1)
    assert digest(wager=None) == digest()
    assert digest(wager=10**400) != digest(wager=10**401)


def test_millionths_are_rounded_half_to_even() -> None:
    assert [millionths(value) for value in (0.0000005, 0.0000015, 0.0000025, 1e9)] == [0, 2, 2, 10**15]
    assert millionths(float("inf")) is millionths(float("nan")) is millionths(1e308) is None


def test_timestamps_are_rfc3339_in_utc_with_microseconds() -> None:
    assert rfc3339(NOW) == "2026-05-28T20:26:40.000000Z"
    assert parse_rfc3339(rfc3339(NOW)) == NOW
    assert parse_rfc3339("2026-05-28T22:26:40+02:00") == NOW
    with pytest.raises(ValueError, match="has no offset from UTC"):
        parse_rfc3339("2026-05-28T20:26:40")


@pytest.mark.parametrize("changes", [{}, {"tls_key": "a" * 64}])
def test_a_welcome_can_be_part_of_what_pydantic_reads(changes: dict[str, str]) -> None:
    message = welcome(**changes)
    assert TypeAdapter(WelcomeMessage).validate_python(msgspec.to_builtins(message)) == message
