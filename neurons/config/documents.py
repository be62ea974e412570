"""Files that operators and their programs write: their text, their JSON, and the numbers in them.

Spreadsheets and exports write the same thing in several ways. This module reads all of them alike, and refuses the
others with a message that says how to repair the file.
"""

import codecs
import json
import math
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.system.files import read_file

MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a file of games or bets: the largest slate, with 20,000 games, has 8 MB."""
MAX_SHOWN: Final = 60
"""Characters of a wrong value that a message shows."""
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DECIMAL_COMMA: Final = re.compile(r"([+-]?[0-9]+),([0-9]+)")
_FAULT: Final = re.compile(r"(.*?)(?: - at `\$\.?([^`]*)`)?", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_MOST_DIGITS: Final = 400
"""An integer of more digits is beyond every float."""


def read_text(file: Path, advice: str = "", most: int = MOST_BYTES) -> str:
    """The text of ``file``, in UTF-8 with or without a byte order mark. Line ends stay as they are.

    Args:
        file: the file.
        advice: the cure if it is missing, for the message.
        most: bytes that the file may have.

    Raises:
        ConfigurationError: the file cannot be read, is no regular file, is too large, or is not UTF-8 text.
    """
    try:
        return decoded(read_file(file, most))
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: there is no such file{advice}") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from None


def decoded(data: bytes) -> str:
    """``data`` as text: UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is not UTF-8 text; the message says how to repair it.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]:
        raise ValueError("it is UTF-16 text; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"its byte {error.start} is no UTF-8 text; save it as UTF-8") from None


def read_json(file: Path) -> Any:
    """The JSON value in ``file``.

    Raises:
        ConfigurationError: the file cannot be read, or is not JSON; the message has the line.
    """
    text = read_text(file)
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ConfigurationError(f"{file}: not JSON: lists and objects are nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: not JSON: {error}") from None


def is_unicode(text: str) -> bool:
    """Whether ``text`` has no half of a surrogate pair, as which Python reads bytes of a command that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class NotANumber(ValueError):
    """A value is no finite number; the message has what was expected, and the value."""

    def __init__(self, value: Any) -> None:
        text = value.strip() if isinstance(value, str) else ""
        comma = _DECIMAL_COMMA.fullmatch(text)
        self.expected = f"expected a number{f' with a decimal point like {comma[1]}.{comma[2]}' if comma else ''}"
        super().__init__(f"{self.expected}, not {shown(value)}")


def number_of(value: Any) -> float:
    """The number that ``value`` is: a JSON number, or the same as text, like ``"1.90"`` or ``" 1.9 "``.

    Raises:
        NotANumber: it is not a finite number.
    """
    found = value
    if isinstance(value, str):
        text = value.strip()  # of more than float would: of all that separates lines
        found = float(text) if _NUMBER.fullmatch(text) else None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        found = None
    number = math.nan if found is None else _float(found)
    if not math.isfinite(number):
        raise NotANumber(value)
    return number


def shown(value: Any) -> str:
    """``value`` for a message: as JSON has it, and not too long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = safe_repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def safe_repr(value: Any) -> str:
    """``repr(value)``; for a number of more digits than Python writes, and for what is nested too deeply, words."""
    try:
        return repr(value)
    except ValueError:
        return "a number of very many digits"
    except RecursionError:
        return "a value that is nested too deeply"


def explained(fault: msgspec.ValidationError) -> str:
    """A fault that msgspec found, with the field first: ``team_a: expected str, got int``."""
    found = _FAULT.fullmatch(str(fault))
    assert found is not None  # noqa: S101 - for the type checker: everything fits
    text, path = found[1], found[2] or ""
    if missing := _MISSING.fullmatch(text):
        path, text = f"{path}.{missing[1]}".removeprefix("."), "this field is required"
    else:
        text = f"{text[0].lower()}{text[1:]}".replace("`", "")
    return f"{path}: {text}" if path else text


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer beyond every float
        return math.inf


def _integer(digits: str) -> float:
    """Python refuses very long integers, and with them the whole document."""
    return int(digits) if len(digits) < _MOST_DIGITS else math.inf
