"""Watches files of this machine for changes, and replaces files in one step."""

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from watchfiles import awatch

DEBOUNCE: Final = 50
"""Milliseconds for which a file must stay unchanged before it is read."""
LOOK: Final = 5_000
"""Milliseconds between two checks without a notification: not every file system sends them, and a change before the
watch began sends none."""

Sight = Mapping[Path, tuple[int, int, int] | None]
"""By file: inode, size and time of change; None if the file does not exist."""


def look_at(files: Iterable[Path]) -> Sight:
    """The present state of ``files``: take it before they are read."""
    # not Path.resolve, which raises if links form a circle
    return {file: _stat(file) for file in {Path(os.path.realpath(file)) for file in files}}


async def changes_of(files: Callable[[], Iterable[Path]], seen: Sight | None = None) -> AsyncGenerator[None, None]:
    """Yields whenever the state of ``files`` differs from the last one; never ends.

    Args:
        files: returns the files; called at each check, because a configuration that names them may change too.
        seen: their state when they were read; by default the present one.
    """
    seen = look_at(files()) if seen is None else seen
    while True:
        watched = seen.keys()
        # watch the folders instead of the files: editors and deployments replace a file by a new one
        folders = sorted({file.parent for file in watched})
        watching = awatch(
            *folders, recursive=False, debounce=DEBOUNCE, step=DEBOUNCE, rust_timeout=LOOK, yield_on_timeout=True
        )
        async for _ in watching:
            now = look_at(files())  # by name: a link may now lead elsewhere
            if now == seen:
                continue
            seen = now
            yield
            now = look_at(files())
            if now.keys() != watched:
                seen = now
                break


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_ctime_ns  # new permissions are a change too


@contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """A temporary file for the block, which may rename it; otherwise it is deleted, as is a leftover of that name."""
    file.unlink(missing_ok=True)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
