"""Synapse over HTTP: the forms that neurons of bittensor 7.2 to 10 speak (docs/synapse.md).

Turns games, predictions and confirmations into the forms of the subnet's ``GameData``, and back. A body of this wire is
signed by nobody, and may be anything: what cannot be read is left out alone. Reads no socket and judges nothing.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec

from bettensor.bus.errors import Unreadable
from bettensor.bus.games import MAX_TEXT, TIE, Prediction, TeamGame, TeamGamePrediction, UnreadablePrediction
from bettensor.bus.identifiers import Epoch, GameId, Hotkey, Micros, PredictionId, Uid
from bettensor.bus.timestamps import parse_rfc3339, rfc3339

NAME: Final = "GameData"
"""The name of the subnet's only synapse."""
PATH: Final = f"/{NAME}"
VERSION: Final = 10_005_000
"""The release of bittensor that our requests name: 10.5.0."""
SUBNET_VERSION: Final = "2041"
"""The release of the subnet that ``metadata`` names: 2.4.1."""
BODY_HASH: Final = hashlib.sha3_256(b"").hexdigest()
"""``computed_body_hash`` of each ``GameData``: none of its fields is hashed, so the signature covers no body."""
SYNAPSE_EPOCH: Final = Epoch("0" * 32)
"""The epoch of a slate that came over Synapse, which has no stream: it is no position that a validator knows."""
MAX_NESTING: Final = 32
"""Levels of a body's JSON; an honest one has five."""
MAX_ENTRIES: Final = 25_000
"""Games or verdicts of one body; a body of 8 MiB has no more games, but could have a million entries that are none."""
MAX_PARTS: Final = 100_000
"""Objects and lists of a body. Each may cost as much time and memory as dozens of bytes of text."""
MAX_ANSWERED: Final = 100
"""Predictions of one answer, as existing miners send them."""
MAX_NAME: Final = 64
"""Characters of a header's hotkey or uuid."""
UNFINISHED: Final = "Unfinished"
"""The outcome of a prediction whose game is not settled."""
NO_PREDICTIONS: Final = "No predictions available"
"""The error of an answer without predictions, as existing miners word it."""
REJECTED: Final = "rejected"
"""The code of a rejection: an existing validator gives a text alone."""
ALREADY_THERE: Final = "already exists in database"
"""A part of an existing validator's message on a prediction that it accepted before."""

STATS: Final = (
    "miner_rank",
    "miner_current_incentive",
    "miner_current_tier",
    "miner_current_scoring_window",
    "miner_current_composite_score",
    "miner_current_entropy_score",
    "miner_current_sharpe_ratio",
    "miner_current_sortino_ratio",
    "miner_current_roi",
    "miner_current_clv_avg",
    "miner_last_prediction_date",
    "miner_lifetime_earnings",
    "miner_lifetime_wager_amount",
    "miner_lifetime_roi",
    "miner_lifetime_predictions",
    "miner_win_loss_ratio",
)
"""The keys of ``miner_stats`` without which an existing miner takes no confirmation."""

Kind = Literal["game_data", "prediction", "confirmation", "error"]
Json = dict[str, Any]

_NUMBERS: Final = ("predicted_odds", "wager", "team_a_odds", "team_b_odds", "tie_odds", "confidence_score", "payout")
_PREDICTION_FIELDS: Final = tuple(TeamGamePrediction.__dataclass_fields__)
_PREDICTION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UID: Final = re.compile(r"-?[0-9]{1,15}")
_DIGITS: Final = {"0": 0, "1": 1, "2": 2}
_decoder: Final = msgspec.json.Decoder()
_encoder: Final = msgspec.json.Encoder()


class Terminal(NamedTuple):
    """The parts of a ``dendrite`` or ``axon`` object that a request sets."""

    hotkey: Hotkey
    ip: str | None = None
    port: int | None = None
    version: int | None = None
    nonce: int | None = None
    """Nanoseconds since the Unix epoch."""
    uuid: str | None = None
    signature: str | None = None
    """``0x`` and hex digits."""
    status_code: int | None = None
    status_message: str | None = None


class Metadata(NamedTuple):
    """What ``metadata`` tells of a message: five strings."""

    synapse_id: str
    neuron_uid: Uid | None
    """The sender's; decides nothing."""
    at: Micros
    kind: Kind


@dataclass(frozen=True, slots=True)
class Result:
    """One entry of a confirmation."""

    prediction_id: PredictionId
    success: bool
    message: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry that cannot be read; the others are in force."""

    key: str
    reason: str


class Query(NamedTuple):
    """A validator's question: its slate."""

    games: tuple[TeamGame, ...]
    left_out: tuple[LeftOut, ...]


class Confirmation(NamedTuple):
    """A validator's verdicts, and its figures about the miner."""

    results: tuple[Result, ...]
    stats: dict[str, str]


class Answer(NamedTuple):
    """A miner's predictions."""

    predictions: tuple[Prediction, ...]
    left_out: tuple[LeftOut, ...]


def signed_text(nonce: str, sender: str, receiver: str, uuid: str, body_hash: str = BODY_HASH) -> bytes:
    """What a request's signature covers."""
    return f"{nonce}.{sender}.{receiver}.{uuid}.{body_hash}".encode()


# --- what we send


def head(timeout: float, sender: Terminal, receiver: Terminal) -> list[tuple[str, str]]:
    """The headers by which a request says whose it is and for whom, in a Dendrite's order.

    Args:
        timeout: seconds that the sender waits.
        sender: the validator; all its parts but the status are set.
        receiver: the miner, with its address.
    """
    return [
        ("name", NAME),
        ("timeout", repr(float(timeout))),
        ("bt_header_axon_ip", str(receiver.ip)),
        ("bt_header_axon_port", str(receiver.port)),
        ("bt_header_axon_hotkey", receiver.hotkey),
        ("bt_header_dendrite_ip", str(sender.ip)),
        ("bt_header_dendrite_version", str(sender.version)),
        ("bt_header_dendrite_nonce", str(sender.nonce)),
        ("bt_header_dendrite_uuid", str(sender.uuid)),
        ("bt_header_dendrite_hotkey", sender.hotkey),
        ("bt_header_dendrite_signature", str(sender.signature)),
        ("header_size", "0"),
        ("total_size", "0"),
        ("computed_body_hash", BODY_HASH),
    ]


def body(
    timeout: float,
    dendrite: Terminal,
    axon: Terminal,
    metadata: Metadata,
    *,
    games: Mapping[GameId, msgspec.Raw] | None = None,
    predictions: Mapping[PredictionId, Json] | None = None,
    confirmation: Json | None = None,
    error: str | None = None,
) -> bytes:
    """A ``GameData``, whole: an existing neuron reads the hotkeys in its ``dendrite`` and ``axon``.

    Args:
        timeout: seconds that the asking side waits.
        dendrite: the validator.
        axon: the miner.
        metadata: of this message.
        games: by id, as ``game_form`` makes them, already encoded: a slate goes to many miners.
        predictions: by id, as ``prediction_form`` makes them.
        confirmation: as ``confirmation_form`` makes it.
        error: why there is no answer of the expected kind.
    """
    return _encoder.encode(
        {
            "name": NAME,
            "timeout": float(timeout),
            "total_size": 0,
            "header_size": 0,
            "dendrite": _terminal(dendrite),
            "axon": _terminal(axon),
            "computed_body_hash": "",
            "metadata": {
                "synapse_id": metadata.synapse_id,
                "neuron_uid": "" if metadata.neuron_uid is None else str(metadata.neuron_uid),
                "timestamp": _with_offset(rfc3339(metadata.at)),
                "subnet_version": SUBNET_VERSION,
                "synapse_type": metadata.kind,
            },
            "gamedata_dict": games,
            "prediction_dict": predictions,
            "confirmation_dict": confirmation,
            "error": error,
            "synapse_type": metadata.kind,
        }
    )


def answer(
    timeout: float,
    dendrite: Terminal,
    axon: Terminal,
    predictions: Sequence[TeamGamePrediction] | None,
    *,
    synapse_id: str,
    uid: Uid | None,
    at: Micros,
) -> bytes:
    """What a miner answers, whole.

    Args:
        timeout: seconds that the asking side waits.
        dendrite: the validator.
        axon: the miner.
        predictions: without a verdict; None in the answer to a confirmation.
        synapse_id: of ``metadata``.
        uid: of the miner.
        at: the time of the answer.
    """
    kind: Kind = "confirmation" if predictions is None else "prediction" if predictions else "error"
    return body(
        timeout,
        dendrite,
        axon,
        Metadata(synapse_id, uid, at, kind),
        predictions={p.prediction_id: prediction_form(p, uid) for p in predictions or ()} or None,
        error=NO_PREDICTIONS if kind == "error" else None,
    )


def refusal(message: str) -> bytes:
    """A refusal as a Dendrite reads it."""
    return _encoder.encode({"message": message})


def _terminal(terminal: Terminal) -> Json:
    return {
        "status_code": terminal.status_code,
        "status_message": terminal.status_message,
        "process_time": None,
        "ip": terminal.ip,
        "port": terminal.port,
        "version": terminal.version,
        "nonce": terminal.nonce,
        "uuid": terminal.uuid,
        "hotkey": terminal.hotkey,
        "signature": terminal.signature,
    }


def game_form(game: TeamGame) -> msgspec.Raw:
    """An open game as a validator sends it, encoded. Its ``tie_odds`` is a number, and its outcome 3: unfinished."""
    form = {
        "game_id": game.game_id,
        "team_a": game.team_a,
        "team_b": game.team_b,
        "sport": game.sport,
        "league": game.league,
        "create_date": _with_offset(game.create_date),
        "last_update_date": _with_offset(game.last_update_date),
        "event_start_date": _with_offset(game.event_start_date),
        "active": game.active,
        "outcome": "3",
        "team_a_odds": game.team_a_odds,
        "team_b_odds": game.team_b_odds,
        "tie_odds": 0.0 if game.tie_odds is None else game.tie_odds,
        "can_tie": game.can_tie,
    }
    return msgspec.Raw(_encoder.encode(form))


def prediction_form(prediction: TeamGamePrediction, uid: Uid | None) -> Json:
    """A prediction as a miner sends it: an existing validator reads no null and no number in place of a text.

    Args:
        prediction: without a verdict.
        uid: of the miner.
    """
    return {
        "prediction_id": prediction.prediction_id,
        "game_id": prediction.game_id,
        "miner_uid": "" if uid is None else str(uid),
        "prediction_date": _with_offset(prediction.prediction_date),
        "predicted_outcome": outcome_name(prediction),
        "predicted_odds": prediction.predicted_odds,
        "team_a": prediction.team_a,
        "team_b": prediction.team_b,
        "wager": prediction.wager,
        "team_a_odds": prediction.team_a_odds,
        "team_b_odds": prediction.team_b_odds,
        "tie_odds": 0.0 if prediction.tie_odds is None else prediction.tie_odds,
        "model_name": prediction.model_name,
        "confidence_score": prediction.confidence_score,
        "outcome": UNFINISHED,
        "payout": 0.0,
    }


def outcome_name(prediction: TeamGamePrediction) -> str:
    """The predicted outcome by name, as existing neurons write it."""
    outcome = prediction.predicted_outcome
    if isinstance(outcome, str):
        return outcome
    return {0: prediction.team_a, 1: prediction.team_b}.get(outcome, TIE)


def confirmation_form(results: Iterable[Result], stats: Mapping[str, str]) -> Json:
    """The verdicts of one answer, with the figures about its miner."""
    form: Json = {
        result.prediction_id: {"success": str(result.success), "message": result.message} for result in results
    }
    return form | {"miner_stats": dict(stats)}


def stats_form(last_accepted: Micros | None) -> dict[str, str]:
    """The 16 figures. Scores belong to the scoring, and are 0 here; an existing miner needs their keys.

    Args:
        last_accepted: when the miner's last accepted prediction was received; None if that is not known.
    """
    date = "0" if last_accepted is None else _with_offset(rfc3339(last_accepted))
    return dict.fromkeys(STATS, "0") | {"miner_last_prediction_date": date}


def _with_offset(date: str) -> str:
    """RFC 3339 with ``+00:00`` for ``Z``, which Python reads only since 3.11."""
    return f"{date[:-1]}+00:00" if date[-1:] in ("Z", "z") else date


# --- what others send


def read_query(data: bytes) -> Query | Confirmation:
    """The body of a validator's request.

    Raises:
        Unreadable: it is not a ``GameData`` that a validator sends; the message says why.
    """
    content = _read(data)
    kind = _kind(content)
    if kind == "game_data":
        return _read_slate(_entries(content, "gamedata_dict"))
    if kind == "confirmation":
        return _read_confirmation(_entries(content, "confirmation_dict"))
    raise Unreadable(f"metadata.synapse_type must be game_data or confirmation, and is {kind!r}"[:MAX_TEXT])


def read_answer(data: bytes, most: int) -> Answer:
    """The body of a miner's answer.

    Args:
        data: the bytes.
        most: the largest number of predictions.

    Raises:
        Unreadable: it is not a ``GameData`` that a miner answers with; the message says why.
    """
    content = _read(data)
    kind = _kind(content)
    if kind == "error":  # an existing miner without predictions
        return Answer((), ())
    if kind != "prediction":
        raise Unreadable(f"metadata.synapse_type must be prediction, and is {kind!r}"[:MAX_TEXT])
    entries = content.get("prediction_dict")
    if entries is None:
        return Answer((), ())
    if not isinstance(entries, dict):
        raise Unreadable("prediction_dict must be an object")
    if len(entries) > most:
        raise Unreadable(f"prediction_dict has {len(entries)} predictions; at most {most} are read")
    predictions: list[Prediction] = []
    left_out: list[LeftOut] = []
    for key, entry in entries.items():
        try:
            predictions.append(read_prediction(key, entry))
        except ValueError as error:
            left_out.append(LeftOut(key[:MAX_TEXT], str(error)))
    return Answer(tuple(predictions), tuple(left_out))


def read_prediction(key: str, entry: Any) -> Prediction:
    """One prediction of an answer. Nothing but the entry decides how it is read, so that its repetition is the same.

    Raises:
        ValueError: it has no readable id.
    """
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    if entry.get("prediction_id") != key or not _PREDICTION_ID.fullmatch(key):
        raise ValueError("its prediction_id must be its key, 1 to 64 of A-Z a-z 0-9 _ -")
    known = {name: entry.get(name) for name in _PREDICTION_FIELDS}
    fields = known | {name: _as_number(known[name]) for name in _NUMBERS}
    uid = known["miner_uid"]
    fields["miner_uid"] = int(uid) if isinstance(uid, str) and _UID.fullmatch(uid) else None
    fields["prediction_date"] = _one_date(known["prediction_date"])
    fields["predicted_outcome"] = _outcome(known)
    fields["tie_odds"] = fields["tie_odds"] or None  # 0 says that the game cannot tie; no odds are 0
    try:
        return msgspec.convert(fields, TeamGamePrediction)
    except (msgspec.ValidationError, RecursionError) as error:
        plain = {name: value if _is_plain(value) else None for name, value in fields.items()}
        return UnreadablePrediction(prediction_id=PredictionId(key), fault=str(error), content=plain)


def read_game(key: str, entry: Any) -> TeamGame:
    """One game of a validator's slate, as our protocol has it.

    Raises:
        ValueError: it cannot be read; the message says why.
    """
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    if entry.get("game_id") != key:
        raise ValueError("its game_id must be its key")
    known = {name: entry.get(name) for name in TeamGame.__dataclass_fields__}
    fields = known | {
        name: _date(known[name], name) for name in ("create_date", "last_update_date", "event_start_date")
    }
    fields |= {name: _as_number(known[name]) for name in ("team_a_odds", "team_b_odds", "tie_odds")}
    fields["outcome"] = None
    if not known["can_tie"]:
        fields["tie_odds"] = fields["tie_odds"] or None
    try:
        return msgspec.convert(fields, TeamGame)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def read_instant(text: str) -> Micros:
    """The instant of a date as existing neurons write it: with a space or a T; without an offset it is UTC.

    Raises:
        ValueError: it is no date.
    """
    instant = datetime.fromisoformat(text)
    return parse_rfc3339((instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant).isoformat())


def is_success(result: Result) -> bool:
    """Whether a validator has accepted the prediction, now or before: then an existing validator says ``False``."""
    return result.success or ALREADY_THERE in result.message


def _read(data: bytes) -> Json:
    if data.count(b"{") + data.count(b"[") > MAX_PARTS:
        raise Unreadable(f"more than {MAX_PARTS} objects and lists")
    try:
        content = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Unreadable("the body must be a JSON object")
    if _is_deeper(content):
        raise Unreadable(f"JSON nested deeper than {MAX_NESTING} levels")
    return content


def _is_deeper(content: Any) -> bool:
    """Whether ``content`` has more levels than it may; without recursion, because a stranger chose them."""
    level = [content]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _kind(content: Json) -> Any:
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        raise Unreadable("metadata must be an object")
    return metadata.get("synapse_type")


def _entries(content: Json, name: str) -> Json:
    value = content.get(name)
    if not isinstance(value, dict):
        raise Unreadable(f"{name} must be an object")
    if len(value) > MAX_ENTRIES:
        raise Unreadable(f"{name} has {len(value)} entries; at most {MAX_ENTRIES} are read")
    return value


def _read_slate(entries: Json) -> Query:
    games: list[TeamGame] = []
    left_out: list[LeftOut] = []
    for key, entry in entries.items():
        try:
            games.append(read_game(key, entry))
        except ValueError as error:
            left_out.append(LeftOut(key[:MAX_TEXT], str(error)))
    return Query(tuple(games), tuple(left_out))


def _read_confirmation(entries: Json) -> Confirmation:
    results = []
    for key, entry in entries.items():
        if key == "miner_stats" or not isinstance(entry, dict) or not _PREDICTION_ID.fullmatch(key):
            continue
        success, message = entry.get("success"), entry.get("message")
        if success in ("True", "False"):
            text = message[:MAX_TEXT] if isinstance(message, str) else ""
            results.append(Result(PredictionId(key), success == "True", text))
    stats = entries.get("miner_stats")
    named = stats.items() if isinstance(stats, dict) else ()
    texts = {key: value for key, value in named if isinstance(value, str) and len(value) <= MAX_TEXT}
    return Confirmation(tuple(results), {key: texts[key] for key in STATS if key in texts})


def _as_number(value: Any) -> Any:
    """A number in digits is one, as it is for pydantic; all else is for the field's type to refuse."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value


def _outcome(entry: Json) -> Any:
    """A team's name stays; else a digit is a number, and a tie in any case is ``Tie``."""
    outcome = entry["predicted_outcome"]
    if not isinstance(outcome, str) or outcome in (entry["team_a"], entry["team_b"]):
        return outcome
    return TIE if outcome.casefold() == TIE.casefold() else _DIGITS.get(outcome, outcome)


def _one_date(value: Any) -> Any:
    """One text for each instant, however it is written: a miner may repeat a prediction over WebSocket."""
    try:
        return rfc3339(read_instant(value)) if isinstance(value, str) else value
    except ValueError:
        return value


def _date(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return rfc3339(read_instant(value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | bool | None) or (isinstance(value, str) and len(value) <= MAX_TEXT)
