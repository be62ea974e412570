"""Formats events and differences as text that fits on a screen."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from bettensor.bus.envelope import Envelope
from bettensor.bus.event_json import encode_event
from bettensor.bus.eventlog import Row
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.replay import Difference, Recorded
from bettensor.bus.text import counted, printable, shortened
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.recordings.recording import Replayed

LONG: Final = 80
"""Characters of a value above which its middle is left out."""
FEW: Final = 3
"""Parts of a list that are shown."""
MANY: Final = 12
"""Changed values that are shown."""
_WORDS: Final = ("message", "reason")
"""The fields in which an event has its reason, if they are text."""
_DETAILS: Final = frozenset(
    {"about", "challenge", "connection", "epoch", "hotkey", "level", "payload", "received_at", "request", "scheme"}
    | {"session", "signature", "signer", "uid", "validator"}
)
"""Fields that tell an operator least; a terminal has them last."""
_ID: Final = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")


def plain(recorded: Recorded) -> dict[str, Any]:
    """The fields of an event as JSON data."""
    if isinstance(recorded, Row):
        return recorded.fields
    fields: dict[str, Any] = msgspec.json.decode(encode_event(recorded.event))
    return fields


def topic(recorded: Recorded) -> str:
    """The event's topic."""
    return recorded.topic if isinstance(recorded, Row) else recorded.event.topic


def brief(fields: dict[str, Any], *, whole: bool = False) -> str:
    """``connection=6 valid=true``, with a peer's control characters escaped; long values are cut unless ``whole``."""

    def shown(name: str, value: Any) -> str:
        text = _of_field(name, value, None if whole else FEW)
        return text if whole else _shortened(text)

    return " ".join(f"{printable(name)}={shown(name, value)}" for name, value in fields.items())


class Abridged(NamedTuple):
    """An event for a terminal: what answers a question comes first."""

    code: str
    """Empty if the event has none; the same for ``reason``."""
    reason: str
    rest: str
    """The other fields, those that tell least last; long values are cut, and ids and addresses are short."""


def abridged(fields: dict[str, Any], about: str = "") -> Abridged:
    """The fields in the order in which an operator needs them.

    Args:
        fields: the event's.
        about: the id of a prediction that need not be repeated.
    """
    code = "" if fields.get("code") is None else printable(str(fields["code"]))
    name = next((name for name in _WORDS if isinstance(fields.get(name), str)), None)
    reason = "" if name is None else shortened(printable(fields[name]))
    left = {key: value for key, value in fields.items() if key not in ("code", name) and value != (about or None)}
    told = [(key, _of_field(key, left[key], FEW)) for key in sorted(left, key=lambda key: key in _DETAILS)]
    if about:
        repeated = re.compile(rf"(?<![\w-]){re.escape(about)}(:|(?=\())")
        told = [(key, repeated.sub("", text)) for key, text in told]
    return Abridged(
        code, reason, " ".join(f"{printable(key)}={_shortened(_with_short_ids(text))}" for key, text in told)
    )


def _with_short_ids(text: str) -> str:
    return _ID.sub(r"\1…", shortened(text))


def _of_field(name: str, value: Any, few: int | None) -> str:
    if name == "signature" and isinstance(value, str):
        return f"{len(value)} bytes"
    if name == "stats" and few is not None and isinstance(value, dict | list):
        return counted(len(value), "figure")
    return printable(_gist(value, few))


def _shortened(text: str) -> str:
    return text if len(text) <= LONG else f"{text[: LONG - 21]}...{text[-18:]}"


def _gist(value: Any, few: int | None) -> str:
    """The part of a value that people look for; of a list the first ``few`` parts, or all of them."""
    if isinstance(value, list):
        shown = value[:few]
        return f"[{', '.join(_gist(part, few) for part in shown)}{', ...' if len(shown) < len(value) else ''}]"
    if isinstance(value, dict):
        return _gist_of_object(value, few)
    if isinstance(value, str):
        return _gist_of_text(value, few)
    return msgspec.json.encode(value).decode()


def _gist_of_text(text: str, few: int | None) -> str:
    payload = text.partition("\n")[0]
    if payload.startswith("{") and '"message_type"' in payload:  # a frame, or its JSON
        said = said_in(payload)
        if said:
            return _gist(said, few)
    return text if text and " " not in text else msgspec.json.encode(text).decode()


def said_in(text: str) -> dict[str, Any]:
    """The JSON object at the beginning of a frame or body; empty if there is none."""
    try:
        said = msgspec.json.decode(text.partition("\n")[0].encode("latin-1"))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _gist_of_object(value: dict[str, Any], few: int | None) -> str:
    match value:
        case {"message_type": str() as kind}:
            inside = value.get("results") or value.get("predictions") or list(value.get("updated_games") or ())
            return f"{kind}{_gist(inside, few) if inside else ''}"
        case {"prediction": {"prediction_id": prediction_id}, "code": code} | {
            "prediction_id": prediction_id,
            "code": code,
        }:
            return f"{prediction_id}:{code}"
        case {"prediction_id": prediction_id, "success": bool() as success, "message": message}:
            return f"{prediction_id}:{success}" if success else f"{prediction_id}:{success}({message})"
        case {"key": key, "reason": reason}:
            return f"{key}({reason})"
        case {"prediction_id": prediction_id, "game_id": game_id, "predicted_outcome": outcome, "wager": wager}:
            return f"{prediction_id}({wager} on {outcome} in {game_id})"
        case {"game_id": game_id}:
            return str(game_id)
    return msgspec.json.encode(value).decode()


def _value(value: Any) -> str:
    """The whole value, for a comparison."""
    plain = isinstance(value, str) and value and " " not in value
    return _shortened(printable(value if plain else msgspec.json.encode(value).decode()))


def clock(at: Micros) -> str:
    """A date and time in UTC, to the millisecond."""
    return f"{rfc3339(at)[:-4]}Z"


def line(recorded: Recorded, since: Micros | None = None, *, whole: bool = False) -> str:
    """One event, after its date and time, or its delay after ``since``; long values are cut unless ``whole``."""
    return f"{heading(recorded, since)}  {brief(plain(recorded), whole=whole)}"


def heading(recorded: Recorded, since: Micros | None = None) -> str:
    """An event's place, time and topic, as ``line`` begins."""
    when = clock(recorded.at) if since is None else f"{(recorded.mono - since) / SECOND:+.6f} s"
    return f"{recorded.seq:>8}  {when}  {printable(topic(recorded))}"


def explain_replay(replayed: Replayed) -> str:
    """Describe the first difference of a replay that is not equal."""
    if replayed.difference is not None:
        return explain(replayed.difference, replayed.trail)
    surplus = counted(abs(replayed.surplus), "decision")
    return f"somewhere: {surplus} {'more' if replayed.surplus > 0 else 'fewer'} than recorded"


def explain(difference: Difference, trail: Iterable[Envelope] = ()) -> str:
    """Describe a difference, value by value, with its causes."""
    return "\n".join(_explained(difference, trail))


def _explained(difference: Difference, trail: Iterable[Envelope]) -> Iterator[str]:
    recorded, replayed = difference
    place = recorded or replayed
    if place is None:
        return
    where = f"line {recorded.line}, " if isinstance(recorded, Row) else ""
    yield f"at seq {place.seq} ({where}{clock(place.at)}):"
    if recorded is None:
        yield f"  new:      {_said(replayed)}"
    elif replayed is None:
        yield f"  missing:  {_said(recorded)}"
    elif topic(recorded) != topic(replayed):
        yield f"  recorded: {_said(recorded)}"
        yield f"  replayed: {_said(replayed)}"
    else:
        yield f"  {topic(recorded)}, recorded -> replayed:"
        changed = [*_placed(recorded, replayed), *_changed("", plain(recorded), plain(replayed))]
        yield from (f"    {text}" for text in changed[:MANY])
        if len(changed) > MANY:
            yield f"    and {len(changed) - MANY} more"
    causes = list(trail)
    if causes:
        yield "  its causes, the first one first:"
        yield from (f"  {line(cause, place.mono)}" for cause in causes)


def _said(recorded: Recorded | None) -> str:
    return "" if recorded is None else f"{printable(topic(recorded))}  {brief(plain(recorded))}"


def _placed(recorded: Recorded, replayed: Recorded) -> Iterator[str]:
    for name in ("seq", "at", "mono", "causes"):
        before, after = getattr(recorded, name), getattr(replayed, name)
        if before != after:
            yield f"{name}: {before} -> {after}"


def _changed(path: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _changed(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changed(f"{path}[{i}]", one, other)
    elif before != after:
        yield f"{path}: {_value(before)} -> {_value(after)}"
