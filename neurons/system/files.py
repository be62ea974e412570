"""Files of this machine: which have changed since they were read, and those that come into being in one step."""

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from watchfiles import awatch

DEBOUNCE: Final = 50
"""Milliseconds for which a file must be left alone before it is read."""
LOOK: Final = 5_000
"""Milliseconds after which files are looked at though nobody said that they changed: not every file system does, and
what changed before the watch began was said to nobody."""

Sight = Mapping[Path, tuple[int, int, int] | None]
"""By file: inode, size and time of change; None where there is no such file."""


def look_at(files: Iterable[Path]) -> Sight:
    """How ``files`` are now: to be taken before they are read."""
    # not Path.resolve, which raises where links lead in a circle
    return {file: _stat(file) for file in {Path(os.path.realpath(file)) for file in files}}


async def changes_of(files: Callable[[], Iterable[Path]], seen: Sight | None = None) -> AsyncGenerator[None, None]:
    """Yields whenever one of ``files`` is no more as it was; never ends.

    Args:
        files: which; asked again at each look, because a configuration that names them may change too.
        seen: how they were when they were read; by default as they are now.
    """
    seen = look_at(files()) if seen is None else seen
    while True:
        watched = seen.keys()
        # the folders are watched, and not the files: editors and deployments put a new file in the place of the old one
        folders = sorted({file.parent for file in watched})
        watching = awatch(
            *folders, recursive=False, debounce=DEBOUNCE, step=DEBOUNCE, rust_timeout=LOOK, yield_on_timeout=True
        )
        async for _ in watching:
            now = look_at(files())  # by their names: a link may lead elsewhere by now
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
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """A file that does not outlive the block, unless it has another name by then; what is there before goes too."""
    file.unlink(missing_ok=True)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
