"""The standard streams of a command: closed ones, encodings without some characters, and readers that have gone."""

import codecs
import io
import os
import sys
from typing import IO, Final

_PLAIN: Final = {"…": "~", "→": ">", "▶": ">", "▲": "^", "▼": "v"}
"""In place of our own signs; each is one character, so that tables keep their columns."""
_SPINNER: Final = range(0x2800, 0x2900)
"""The signs of rich's spinner."""
_ERRORS: Final = "bettensor.plain"
"""The name of ``_plainly`` for Python's codecs."""


def prepare() -> None:
    """Write a character that is missing in a stream's encoding, such as Latin-1, plainly: it must not end a command."""
    codecs.register_error(_ERRORS, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def prepare_for_neurons() -> None:
    """Reopen standard streams that the parent closed: a socket would otherwise get fd 0-2, on which libuv aborts.

    A line that a handler prints, or the result of a measurement, is written at once, also into a file or a pipe.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.dup2(null := os.open(os.devnull, os.O_RDWR), number)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def discard(stream: IO[str]) -> None:
    """Discard what is in the stream's buffer, and all that follows: flushing it at exit would fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def let_go(*streams: IO[str] | None) -> None:
    """Write what is in the buffers, or discard it if nobody can read it: a pipe or a terminal may be closed."""
    for stream in streams:
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            discard(stream)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """The replacement of characters that cannot be encoded, and the position after them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(map(_plain, found)), error.end


def _plain(char: str) -> str:
    sign = "*" if ord(char) in _SPINNER else _PLAIN.get(char)
    return char.encode("ascii", "backslashreplace").decode() if sign is None else sign
