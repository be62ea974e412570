"""Messages to frame bytes and back (protocol, "Frame", "JSON").

Knows the grammar and the limits of a frame. Verifies no signature and knows no session: what is read here is well
formed, and no more than that.
"""

import re
from binascii import hexlify, unhexlify
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.errors import Malformed, Unreadable
from bettensor.bus.games import Prediction, TeamGame, TeamGamePrediction, Text, UnreadablePrediction
from bettensor.bus.identifiers import GameId, Hotkey, MessageId, PredictionId, SessionId
from bettensor.bus.messages import (
    KINDS,
    MAX_FRAME_BYTES,
    MAX_PREDICTIONS,
    Broadcast,
    Count,
    Hex32,
    PointToPoint,
    PredictionMessage,
    PredictionResult,
    WebSocketMessage,
)

SIGNED_PREFIX: Final = b"bettensor/1\n"
"""Put before the JSON bytes that are signed, so that a signature for this protocol is not valid in another."""

NO_SIGNATURE: Final = (
    "no signature: a frame is a JSON object without raw newlines, a newline, 0x and 128 lowercase hex digits"
)
"""The fault of bytes that have not the form of a frame."""
_CONTENT_BYTES: Final = MAX_FRAME_BYTES - 2048
"""Bytes of one frame for its games, predictions or results; the rest is ample for other fields and the signature."""
_RESULT_BYTES: Final = 256
"""Bytes of a result without its text: the names of fields, two ids and a code, at most."""
_CHARACTER_BYTES: Final = 6
"""The most that one character of a string becomes in JSON."""
_MAX_CONTAINERS: Final = 29
"""Lists and objects that are read in one field of an unreadable prediction; a field with more is kept as its text. No
field of ours has any, and with so many a message cannot be nested deeper than the 32 levels of the protocol.
"""
_SIGNATURE_BYTES: Final = 64
_SIGNATURE_DIGITS: Final = 2 * _SIGNATURE_BYTES
_SIGNATURE_TEXT: Final = len("\n0x") + _SIGNATURE_DIGITS
_PREDICTION_FIELDS: Final = tuple(f.name for f in fields(TeamGamePrediction))
_PREDICTION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

Message = TypeVar("Message", bound=WebSocketMessage)
Item = TypeVar("Item")


class Frame(NamedTuple):
    """One signed message."""

    payload: bytes
    """The JSON bytes, exactly as sent."""
    signature: bytes
    """64 bytes, over ``SIGNED_PREFIX + payload``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadMessage(PointToPoint):
    """Stands for a message with a valid head and invalid content; its sender is answered with ``code``."""

    message_type: str
    code: ErrorCode
    fault: str
    broadcast: bool = False


class _Head(msgspec.Struct, frozen=True):
    """The fields that must be readable before a message can be answered."""

    message_type: Text
    message_id: Hex32
    sender_hotkey: Text
    timestamp: Text
    session: Hex32 | None = None
    seq: Count = 0
    netuid: int | None = None


class _PredictionMessage(_Head, frozen=True, kw_only=True):
    """A message of predictions that can all be read, which is what a validator reads most."""

    message_type: Literal["prediction"]
    predictions: Annotated[tuple[TeamGamePrediction, ...], msgspec.Meta(min_length=1, max_length=MAX_PREDICTIONS)]
    in_reply_to: Hex32 | None = None


class _RawPredictions(msgspec.Struct, frozen=True):
    predictions: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(min_length=1, max_length=MAX_PREDICTIONS)]
    in_reply_to: Hex32 | None = None


_encoder: Final = msgspec.json.Encoder()
_head: Final = msgspec.json.Decoder(_Head)
_prediction_message: Final = msgspec.json.Decoder(_PredictionMessage)
_raw_predictions: Final = msgspec.json.Decoder(_RawPredictions)
_prediction: Final = msgspec.json.Decoder(TeamGamePrediction)
_written_fields: Final = msgspec.json.Decoder(
    msgspec.defstruct(
        "_WrittenFields", [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in _PREDICTION_FIELDS]
    )
)
"""The JSON text of each known field of a prediction, whatever its type."""
_anything: Final = msgspec.json.Decoder()


@cache
def _decoder(kind: type[WebSocketMessage]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def stamp(message: Message, *, message_id: MessageId, sender: Hotkey, timestamp: str) -> Message:
    """``message`` with the fields that are set when it is written."""
    return replace(message, message_id=message_id, sender_hotkey=sender, timestamp=timestamp)


def place(message: PointToPoint, session: SessionId, seq: int) -> PointToPoint:
    """``message`` in its place in a session."""
    return replace(message, session=session, seq=seq)


def encode(message: WebSocketMessage) -> bytes:
    """The JSON bytes of a stamped message, without raw newlines."""
    return _encoder.encode(message)


def encode_body(message: PointToPoint) -> bytes:
    """The JSON bytes of a message that travels as the body of a signed HTTP request: it has no place in a session."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    del fields["session"], fields["seq"]
    return _encoder.encode(fields)


def join(frame: Frame) -> bytes:
    """The bytes of a frame on the wire."""
    return b"%b\n0x%b" % (frame.payload, hexlify(frame.signature))


def split(data: bytes) -> Frame:
    """Take a frame apart.

    Raises:
        Unreadable: ``data`` is too long, or is not JSON, newline, signature.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise Unreadable(f"the frame has {len(data)} bytes; the limit is {MAX_FRAME_BYTES}", CloseCode.TOO_BIG)
    payload, _, written = data.partition(b"\n")
    digits = written[2:]
    try:
        signature = unhexlify(digits)
    except ValueError:
        signature = b""
    if len(signature) != _SIGNATURE_BYTES or hexlify(signature) != digits or written[:2] != b"0x":
        raise Unreadable(NO_SIGNATURE, CloseCode.BAD_SIGNATURE)
    return Frame(payload, signature)


def has_form(data: bytes) -> bool:
    """Whether ``data`` ends as a frame does: a newline and ``0x``, and as many characters as a signature has.

    That costs next to nothing; whether it is a frame is for ``split`` to say.
    """
    return data[-_SIGNATURE_TEXT:-_SIGNATURE_DIGITS] == b"\n0x"


def read(payload: bytes) -> WebSocketMessage:
    """The message that ``payload`` is; an ``UnreadMessage`` where only its head is in order.

    Raises:
        Unreadable: not strict JSON, or not the head of a message.
    """
    try:
        if not payload.isascii():
            payload.decode()  # the decoder does not check the parts that it skips
        try:
            readable = _prediction_message.decode(payload)
        except msgspec.ValidationError:
            return _read_by_head(payload)
        return _of_predictions(readable, readable.predictions, readable.in_reply_to)
    except msgspec.ValidationError as error:
        raise Unreadable(f"not a message: {error}") from None
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: byte {error.start}", CloseCode.INVALID_DATA) from None
    except msgspec.DecodeError as error:
        raise Unreadable(f"not JSON: {error}") from None
    except RecursionError:
        raise Unreadable("JSON nested too deeply") from None


def _read_by_head(payload: bytes) -> WebSocketMessage:
    """Any other message: its head must be valid, and determines the type of the rest."""
    head = _head.decode(payload)
    try:
        return _read_body(head, payload)
    except (Malformed, msgspec.ValidationError) as error:
        return UnreadMessage(
            message_type=head.message_type,
            message_id=MessageId(head.message_id),
            sender_hotkey=Hotkey(head.sender_hotkey),
            timestamp=head.timestamp,
            session=SessionId(head.session or ""),
            seq=head.seq,
            code=error.code if isinstance(error, Malformed) else ErrorCode.MALFORMED,
            fault=str(error),
            broadcast=head.session is None and head.netuid is not None,
        )


def _read_body(head: _Head, payload: bytes) -> WebSocketMessage:
    kind = KINDS.get(head.message_type)
    if kind is None:
        raise Malformed(f"message_type {head.message_type!r} is unknown", ErrorCode.UNKNOWN_TYPE)
    if kind is not PredictionMessage:
        message: WebSocketMessage = _decoder(kind).decode(payload)
        return message
    raw = _raw_predictions.decode(payload)
    return _of_predictions(head, tuple(map(_read_prediction, raw.predictions)), raw.in_reply_to)


def _of_predictions(head: _Head, predictions: tuple[Prediction, ...], in_reply_to: str | None) -> PredictionMessage:
    return PredictionMessage(
        message_id=MessageId(head.message_id),
        sender_hotkey=Hotkey(head.sender_hotkey),
        timestamp=head.timestamp,
        in_reply_to=in_reply_to,
        session=SessionId(head.session or ""),
        seq=head.seq,
        predictions=predictions,
    )


def _read_prediction(raw: msgspec.Raw) -> Prediction:
    try:
        return _prediction.decode(raw)
    except msgspec.ValidationError as error:
        return _unreadable(raw, str(error))


def _unreadable(raw: msgspec.Raw, fault: str) -> UnreadablePrediction:
    """The known fields of a prediction; other fields are skipped, which costs as little as in a readable one."""
    try:
        written = msgspec.structs.asdict(_written_fields.decode(raw))
    except msgspec.ValidationError:  # not an object
        written = {}
    content = {name: _content(value) for name, value in written.items() if value is not msgspec.UNSET}
    prediction_id = content.get("prediction_id")
    if not isinstance(prediction_id, str) or not _PREDICTION_ID.fullmatch(prediction_id):
        prediction_id = ""
    return UnreadablePrediction(prediction_id=PredictionId(prediction_id), fault=fault, content=content)


def _content(written: msgspec.Raw) -> Any:
    """The value of a field; its text, which is no field's type, if it has too many parts, or a number that has too many
    digits or is beyond binary64.
    """
    text = bytes(written)
    if text[:1] in (b"[", b"{") and text.count(b"[") + text.count(b"{") > _MAX_CONTAINERS:
        return text.decode()
    try:
        return _anything.decode(text)
    except msgspec.ValidationError:
        return text.decode()


def fault_of(prediction: TeamGamePrediction) -> str | None:
    """Why no validator could read ``prediction``, if so: a number that is not finite, an id that is ill-formed.

    What a model makes is checked by reading it as a validator would: it must come out as it went in, because JSON has
    null for a number that is not finite, and null is valid in an optional field.
    """
    try:
        read = _prediction.decode(_encoder.encode(prediction))
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        return str(error)
    for name in _PREDICTION_FIELDS:
        value = getattr(prediction, name)
        if getattr(read, name) != value:
            return f"JSON cannot hold {value!r} - at `$.{name}`"
    return None


def parts(games: Iterable[TeamGame]) -> Iterator[dict[GameId, TeamGame]]:
    """``games`` in portions that each fit in one frame; one empty portion if there are no games."""
    for portion in [*_portions(games, _game_bytes)] or [()]:
        yield {game.game_id: game for game in portion}


def predictions_by_frame(predictions: Iterable[TeamGamePrediction]) -> Iterator[tuple[TeamGamePrediction, ...]]:
    """``predictions``, in order, in portions that each fit in one message and one frame."""
    return _portions(predictions, lambda prediction: len(_encoder.encode(prediction)) + 1, MAX_PREDICTIONS)


def results_by_frame(results: Iterable[PredictionResult]) -> Iterator[tuple[PredictionResult, ...]]:
    """``results``, in order, in portions that each fit in one message and one frame."""
    return _portions(results, _result_bytes, MAX_PREDICTIONS)


def _game_bytes(game: TeamGame) -> int:
    return len(_encoder.encode(game)) + len(_encoder.encode(game.game_id)) + 2


def _result_bytes(result: PredictionResult) -> int:
    """An upper bound: there are many results, and encoding each of them twice would cost too much."""
    return _RESULT_BYTES + _CHARACTER_BYTES * len(result.message)


def _portions(
    items: Iterable[Item], size_of: Callable[[Item], int], most: int = MAX_FRAME_BYTES
) -> Iterator[tuple[Item, ...]]:
    portion: list[Item] = []
    room = _CONTENT_BYTES
    for item in items:
        size = size_of(item)
        if portion and (size > room or len(portion) == most):
            yield tuple(portion)
            portion, room = [], _CONTENT_BYTES
        portion.append(item)
        room -= size
    if portion:
        yield tuple(portion)


def is_broadcast(message: WebSocketMessage) -> bool:
    """Whether ``message`` has its place in the stream, and not in a session."""
    return isinstance(message, Broadcast) or (isinstance(message, UnreadMessage) and message.broadcast)
