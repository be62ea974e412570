"""The JSON Schema of a games file, for editors and for programs that write one.

Fields, types and limits are those of ``TeamGame``, of which the reader makes games (``game_file.py``); added is what a
games file may have besides. It is a little stricter than the reader: of the many ways to write a time, a duration or a
number as text, it knows the usual ones. docs/games.md lists the rules that a schema cannot express.
"""

from json import dumps
from typing import Any, Final

import msgspec

from bettensor.bus.games import TeamGame

INSTANT: Final = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})$"
)
"""RFC 3339; the offset from UTC is required."""
DURATION: Final = "^P(?=.*[0-9])([0-9]+W)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?$"
"""ISO 8601: weeks, days, hours, minutes, seconds."""
ABOVE_ONE: Final = "^ *[+]?0*(1[.]0*[1-9][0-9]*|([2-9]|[1-9][0-9]+)([.][0-9]*)?) *$"
"""A number above 1, as text."""

_ODDS: Final = {
    "description": "Decimal odds, as a number or as text.",
    "anyOf": [{"type": "number", "exclusiveMinimum": 1}, {"type": "string", "pattern": ABOVE_ONE}],
}
_START: Final = {
    "description": "A time (RFC 3339), or a duration (ISO 8601) from the start of the validator.",
    "anyOf": [{"type": "string", "pattern": INSTANT}, {"type": "string", "pattern": DURATION}],
}
_DATES: Final = ("create_date", "last_update_date")
"""By default the start of the validator."""


def schema() -> dict[str, Any]:
    """The schema of a whole file: ``{"games": [...]}``, or the list alone."""
    games = {"type": "array", "items": {"$ref": "#/$defs/game"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Games file of a Bettensor validator",
        "anyOf": [{"type": "object", "properties": {"games": games}, "required": ["games"]}, games],
        "$defs": {"game": _game()},
    }


def schema_text() -> str:
    """The schema, as `bettensor games schema` prints it."""
    return dumps(schema(), indent=2) + "\n"


def _game() -> dict[str, Any]:
    _, parts = msgspec.json.schema_components([TeamGame])
    game = parts["TeamGame"]
    fields = game["properties"] | {"team_a_odds": _ODDS, "team_b_odds": _ODDS, "event_start_date": _START}
    fields["tie_odds"] = {"anyOf": [_ODDS, {"type": "null"}], "default": None}
    return {
        "description": game["description"],
        "type": "object",
        "properties": fields,
        "required": [name for name in game["required"] if name not in _DATES],
        "additionalProperties": False,
        "if": {"properties": {"can_tie": {"const": True}}},
        "then": {"properties": {"tie_odds": _ODDS}, "required": ["tie_odds"]},
        "else": {"properties": {"tie_odds": {"type": "null"}}},
    }
