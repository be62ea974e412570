"""The standard streams of a command: closed ones, encodings without some characters, and readers that have gone.

Whatever a command writes there goes through ``Guarded``, so that no word of a peer, of a log or of a file is obeyed by
the terminal.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

from bettensor.bus.text import harmless

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


class Guarded:
    """A stream for text that may hold words of others: control characters are escaped, but for line ends and tabs."""

    def __init__(self, beneath: IO[str]) -> None:
        """
        Args:
            beneath: the stream that is written to.
        """
        self.beneath = beneath

    def write(self, text: str) -> int:
        """Write ``text``, escaped."""
        self.beneath.write(harmless(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines``, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Within the block, standard output and standard error are ``Guarded``."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_guard(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _guard(stream: Any) -> Any:
    return stream if stream is None or isinstance(stream, Guarded) else Guarded(stream)


def beneath(stream: Any) -> Any:
    """The stream itself, for a writer that escapes all words and adds colours of its own."""
    return stream.beneath if isinstance(stream, Guarded) else stream


def prepare_for_neurons() -> None:
    """Reopen standard streams that the parent closed: a socket would otherwise get fd 0-2, on which libuv aborts.

    The streams are no longer ``Guarded``: a neuron's log escapes its lines itself, and what handlers print is theirs.

    A line that a handler prints, or the result of a measurement, is written at once, also into a file or a pipe.
    """
    sys.stdout, sys.stderr = beneath(sys.stdout), beneath(sys.stderr)
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
