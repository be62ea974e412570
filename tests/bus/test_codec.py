"""Frames: what is joined is split again, what is no frame is refused with its close code, and all fits in a frame."""

from dataclasses import replace
from typing import Any

import pytest

from bettensor.bus import codec
from bettensor.bus.codec import Frame, UnreadMessage
from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.errors import Unreadable
from bettensor.bus.games import UnreadablePrediction
from bettensor.bus.identifiers import Epoch, GameId, MessageId, Offset, PredictionId, SessionId
from bettensor.bus.messages import (
    MAX_FRAME_BYTES,
    MAX_PREDICTIONS,
    ConfirmationMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    PredictionMessage,
    PredictionResult,
)
from tests.support import NETUID, as_json, frame_size, make_game, make_hex32, make_hotkey, make_prediction, stamp

PEER = make_hotkey()
SESSION = SessionId("5" * 32)
FRAME = Frame(b'{"a":1}', bytes(range(64)))
DIGITS = FRAME.signature.hex().encode()


def heartbeat(**fields: Any) -> bytes:
    """A heartbeat's JSON bytes, with these fields instead."""
    plain = as_json(codec.encode(stamp(HeartbeatMessage(session=SESSION, seq=3), PEER)))
    return codec._encoder.encode(plain | fields)  # noqa: SLF001 - JSON as the wire has it


# --- the frame


def test_what_is_joined_is_split_again() -> None:
    assert codec.join(FRAME) == b'{"a":1}\n0x' + DIGITS
    assert codec.split(codec.join(FRAME)) == FRAME


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"a":1}',
        b'{"a":1}\n',
        b'{"a":1}\n' + DIGITS,
        b'{"a":1}\n0X' + DIGITS,
        b'{"a":1}\n0x' + DIGITS.upper(),
        b'{"a":1}\n0x' + DIGITS[:-2],
        b'{"a":1}\n0x' + DIGITS + b"00",
        b'{"a":1}\n0x' + DIGITS + b"\n",
        b'{"a":1}\n\n0x' + DIGITS,
        b'{"a":1}\n0x' + DIGITS[:-1] + b"g",
        b'{"a":1} 0x' + DIGITS,
    ],
)
def test_what_is_not_json_newline_signature_has_no_signature(data: bytes) -> None:
    with pytest.raises(Unreadable, match="no signature") as caught:
        codec.split(data)
    assert caught.value.close is CloseCode.BAD_SIGNATURE


def test_whether_bytes_end_as_a_frame_does_is_seen_without_reading_them() -> None:
    assert codec.has_form(codec.join(FRAME))
    assert codec.has_form(b"\n0x" + b"g" * 128)  # it is for split to refuse this one
    assert not any(map(codec.has_form, (b"", b'{"a":1}', b"x" * 60_000, codec.join(FRAME) + b"\n")))


def test_a_frame_has_65536_bytes_at_most() -> None:
    largest = codec.join(Frame(b"x" * (MAX_FRAME_BYTES - len(codec.join(Frame(b"", bytes(64))))), bytes(64)))
    assert len(largest) == MAX_FRAME_BYTES == 65_536
    codec.split(largest)
    with pytest.raises(Unreadable, match="the frame has 65537 bytes; the limit is 65536") as caught:
        codec.split(b"x" + largest)
    assert caught.value.close is CloseCode.TOO_BIG


# --- writing


def test_a_message_is_stamped_and_placed_without_another_change() -> None:
    stamped = codec.stamp(HeartbeatMessage(), message_id=MessageId("a" * 32), sender=PEER, timestamp="now")
    placed = codec.place(stamped, SESSION, 7)
    assert placed == HeartbeatMessage(
        message_id=MessageId("a" * 32), sender_hotkey=PEER, timestamp="now", session=SESSION, seq=7
    )


def test_the_body_of_a_request_has_no_place_in_a_session() -> None:
    message = codec.stamp(
        PredictionMessage(predictions=(make_prediction(),)),
        message_id=MessageId(make_hex32()),
        sender=PEER,
        timestamp="x",
    )
    written = as_json(codec.encode(message))
    body = as_json(codec.encode_body(message))
    assert {"session", "seq"} <= set(written)
    assert body == {key: value for key, value in written.items() if key not in ("session", "seq")}


def test_json_has_no_raw_newline_whatever_people_write() -> None:
    message = stamp(PredictionMessage(session=SESSION, predictions=(make_prediction(model_name="a\nb\u2028"),)), PEER)
    assert b"\n" not in codec.encode(message)


# --- reading


@pytest.mark.parametrize(
    ("payload", "fault", "close"),
    [
        (b"", "not JSON", CloseCode.PROTOCOL_VIOLATION),
        (b"{", "not JSON", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat() + b"x", "not JSON", CloseCode.PROTOCOL_VIOLATION),
        (b"[]", "not a message", CloseCode.PROTOCOL_VIOLATION),
        (b"{}", "not a message: .*message_type", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat(message_id="A" * 32), "not a message: .*message_id", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat(session="5" * 31), "not a message: .*session", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat(seq=-1), "not a message: .*seq", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat(seq=2**53), "not a message: .*seq", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat(sender_hotkey="5" * 257), "not a message: .*sender_hotkey", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat(timestamp=None), "not a message: .*timestamp", CloseCode.PROTOCOL_VIOLATION),
        (heartbeat().replace(b"5miner", b"\xff\xfe"), "not UTF-8", CloseCode.INVALID_DATA),
        (heartbeat()[:-1] + b',"more":"\xff"}', "not UTF-8: byte ", CloseCode.INVALID_DATA),
        (heartbeat()[:-1] + b',"more":' + b"[" * 60_000, "nested too deeply", CloseCode.PROTOCOL_VIOLATION),
    ],
)
def test_what_has_no_readable_head_ends_the_session(payload: bytes, fault: str, close: CloseCode) -> None:
    with pytest.raises(Unreadable, match=fault) as caught:
        codec.read(payload)
    assert caught.value.close is close


@pytest.mark.parametrize(
    ("fields", "code", "fault"),
    [
        ({"epoch": "E"}, ErrorCode.MALFORMED, "epoch"),
        ({"offset": "1"}, ErrorCode.MALFORMED, "offset"),
        ({"message_type": "prediction"}, ErrorCode.MALFORMED, "predictions"),
        ({"message_type": "prediction", "predictions": []}, ErrorCode.MALFORMED, "length"),
        ({"message_type": "prediction", "predictions": [{}] * 65}, ErrorCode.MALFORMED, "length"),
        ({"message_type": "letter"}, ErrorCode.UNKNOWN_TYPE, "message_type 'letter' is unknown"),
    ],
)
def test_what_has_a_head_and_no_readable_body_can_be_answered(
    fields: dict[str, Any], code: ErrorCode, fault: str
) -> None:
    message = codec.read(heartbeat(**fields))
    assert isinstance(message, UnreadMessage)
    assert message.code is code
    assert fault in message.fault
    assert (message.session, message.seq, message.sender_hotkey) == (SESSION, 3, PEER)


def test_an_unread_message_is_a_broadcast_where_it_has_a_subnet_and_no_session() -> None:
    plain = as_json(heartbeat(message_type="letter"))
    del plain["session"]
    in_session = codec.read(heartbeat(message_type="letter", netuid=30))
    to_all = codec.read(codec._encoder.encode(plain | {"netuid": 30}))  # noqa: SLF001
    to_nobody = codec.read(codec._encoder.encode(plain))  # noqa: SLF001
    assert [codec.is_broadcast(message) for message in (in_session, to_all, to_nobody)] == [False, True, False]


def test_a_game_update_is_a_broadcast_and_a_heartbeat_is_none() -> None:
    update = GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(1), updated_games={})
    assert codec.is_broadcast(update)
    assert not codec.is_broadcast(HeartbeatMessage())


@pytest.mark.parametrize(
    ("spoilt", "prediction_id"),
    [
        ({"wager": "ten"}, "mine"),
        ({"prediction_id": "not mine"}, ""),
        ({"prediction_id": 7}, ""),
        ({"prediction_id": "x" * 65}, ""),
        ({"prediction_id": "mine\n"}, ""),
    ],
)
def test_a_prediction_that_cannot_be_read_keeps_its_id_if_it_is_one(spoilt: dict[str, Any], prediction_id: str) -> None:
    plain = as_json(make_prediction(prediction_id=PredictionId("mine")).to_json()) | spoilt
    message = codec.read(heartbeat(message_type="prediction", predictions=[plain]))
    assert isinstance(message, PredictionMessage)
    (prediction,) = message.predictions
    assert isinstance(prediction, UnreadablePrediction)
    assert (prediction.prediction_id, prediction.content) == (prediction_id, plain)
    assert prediction.fault


@pytest.mark.parametrize(
    "written",
    [
        b"[" + b",".join([b"[]"] * 20_000) + b"]",
        b"[" + b",".join([b"{}"] * 20_000) + b"]",
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b"[1e999]",
    ],
    ids=["lists", "objects", "nested objects", "a list with a number beyond binary64"],
)
def test_a_value_that_no_field_could_have_is_not_read_but_kept_as_its_text(written: bytes) -> None:
    spoilt = b'[{"prediction_id":"mine","wager":%b}]' % written
    payload = heartbeat(message_type="prediction", predictions=1).replace(
        b'"predictions":1', b'"predictions":' + spoilt
    )
    message = codec.read(payload)
    assert isinstance(message, PredictionMessage)
    (prediction,) = message.predictions
    assert isinstance(prediction, UnreadablePrediction)
    assert (prediction.prediction_id, prediction.content["wager"]) == ("mine", written.decode())


@pytest.mark.parametrize("unknown", [b"9" * 5000, b"1e999", b"[" * 400 + b"]" * 400])
def test_a_field_that_is_unknown_may_have_any_value_beside_one_that_cannot_be_read(unknown: bytes) -> None:
    spoilt = b'[{"prediction_id":"mine","more":%b,"wager":"ten"}]' % unknown
    payload = heartbeat(message_type="prediction", predictions=1).replace(
        b'"predictions":1', b'"predictions":' + spoilt
    )
    message = codec.read(payload)
    assert isinstance(message, PredictionMessage)
    (prediction,) = message.predictions
    assert isinstance(prediction, UnreadablePrediction)
    assert prediction.content == {"prediction_id": "mine", "wager": "ten"}


@pytest.mark.parametrize("instead", [7, [], "text", None])
def test_a_prediction_that_is_no_object_has_no_content(instead: Any) -> None:
    message = codec.read(heartbeat(message_type="prediction", predictions=[instead]))
    assert isinstance(message, PredictionMessage)
    assert [(item.prediction_id, getattr(item, "content", None)) for item in message.predictions] == [("", {})]


def test_what_no_validator_could_read_is_told_before_it_is_sent() -> None:
    assert codec.fault_of(make_prediction()) is None
    assert "prediction_id" in str(codec.fault_of(make_prediction(prediction_id=PredictionId("a b"))))
    assert "wager" in str(codec.fault_of(make_prediction(wager=float("nan"))))
    for number in (float("nan"), float("inf")):  # null is valid here, and is what JSON would have instead
        assert "confidence_score" in str(codec.fault_of(make_prediction(confidence_score=number)))
    assert "surrogates" in str(codec.fault_of(make_prediction(model_name="\ud800")))


# --- what fits in one frame


def test_predictions_go_64_to_a_frame_in_their_order() -> None:
    predictions = [make_prediction() for _ in range(2 * MAX_PREDICTIONS + 1)]
    portions = list(codec.predictions_by_frame(predictions))
    assert [len(portion) for portion in portions] == [64, 64, 1]
    assert [prediction for portion in portions for prediction in portion] == predictions


def test_long_predictions_go_in_as_few_frames_as_hold_them() -> None:
    # each character becomes six bytes of JSON, the most there is
    long = "\x01" * 256
    predictions = [make_prediction(model_name=long, team_a=long, team_b=long) for _ in range(MAX_PREDICTIONS)]
    portions = list(codec.predictions_by_frame(predictions))
    sizes = [frame_size(PredictionMessage(predictions=portion)) for portion in portions]
    assert len(portions) > 1
    assert max(sizes) <= MAX_FRAME_BYTES
    assert min(sizes[:-1]) > MAX_FRAME_BYTES * 0.8
    assert [prediction for portion in portions for prediction in portion] == predictions


def test_results_of_any_text_fit_in_their_frames() -> None:
    result = PredictionResult(
        prediction_id=PredictionId("x" * 64), about=make_hex32(), success=False, code="y" * 30, message="\x01" * 1024
    )
    results = [replace(result, message=result.message[:length]) for length in (0, 1024) * 100]
    portions = list(codec.results_by_frame(results))
    assert max(frame_size(ConfirmationMessage(results=portion)) for portion in portions) <= MAX_FRAME_BYTES
    assert [result for portion in portions for result in portion] == results


def test_nothing_to_send_is_no_frame_but_an_empty_slate_is_one() -> None:
    assert list(codec.predictions_by_frame([])) == []
    assert list(codec.results_by_frame([])) == []
    assert list(codec.parts([])) == [{}]


def test_a_slate_goes_in_parts_of_whole_games() -> None:
    games = [make_game(f"game-{number}", team_a="\x01" * 256) for number in range(100)]
    parts = list(codec.parts(games))
    assert len(parts) > 1
    assert [game for part in parts for game in part.values()] == games
    assert all(key == game.game_id for part in parts for key, game in part.items())
    update = GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(1), updated_games={})
    for part in parts:
        payload = codec.encode(stamp(replace(update, updated_games=part), PEER))
        assert len(codec.join(Frame(payload, bytes(64)))) <= MAX_FRAME_BYTES


def test_a_game_as_large_as_its_limits_allow_fits_in_a_frame_of_its_own() -> None:
    long = "\x01" * 256
    game = make_game(long, team_a=long, team_b=long, sport=long, league=long, create_date=long, last_update_date=long)
    (part,) = codec.parts([game])
    assert part == {GameId(long): game}
