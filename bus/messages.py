"""The messages between neurons: their kinds, fields and limits (protocol, "Messages").

Knows no bytes: frames are made and read in ``bus/codec.py``. A kind of one's own is a frozen dataclass that inherits
from ``PointToPoint``, names its ``message_type`` in a Literal field, and is given to ``register``::

    @register
    @dataclass(frozen=True, slots=True, kw_only=True)
    class InjuryReport(PointToPoint):
        message_type: Literal["injury_report"] = "injury_report"
        player: str

Messages are made without ``message_id``, ``sender_hotkey``, ``timestamp``, ``session`` and ``seq``: those are stamped
once, when the message is written.
"""

import hashlib
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from pydantic_core import core_schema

from bettensor.bus.games import MAX_INTEGER, MAX_TEXT, Prediction, TeamGame, Text
from bettensor.bus.identifiers import (
    Epoch,
    GameId,
    Hotkey,
    LedgerId,
    MessageId,
    Netuid,
    Offset,
    PredictionId,
    SessionId,
)
from bettensor.bus.records import LEFT_OUT_IF_UNSET, JsonRecord, quick

__all__ = [
    "HEX32",
    "HEX64",
    "KINDS",
    "MAX_FRAME_BYTES",
    "MAX_MESSAGE",
    "MAX_PARTS",
    "MAX_PREDICTIONS",
    "MAX_SLATE",
    "SUBPROTOCOL",
    "Broadcast",
    "ConfirmationMessage",
    "Count",
    "ErrorMessage",
    "GameUpdateMessage",
    "HeartbeatMessage",
    "Hex32",
    "Limits",
    "MinerStats",
    "PointToPoint",
    "PredictionMessage",
    "PredictionResult",
    "Seconds",
    "TlsKey",
    "WebSocketMessage",
    "WelcomeMessage",
    "register",
    "session_id",
]

SUBPROTOCOL: Final = "bettensor.v1"
MAX_FRAME_BYTES: Final = 64 * 1024
"""Bytes of one frame, JSON and signature together, in either direction; also of one HTTP request's body."""
MAX_PREDICTIONS: Final = 64
"""Predictions in one message, and results in one confirmation."""
MAX_PARTS: Final = 10_000
"""Parts of one game update."""
MAX_SLATE: Final = 20_000
"""Games of one validator's slate."""
MAX_MESSAGE: Final = 1024
"""Characters of a text for people."""

HEX32: Final = r"\A[0-9a-f]{32}\Z"
HEX64: Final = r"\A[0-9a-f]{64}\Z"
Hex32 = Annotated[str, msgspec.Meta(pattern=HEX32)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class _OrAbsent:
    """Tells pydantic, which reads recorded messages, of msgspec's value for a field that is absent."""

    def __get_pydantic_core_schema__(self, _kind: Any, _handler: Any) -> core_schema.CoreSchema:
        absent = core_schema.is_instance_schema(msgspec.UnsetType)
        return core_schema.union_schema([core_schema.str_schema(pattern="^[0-9a-f]{64}$"), absent])


TlsKey = Annotated[
    Annotated[str, msgspec.Meta(pattern=HEX64)] | msgspec.UnsetType,
    _OrAbsent(),
]
"""SHA-256 of a certificate's SubjectPublicKeyInfo in hex; a field of this type may be absent from the JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketMessage(JsonRecord):
    """The fields of every message, over either transport."""

    message_id: Annotated[MessageId, msgspec.Meta(pattern=HEX32)] = MessageId("")
    sender_hotkey: Annotated[Hotkey, msgspec.Meta(max_length=MAX_TEXT)] = Hotkey("")
    timestamp: Text = ""
    """RFC 3339, UTC, microseconds; informative."""
    in_reply_to: Hex32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointToPoint(WebSocketMessage):
    """A message of one session, with its place in it."""

    session: Annotated[SessionId, msgspec.Meta(pattern=HEX32)] = SessionId("")
    seq: Count = 0
    """1, 2, 3 ... in each direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast(WebSocketMessage):
    """A message to every miner, signed once; its place is in the stream, not in a session."""

    netuid: Annotated[Netuid, msgspec.Meta(ge=0, le=65535)]
    epoch: Annotated[Epoch, msgspec.Meta(pattern=HEX32)]
    offset: Annotated[Offset, msgspec.Meta(ge=0, le=MAX_INTEGER)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(JsonRecord):
    """The limits of one session."""

    frame_bytes: Count
    predictions_per_message: Count
    messages_per_second: Annotated[float, msgspec.Meta(gt=0)]
    burst: Annotated[float, msgspec.Meta(gt=0)]
    """Messages that may come at once after a silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WelcomeMessage(PointToPoint):
    """The validator's first frame; it proves to the miner which validator answers which request."""

    message_type: Literal["welcome"] = "welcome"
    receiver_hotkey: Annotated[Hotkey, msgspec.Meta(max_length=MAX_TEXT)]
    challenge: Text
    """The ``X-Bittensor-Nonce`` of the request, as a string."""
    salt: Hex32
    netuid: Annotated[Netuid, msgspec.Meta(ge=0, le=65535)]
    crypto: Literal["sr25519", "ed25519"] = "sr25519"
    """The scheme of the validator's signatures."""
    ledger_id: Annotated[LedgerId, msgspec.Meta(pattern=HEX32)]
    heartbeat_interval: Seconds
    connection_timeout: Seconds
    epoch: Annotated[Epoch, msgspec.Meta(pattern=HEX32)] | None = None
    """Null, as is ``offset``, before the validator has had a slate."""
    offset: Annotated[Offset, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None
    recovered: bool
    """True: only the updates after the position that the miner named will follow. False: a snapshot will."""
    limits: Limits
    tls_key: TlsKey = field(default=msgspec.UNSET, metadata=LEFT_OUT_IF_UNSET)
    """The key of the validator's TLS; absent if it has none. Over TLS it is the key of this very connection."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionMessage(PointToPoint):
    """1 to 64 predictions; each gets its own result."""

    message_type: Literal["prediction"] = "prediction"
    predictions: tuple[Prediction, ...]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionResult(JsonRecord):
    """The result of one attempt to submit one prediction."""

    prediction_id: Annotated[PredictionId, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    about: Hex32
    """The ``message_id`` of the attempt."""
    success: bool
    code: Text
    """A ``VerdictCode``; a newer validator may know more of them."""
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE)]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class MinerStats(JsonRecord):
    """One miner's UTC day, as its validator's ledger has it."""

    accepted_today: Count
    rejected_today: Count
    wagered_today: float
    daily_limit: float


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationMessage(PointToPoint):
    """Verdicts that are on disk, in the order in which the predictions were received."""

    message_type: Literal["confirmation"] = "confirmation"
    results: tuple[PredictionResult, ...]
    miner_stats: MinerStats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GameUpdateMessage(Broadcast):
    """A change of the slate, or all of it."""

    message_type: Literal["game_update"] = "game_update"
    updated_games: dict[GameId, TeamGame]
    previous: Annotated[Offset, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None
    """The offset that this update follows; null in a snapshot, which replaces the slate."""
    part: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)] = 1
    parts: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)] = 1


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatMessage(PointToPoint):
    """I am here, and this is how far I know the game stream."""

    message_type: Literal["heartbeat"] = "heartbeat"
    epoch: Annotated[Epoch, msgspec.Meta(pattern=HEX32)] | None = None
    offset: Annotated[Offset, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMessage(PointToPoint):
    """A message was not taken. Never a verdict."""

    message_type: Literal["error"] = "error"
    code: Text
    """An ``ErrorCode``; a newer peer may know more of them."""
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE)]


Kind = TypeVar("Kind", bound=type[WebSocketMessage])

KINDS: Final[dict[str, type[WebSocketMessage]]] = {}
"""``message_type`` -> its class: the registry."""


def register(kind: Kind) -> Kind:
    """Make ``kind`` known to this neuron; usable as a decorator.

    Raises:
        ValueError: ``kind`` is not a kind of message, or its ``message_type`` is taken.
    """
    message_type = _message_type(kind)
    if KINDS.setdefault(message_type, kind) is not kind:
        raise ValueError(f"message_type {message_type!r} is taken by {KINDS[message_type].__name__}; choose another")
    return kind


def _message_type(kind: type[WebSocketMessage]) -> str:
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}
    message_type = defaults.get("message_type")
    if not issubclass(kind, PointToPoint | Broadcast) or not isinstance(message_type, str):
        raise ValueError(
            f"{kind.__name__} is not a kind of message: inherit from PointToPoint and give it "
            'a field like `message_type: Literal["my_kind"] = "my_kind"`'
        )
    return message_type


for _kind in (
    WelcomeMessage,
    PredictionMessage,
    ConfirmationMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    ErrorMessage,
):
    register(_kind)


def session_id(netuid: Netuid, validator: Hotkey, miner: Hotkey, challenge: str, salt: str) -> SessionId:
    """The session that belongs to one handshake between these two (protocol, "Session")."""
    text = "\n".join(("bettensor/1 session", str(netuid), validator, miner, challenge, salt))
    return SessionId(hashlib.sha256(text.encode()).hexdigest()[:32])
