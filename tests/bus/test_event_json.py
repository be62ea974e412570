"""Events as JSON: bytes stay bytes, messages that no wire would take survive, and secrets are left out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bettensor.bus.event_json import decode_event, encode_event, plain_event
from bettensor.bus.events import (
    BinaryReceived,
    Event,
    FrameReceived,
    HttpRequestReceived,
    MessageAccepted,
    NeuronDraining,
    Observed,
    PredictionMade,
    SettingsReloaded,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, SessionId
from bettensor.bus.messages import (
    HeartbeatMessage,
    Limits,
    PredictionMessage,
    WelcomeMessage,
)
from bettensor.bus.redaction import HIDDEN
from tests.actors.miner.messages import welcome
from tests.support import as_json, make_hotkey, make_prediction, stamp

PEER = make_hotkey()


@dataclass(frozen=True, slots=True)
class TwoTexts(Observed):
    first: bytes
    number: int
    second: bytes


def again(event: Event) -> Event:
    return decode_event(type(event), encode_event(event))


def test_bytes_are_text_that_people_can_read() -> None:
    assert as_json(encode_event(FrameReceived(ConnectionId(1), b'{"a":1}\n0x'))) == {
        "connection": 1,
        "data": '{"a":1}\n0x',
    }


def test_a_field_that_an_older_release_did_not_know_has_its_default() -> None:
    event = HttpRequestReceived(
        ConnectionId(1), "GET", "/", (), "10.0.0.1", upgrade=False, salt="5a" * 16, body=b"\xff"
    )
    older = as_json(encode_event(event))
    del older["tls_key"]
    assert decode_event(HttpRequestReceived, msgspec.json.encode(older)) == event
    with pytest.raises(msgspec.ValidationError, match="salt"):
        decode_event(HttpRequestReceived, msgspec.json.encode(older | {"salt": 1}))


@pytest.mark.parametrize("key", [{}, {"tls_key": "ab" * 32}])
def test_a_welcome_that_is_not_stamped_yet_comes_back_with_its_key_or_without(key: dict[str, str]) -> None:
    limits = Limits(frame_bytes=1, predictions_per_message=1, messages_per_second=1.0, burst=1.0)
    facts: dict[str, Any] = {
        "receiver_hotkey": PEER,
        "challenge": "1",
        "salt": "5a" * 16,
        "netuid": 30,
        "limits": limits,
    }
    facts |= {"ledger_id": "1" * 32, "heartbeat_interval": 1.0, "connection_timeout": 2.0, "recovered": False}
    event = WriteRequested(None, PEER, WelcomeMessage(**(facts | key)))
    assert again(event) == event
    assert ("tls_key" in as_json(encode_event(event))["message"]) == bool(key)
    assert ("tls_key" in event.message.to_dict()) == bool(key)


def test_every_byte_comes_back() -> None:
    event = TwoTexts(bytes(range(256)), 7, b"\xff")
    assert again(event) == event


@pytest.mark.parametrize(
    "event",
    [
        NeuronDraining(),
        PredictionMade(PEER, make_prediction(model_name="ü \u2028", tie_odds=3.0)),
        MessageAccepted(ConnectionId(1), PEER, stamp(HeartbeatMessage(session=SessionId("5" * 32), seq=1), PEER)),
        WriteRequested(None, PEER, HeartbeatMessage()),
        WriteRequested(None, PEER, PredictionMessage(predictions=(make_prediction(),))),
        MessageAccepted(ConnectionId(1), PEER, stamp(welcome(), PEER)),
        MessageAccepted(ConnectionId(1), PEER, stamp(welcome(tls_key="a" * 64), PEER)),
    ],
    ids=[
        "no fields",
        "a prediction",
        "a stamped message",
        "one without a place",
        "predictions without a place",
        "a welcome",
        "a welcome with a key",
    ],
)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert again(event) == event


def test_there_is_one_line_to_an_event() -> None:
    assert b"\n" not in encode_event(FrameReceived(ConnectionId(1), b"\n\r\n"))


def test_secrets_are_left_out_of_settings_and_what_is_no_json_is_made_some() -> None:
    event = SettingsReloaded({"scorer": {"token": "x", "path": Path("here"), "api": {"key": 1}}}, ("a",), ())
    plain = as_json(encode_event(event))
    assert plain["actors"] == {"scorer": {"token": HIDDEN, "path": "here", "api": {"key": 1}}}
    assert event.actors["scorer"]["token"] == "x"  # noqa: S105 - the event itself keeps it: actors need it
    assert plain_event(event).actors == plain["actors"]


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"{", b'{"connection":"one","size":1}'])
def test_what_is_no_such_event_is_refused(raw: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        decode_event(BinaryReceived, raw)


def test_an_event_with_bytes_lacks_in_older_logs_what_has_a_default() -> None:
    raw = b'{"connection":1,"method":"GET","target":"/ws","headers":[],"remote":"10.0.0.1","upgrade":true,"salt":"5"}'
    event = decode_event(HttpRequestReceived, raw)
    assert event == HttpRequestReceived(ConnectionId(1), "GET", "/ws", (), "10.0.0.1", True, "5")


@pytest.mark.parametrize(
    "raw", [b'{"connection":1}', b'{"connection":1,"data":7}', b'{"connection":1,"data":"\\u0100"}']
)
def test_bytes_that_are_none_are_refused(raw: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        decode_event(FrameReceived, raw)
