"""Files of this machine: reads them within bounds, watches them for changes, and replaces them in one step."""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, aclosing, contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from threading import Event
from typing import Final

from watchfiles import awatch, watch

from bettensor.bus.errors import ConfigurationError

PRIVATE: Final = 0o600
"""The mode of a file that only its owner may read."""
PUBLIC: Final = 0o666
"""The mode of a file that others may read, as far as the umask allows."""

DEBOUNCE: Final = 50
"""Milliseconds for which a file must stay unchanged before it is read."""
LOOK: Final = 5_000
"""Milliseconds between two checks without a notification: not every file system sends them, and a change before the
watch began sends none."""
POLL: Final = 1_000
"""Milliseconds between two checks if there are no notifications at all."""
MOST_LOOKS: Final = 5
"""Checks whether changed files have settled; then they count as they are."""

Sight = Mapping[Path, tuple[int, int, int] | None]
"""By file: inode, size and time of change; None if the file does not exist."""


def at_home(path: Path | str) -> Path:
    """``path``, in which a leading ``~`` or ``~USER`` stands for a home folder.

    Raises:
        ConfigurationError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{path}: there is no such home folder; write the whole path") from None


def look_at(files: Iterable[Path]) -> Sight:
    """The present state of ``files``: take it before they are read."""
    # not Path.resolve, which raises if links form a circle
    return {file: _stat(file) for file in {Path(os.path.realpath(file)) for file in files}}


async def changes_of(
    files: Callable[[], Iterable[Path]],
    seen: Sight | None = None,
    *,
    settle: float = 0.0,
    unwatched: Callable[[str], object] = lambda _: None,
) -> AsyncGenerator[None, None]:
    """Yields whenever the state of ``files`` differs from the last one; never ends.

    Args:
        files: returns the files; called at each check, because a configuration that names them may change too.
        seen: their state when they were read; by default the present one.
        settle: seconds for which changed files must stay as they are before they count, so that nobody reads half of
            one that is written in place. Files that change all the time count after ``MOST_LOOKS`` times that.
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
                seen = await _settled(files, now, settle)
                yield
                now = look_at(files())
                if now.keys() != watched:
                    seen = now
                    break


async def _settled(files: Callable[[], Iterable[Path]], now: Sight, settle: float) -> Sight:
    """The state of ``files`` when it has been the same for ``settle`` seconds."""
    for _ in range(MOST_LOOKS if settle else 0):
        await asyncio.sleep(settle)
        before, now = now, look_at(files())
        if now == before:
            break
    return now


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


class Unfit(ValueError):
    """A file is no regular file, or too large; the message says how to repair it."""


def read_file(file: Path, most: int) -> bytes:
    """The content of a regular file. A pipe or a device, which may have no end, is not read.

    Args:
        file: the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read.
        Unfit: it is no regular file, or has more bytes.
    """
    with BufferedReader(open_regular(file)) as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise Unfit(f"it has more than {size(most)}; make it smaller")
    return data


def open_regular(file: Path) -> FileIO:
    """Open a regular file for reading, without a buffer.

    Raises:
        OSError: it cannot be opened.
        Unfit: it is no regular file.
    """
    _require_regular(file.stat(), file)  # opening some devices does something
    opened = FileIO(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    with ExitStack() as unless_regular:
        unless_regular.enter_context(opened)
        _require_regular(os.fstat(opened.fileno()), file)
        unless_regular.pop_all()
    return opened


def _require_regular(status: os.stat_result, file: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if not stat.S_ISREG(status.st_mode):
        raise Unfit("it is a pipe or a device; save it as a file")


def size(count: int) -> str:
    """A limit in bytes, for a message: ``4 MiB``, ``64 KiB``, ``100 bytes``."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if not count % unit:
            return f"{count // unit} {name}"
    return f"{count} bytes"


@contextmanager
def temporary_file(file: Path, mode: int = PRIVATE) -> Iterator[Path]:
    """``file``, new and empty, for the block, which may rename it; otherwise it is deleted.

    A leftover of that name is deleted first. A link of that name is deleted too, and never followed.
    """
    file.unlink(missing_ok=True)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def replace(file: Path, data: bytes, *, durable: bool = False, mode: int = PUBLIC) -> None:
    """Write a file in one step, for those who watch it; a pipe or device is written to directly.

    Args:
        file: the file; if it is a link of this user or of root, the file where it leads. Operators link a file into
            another folder, and that file must change.
        data: its new content.
        durable: the content is on the disk when the old one is given up, so that a power cut leaves one of the two.
        mode: of a new file, as far as the umask allows; an existing file that others may read keeps its mode.

    Raises:
        OSError: it cannot be written, or it is a link of another user; the file stays as it was.
    """
    target = _target(file)
    if file.exists() and not file.is_file():
        file.write_bytes(data)
        return
    if mode == PUBLIC and target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
    with temporary_file(target.with_name(f".{target.name}.part"), mode) as part:
        with part.open("wb") as out:
            out.write(data)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        part.replace(target)


def _target(file: Path) -> Path:
    """Where ``file`` leads; ``file`` itself if links form a circle.

    Raises:
        PermissionError: a link on the way belongs to another user, who could have any file of ours overwritten.
    """
    target = file
    for _ in range(_MOST_LINKS):
        status = _lstat(target)
        if status is None or not stat.S_ISLNK(status.st_mode):
            return target
        if status.st_uid not in (os.geteuid(), 0):
            raise PermissionError(errno.EPERM, f"{target} is a link of another user; choose another folder", str(file))
        target = target.parent / target.readlink()
    return file


_MOST_LINKS: Final = 40
"""Links on the way to one file, as Linux counts."""


def _lstat(file: Path) -> os.stat_result | None:
    try:
        return file.lstat()
    except FileNotFoundError:
        return None
