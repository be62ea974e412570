"""Watches files of this machine for changes, and replaces files in one step."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from threading import Event
from typing import Final

from watchfiles import awatch, watch

DEBOUNCE: Final = 50
"""Milliseconds for which a file must stay unchanged before it is read."""
LOOK: Final = 5_000
"""Milliseconds between two checks without a notification: not every file system sends them, and a change before the
watch began sends none."""
POLL: Final = 1_000
"""Milliseconds between two checks if there are no notifications at all."""

Sight = Mapping[Path, tuple[int, int, int] | None]
"""By file: inode, size and time of change; None if the file does not exist."""


def look_at(files: Iterable[Path]) -> Sight:
    """The present state of ``files``: take it before they are read."""
    # not Path.resolve, which raises if links form a circle
    return {file: _stat(file) for file in {Path(os.path.realpath(file)) for file in files}}


async def changes_of(
    files: Callable[[], Iterable[Path]],
    seen: Sight | None = None,
    *,
    unwatched: Callable[[str], object] = lambda _: None,
) -> AsyncGenerator[None, None]:
    """Yields whenever the state of ``files`` differs from the last one; never ends.

    Args:
        files: returns the files; called at each check, because a configuration that names them may change too.
        seen: their state when they were read; by default the present one.
        unwatched: called with the reason whenever the system refuses to send notifications. Changes are then noticed
            ``POLL`` later.
    """
    seen = look_at(files()) if seen is None else seen
    while True:
        watched = seen.keys()
        # watch the folders instead of the files: editors and deployments replace a file by a new one
        async with aclosing(_occasions({file.parent for file in watched}, unwatched)) as occasions:
            async for _ in occasions:
                now = look_at(files())  # by name: a link may now lead elsewhere
                if now == seen:
                    continue
                seen = now
                yield
                now = look_at(files())
                if now.keys() != watched:
                    seen = now
                    break


async def _occasions(folders: Collection[Path], unwatched: Callable[[str], object]) -> AsyncGenerator[None, None]:
    """Yields whenever a file in ``folders`` may have changed; never ends."""
    there = sorted(folder for folder in folders if folder.is_dir())
    try:
        if there:
            watching = awatch(
                *there, recursive=False, debounce=DEBOUNCE, step=DEBOUNCE, rust_timeout=LOOK, yield_on_timeout=True
            )
            async with aclosing(watching) as notified:
                async for _ in notified:
                    yield
    except _NO_WATCH as error:
        unwatched(_reason(error))
    while True:
        await asyncio.sleep(POLL / 1000)
        yield


_NO_WATCH: Final = (OSError, RuntimeError)
"""The errors of watchfiles: of a limit of the system, of a folder that cannot be read, of its own inside."""


def why_unwatched(folder: Path) -> str:
    """The reason why the system sends no notifications of changes in ``folder``; an empty text if it does."""
    at_once = Event()
    at_once.set()
    try:
        for _ in watch(folder, recursive=False, step=DEBOUNCE, stop_event=at_once):
            pass
    except _NO_WATCH as error:
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    """Without the list of folders that watchfiles appends."""
    return str(error).partition(" about [")[0].removesuffix(".")


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_ctime_ns  # new permissions are a change too


@contextmanager
def temporary_file(file: Path) -> Iterator[Path]:
    """``file`` for the block, which may rename it; otherwise it is deleted, as is a leftover of that name."""
    file.unlink(missing_ok=True)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def replace(file: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file in one step, for those who watch it; a pipe or device is written to directly.

    Args:
        file: the file; if it is a link, the file where it leads.
        data: its new content.
        durable: the content is on the disk when the old one is given up, so that a power cut leaves one of the two.

    Raises:
        OSError: it cannot be written; the file stays as it was.
    """
    if file.exists() and not file.is_file():
        file.write_bytes(data)
        return
    target = Path(os.path.realpath(file))  # where a link leads
    with temporary_file(target.with_name(f".{target.name}.part")) as part:
        with part.open("wb") as out:
            out.write(data)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        part.replace(target)
