"""Events as JSON, and back.

Bytes are text in Latin-1, one character a byte, so that frames can be read.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, replace
from operator import attrgetter
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from bettensor.bus import codec
from bettensor.bus.adapters import adapter_of
from bettensor.bus.codec import UnreadMessage
from bettensor.bus.errors import Unreadable
from bettensor.bus.events import Event, SettingsReloaded
from bettensor.bus.messages import KINDS, Broadcast, WebSocketMessage
from bettensor.bus.redaction import actors_without_secrets

_encoder: Final = msgspec.json.Encoder()
_UNREAD: Final = frozenset({"code", "fault", "broadcast"})
"""A field that only an ``UnreadMessage`` has."""


def encode_event(event: Event) -> bytes:
    """The JSON of an event's fields, without raw newlines."""
    return _encoder.encode(plain_event(event))


def plain_event(event: Event) -> Any:
    """``event`` as msgspec encodes it: bytes as text, secrets left out."""
    return _shapes[type(event)].plain(event)


def decode_event(kind: type[Event], raw: bytes) -> Event:
    """The event that ``encode_event`` wrote.

    Raises:
        msgspec.MsgspecError, ValueError, Unreadable: ``raw`` is no such event.
    """
    return _shapes[kind].read(raw)


class AsRecorded:
    """Marks an event in an actor's state: ``Annotated[HttpRequestReceived, AsRecorded()]``. A snapshot then has it as
    a recording would, and restoring raises ValueError if it is no such event.

    Args:
        complete: called with the event that was read.
    """

    def __init__(self, complete: Callable[[Any], Event] = lambda event: event) -> None:
        self._complete = complete

    def __get_pydantic_core_schema__(self, kind: type[Event], _: GetCoreSchemaHandler) -> CoreSchema:
        def plain(event: Event) -> Any:
            return msgspec.json.decode(encode_event(event))

        def read(recorded: Any) -> Event:
            try:
                return self._complete(decode_event(kind, _encoder.encode(recorded)))
            except (msgspec.MsgspecError, LookupError, TypeError, Unreadable, ValueError) as error:
                raise ValueError(f"not a {kind.topic}: {error!r}") from None

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(plain)
        )


class _Shape(NamedTuple):
    """How events of one class are read and written."""

    plain: Callable[[Event], Any]
    """The event as the encoder takes it: bytes as text."""
    read: Callable[[bytes], Event]


class _Shapes(dict[type[Event], _Shape]):
    def __missing__(self, kind: type[Event]) -> _Shape:
        hints = get_type_hints(kind)
        names = tuple(f.name for f in fields(kind))  # type: ignore[arg-type]
        texts = tuple(name for name in names if hints[name] is bytes)
        shape = self[kind] = _Shape(_plainer(kind, names, texts), _reader(kind, names, texts))
        return shape


_shapes: Final = _Shapes()


def _plainer(kind: type[Event], names: tuple[str, ...], texts: tuple[str, ...]) -> Callable[[Event], Any]:
    if kind is SettingsReloaded:
        return _without_secrets
    if not texts:
        return lambda event: event
    written = msgspec.defstruct(kind.__name__, names, gc=False)
    columns = tuple((attrgetter(name), name in texts) for name in names)

    def plain(event: Event) -> Any:
        return written(*[get(event).decode("latin-1") if text else get(event) for get, text in columns])

    return plain


def _without_secrets(event: Any) -> SettingsReloaded:
    """An operator's own settings may hold anything, and anything but a secret must become JSON."""
    without: SettingsReloaded = replace(event, actors=to_jsonable_python(actors_without_secrets(event.actors)))
    return without


def _reader(kind: type[Event], names: tuple[str, ...], texts: tuple[str, ...]) -> Callable[[bytes], Event]:
    hints = get_type_hints(kind)
    messages = [name for name in names if hints[name] in (WebSocketMessage, Broadcast)]
    if not messages and not texts:
        return _plain_reader(kind)
    stored = dict.fromkeys(messages, msgspec.Raw) | dict.fromkeys(texts, str)
    columns = [(f.name, stored.get(f.name, hints[f.name]), *_default_of(f)) for f in fields(kind)]  # type: ignore[arg-type]
    decoder = msgspec.json.Decoder(msgspec.defstruct(kind.__name__, columns))

    def read(raw: bytes) -> Event:
        row = decoder.decode(raw)
        values = {name: getattr(row, name) for name in names}
        for name in messages:
            values[name] = _message(values[name])
        for name in texts:
            values[name] = values[name].encode("latin-1")
        return kind(**values)

    return read


def _default_of(column: Field[Any]) -> tuple[Any, ...]:
    """What an older log, which lacks the field, is taken to have; empty if the field must be there."""
    if column.default is MISSING:
        return ()
    return (column.default.decode("latin-1") if isinstance(column.default, bytes) else column.default,)


def _plain_reader(kind: type[Event]) -> Callable[[bytes], Event]:
    try:
        strict: Any = msgspec.json.Decoder(kind)
    except TypeError:  # a field of a type that only pydantic can read, as a union of dataclasses
        return adapter_of(kind).validate_json

    def read(raw: bytes) -> Event:
        try:
            event: Event = strict.decode(raw)
        except msgspec.ValidationError:  # a message inside that is not stamped yet breaks the rules of the wire
            event = adapter_of(kind).validate_json(raw)
        return event

    return read


def _message(raw: msgspec.Raw) -> WebSocketMessage:
    try:
        message: WebSocketMessage | None = codec.read(bytes(raw))
    except Unreadable:  # not stamped yet
        message = None
    if message is not None and not isinstance(message, UnreadMessage):
        return message
    written = msgspec.json.decode(raw)
    kind = UnreadMessage if written.keys() >= _UNREAD else KINDS.get(written["message_type"], UnreadMessage)
    whole: WebSocketMessage = adapter_of(kind).validate_json(bytes(raw))
    return whole
