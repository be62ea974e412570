"""Writes the recorded event log (``bus/eventlog.py``), which can be replayed, traced and audited.

The current file is ``events.jsonl``; closed files are ``events.000001.jsonl.gz`` and so on. If all files together are
too large, the oldest is deleted, also while compression is behind: together they never have more than ``total_bytes``
and one file. A recording never harms its neuron: if it cannot be written, it ends, and continues in another file when
the disk works again. A stop waits for no compression: what is left is compressed at the next start.
"""

import asyncio
import contextlib
import gzip
import os
import re
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from itertools import accumulate
from pathlib import Path
from threading import Event, Lock
from typing import BinaryIO, Final, cast

from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.eventlog import Checkpoint, LogWriter
from bettensor.bus.events import Observed, RecordingFailed, RecordingResumed
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.config.settings import RecorderSettings
from bettensor.neurons.edges.edge import Edge, LogSource, Records, Signer, StateDir
from bettensor.neurons.system.errors import start_fault
from bettensor.neurons.system.files import temporary_file
from bettensor.neurons.system.private import create_private, refuse_foreign

FLUSH_INTERVAL: Final = 0.1
"""Seconds until an event is in the file, and so the most that a crash costs the recording."""
MAX_WAITING: Final = 64 * 1024 * 1024
"""Bytes that may wait for a slow disk; beyond, the recording ends."""
RETRY: Final = 60.0
"""Seconds until a failed disk is tried again."""
ROOM: Final = 1024 * 1024
"""Bytes that the disk must accept for the recording to continue."""
TOGETHER: Final = 64
"""Events whose lines are made one after the other: a line costs twice as much when it is made between other work."""
CHUNK: Final = 256 * 1024
"""Bytes that are compressed at a time: some 10 ms, after which a stop is noticed."""
PIECE: Final = 1 << 20
"""Bytes that are read at a time to find the end of a file."""
_HASH: Final = 64
"""Characters of a hash."""


class Recorder(Edge, Records):
    """Records one run. Events from before it is opened are kept, and written first."""

    name = "recorder"

    def __init__(
        self, settings: RecorderSettings, state_dir: StateDir, source: LogSource, signer: Signer, clock: Clock
    ) -> None:
        """
        Args:
            settings: the file to write (closed ones lie beside it), the events to record, when a new file begins, and
                the size beyond which old files are deleted. A file has at most half the bytes of all.
            state_dir: the folder of the file, unless ``settings`` name one.
            source: the headers and checkpoints at the start of files.
            signer: seals each file.
            clock: the neuron's.
        """
        self._path = settings.path or state_dir / "events.jsonl"
        self._everything = settings.record == "all"
        self._file_bytes = min(settings.file_bytes, settings.total_bytes // 2)
        self._file_age = settings.file_age
        self._total_bytes = settings.total_bytes
        self._source = source
        self._sign = signer.sign
        self._clock = clock
        self._taken: list[Envelope] = []
        """Events that are not lines yet; an event never changes."""
        self._pending: list[bytes] = []
        """Lines that are not in the file yet."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._archivist = ThreadPoolExecutor(1, thread_name_prefix="archivist")
        """Compresses closed files, in the background."""
        self._stopping = Event()
        """The neuron stops: files that are not compressed yet stay as they are."""
        self._closed_files = Lock()
        """Held while closed files are replaced or deleted: a file that is being compressed may be deleted meanwhile."""
        self._closed = 0
        """The number of the last file that was closed."""
        self._timer: asyncio.TimerHandle | None = None
        self._writer: LogWriter | None = None
        self._file: FileIO | None = None
        self._size = 0
        self._head = 0
        """The part of these bytes that is header and checkpoint."""
        self._began = 0
        self._given = 0
        self._taken_by_disk = 0
        """The bytes that the thread has written, of those that it was given; only the thread counts them."""
        self._retry_at: Micros | None = None
        """Time at which a failed disk is tried again."""
        self._closing = False

    def record(self, envelope: Envelope) -> None:
        """Take one envelope, in order; it is written soon."""
        if self._everything or isinstance(envelope.event, Observed):
            self._taken.append(envelope)
            if len(self._taken) >= TOGETHER:
                self._make_lines()

    async def open(self) -> None:
        """Begin a file; one left by an earlier run is closed and compressed.

        Raises:
            ConfigurationError: the file cannot be written; nor at a later start.
            Unavailable: it cannot be written now.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_foreign(self._path)
            previous = self._begin_first_file()
        except OSError as error:
            raise start_fault(f"recorder.path {self._path} cannot be written: {error}", error) from None
        self._begin(previous, None)
        with contextlib.suppress(Exception):  # a state that cannot be written is told when it is due
            self._source.checkpoint()  # the first takes tens of milliseconds more, which nobody waits for now
        self._schedule()

    async def close(self) -> None:
        """Write the remaining lines, seal the file, and close it."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._flush()
        if self._writer is not None:
            self._end(self._writer, "stop")
        self._stopping.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_file)
        self._thread.shutdown()
        await asyncio.to_thread(self._archivist.shutdown, cancel_futures=True)

    # --- on the loop

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(FLUSH_INTERVAL, self._tick)

    def _tick(self) -> None:
        self._flush()
        too_old = self._clock.mono() - self._began >= self._file_age * SECOND
        too_large = self._size >= max(self._file_bytes, 2 * self._head)  # otherwise a large checkpoint fills the disk
        if self._writer is not None and (too_large or too_old):
            self._rotate(self._writer)
        elif self._retry_at is not None and self._clock.mono() >= self._retry_at:
            self._retry_at = None
            self._retry()
        self._schedule()

    def _make_lines(self) -> None:
        taken, self._taken = self._taken, []
        for envelope in taken:
            if self._writer is None:
                return
            try:
                self._pending.append(self._writer.row(envelope))
            except (TypeError, ValueError) as error:
                self._give_up(f"{envelope.event.topic} cannot be written as JSON: {error}", is_final=True)

    def _flush(self) -> None:
        self._make_lines()
        if self._pending:
            lines, self._pending = b"".join(self._pending), []
            self._write(lines)

    def _rotate(self, writer: LogWriter) -> None:
        """Begin a new file between two drains, with the present state of all actors."""
        self._end(writer, "rotation")
        aside = self._next_name()
        self._submit(lambda: self._begin_file(aside))
        self._go_on(writer.hash)

    def _go_on(self, previous: str) -> None:
        try:
            self._begin(previous, self._source.checkpoint())
        except Exception as error:  # noqa: BLE001 - the state of an operator's own actor may be anything
            self._fail(f"the state of an actor cannot be written as JSON: {error}", is_final=True)

    def _next_name(self) -> Path:
        self._closed += 1
        return self._path.with_name(f"{self._path.stem}.{self._closed:06}.jsonl")

    def _begin(self, previous: str, checkpoint: Checkpoint | None) -> None:
        self._writer = writer = LogWriter(self._source.log_header(previous))
        self._size, self._began = 0, self._clock.mono()
        for line in (writer.first,) if checkpoint is None else (writer.first, writer.checkpoint(checkpoint)):
            self._write(line)
        self._head = self._size

    def _end(self, writer: LogWriter, reason: str) -> None:
        self._write(writer.seal(self._bus.position[0], self._clock.wall(), reason, self._sign))

    def _write(self, data: bytes | bytearray) -> None:
        self._size += len(data)
        self._given += len(data)
        self._submit(lambda: self._write_file(data))
        if self._given - self._taken_by_disk > MAX_WAITING:
            self._give_up(f"the disk is too slow: {MAX_WAITING} bytes wait for it")

    def _submit(self, work: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def guarded() -> None:
            try:
                work()
            except OSError as error:
                self._close_file()
                loop.call_soon_threadsafe(self._give_up, str(error))

        self._thread.submit(guarded)

    def _give_up(self, reason: str, *, is_final: bool = False) -> None:
        """End the recording: a line is missing, so later lines could not be verified."""
        if self._writer is not None:
            self._fail(reason, is_final=is_final)

    def _fail(self, reason: str, *, is_final: bool) -> None:
        """Stop recording, and publish that after the current event."""
        self._writer = None
        self._retry_at = None if is_final else self._next_try()
        asyncio.get_running_loop().call_soon(self._bus.publish, RecordingFailed(reason))

    def _next_try(self) -> Micros:
        return Micros(self._clock.mono() + round(RETRY * SECOND))

    def _retry(self) -> None:
        """Test the disk in the thread, which may hang with it."""
        loop = asyncio.get_running_loop()

        def attempt() -> None:
            try:
                self._close_file()
                self._try_disk()
                previous = self._begin_first_file()
            except OSError:
                loop.call_soon_threadsafe(self._fail_again)
            else:
                loop.call_soon_threadsafe(self._resume, previous)

        self._thread.submit(attempt)

    def _fail_again(self) -> None:
        self._retry_at = self._next_try()

    def _resume(self, previous: str) -> None:
        """Continue between two drains, as a rotation does: the present state of all actors, and the events after it."""
        if self._closing:
            return
        self._taken.clear()
        self._given = self._taken_by_disk = 0
        self._go_on(previous)
        if self._writer is not None:
            self._bus.publish(RecordingResumed())

    # --- in the recorder's thread

    def _try_disk(self) -> None:
        attempt = self._path.with_name(f".{self._path.name}.attempt")
        with temporary_file(attempt):
            attempt.write_bytes(bytes(ROOM))

    def _begin_first_file(self) -> str:
        """Begin a run's first file, or the first after a failure, beside the old ones; returns the hash before it."""
        closed = closed_files(self._path)
        self._closed = max(map(_number, closed), default=0)
        left = last_hash(self._path)
        previous = left or next(filter(None, map(last_hash, reversed(closed))), "")
        for file in closed:
            if file.suffix == ".jsonl":
                self._archivist.submit(self._archive, file)
        if left:  # otherwise not one line was written
            self._put_aside(self._next_name())
        self._make_room_at_once()
        self._file = self._open_file()
        return previous

    def _open_file(self) -> FileIO:
        """Open without a buffer: lines that failed must not be written later."""
        return FileIO(create_private(self._path), "wb")

    def _write_file(self, data: bytes | bytearray) -> None:
        left = memoryview(data)
        while left and self._file is not None:
            left = left[self._file.write(left) :]
        self._taken_by_disk += len(data)

    def _begin_file(self, aside: Path) -> None:
        if self._file is None:  # the seal or a line before it could not be written: nothing can continue from it
            return
        self._close_file()
        self._put_aside(aside)
        self._make_room_at_once()
        self._file = self._open_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put_aside(self, aside: Path) -> None:
        self._path.rename(aside)
        self._archivist.submit(self._archive, aside)

    def _archive(self, aside: Path) -> None:
        with contextlib.suppress(OSError, _Stopped):  # a full disk keeps the file uncompressed
            self._compress(aside)
        if not self._stopping.is_set():
            with contextlib.suppress(OSError):
                self._make_room(self._total_bytes - self._file_bytes, _number(aside))

    def _compress(self, aside: Path) -> None:
        packed = aside.with_name(f"{aside.name}.gz")
        with temporary_file(aside.with_name(f".{packed.name}")) as part:
            with aside.open("rb") as source, gzip.open(part, "wb", compresslevel=6) as sink:
                while chunk := source.read(CHUNK):
                    if self._stopping.is_set():
                        raise _Stopped
                    sink.write(chunk)
            with self._closed_files:
                if aside.exists():  # otherwise it was deleted meanwhile, and must not come back
                    part.rename(packed)
                    aside.unlink()

    def _make_room_at_once(self) -> None:
        """Delete the oldest files before another one begins, whether they are compressed or not.

        Half of the new file's bytes are for the file that is being compressed.
        """
        with contextlib.suppress(OSError):
            self._make_room(self._total_bytes - self._file_bytes // 2, self._closed)

    def _make_room(self, left: int, newest: int) -> None:
        """Delete the oldest files if all up to ``newest`` have more bytes than are ``left`` for them."""
        with self._closed_files:
            files = [file for file in closed_files(self._path) if _number(file) <= newest]
            sizes = accumulate(file.stat().st_size for file in reversed(files))
            kept = sum(size <= left for size in sizes)
            for file in files[: len(files) - kept]:
                file.unlink()


class _Stopped(Exception):
    """A file stays uncompressed, because the neuron stops."""


def closed_files(path: Path) -> list[Path]:
    """The closed files beside ``path``, the oldest first; other files are ignored, and so are links."""
    named = re.compile(rf"{re.escape(path.stem)}\.\d{{6,}}\.jsonl(\.gz)?")
    files = (
        file for file in path.parent.glob(f"{path.stem}.*") if named.fullmatch(file.name) and not file.is_symlink()
    )
    return sorted(files, key=lambda file: (_number(file), file.name))


def _number(closed: Path) -> int:
    return int(closed.name.split(".")[-3 if closed.suffix == ".gz" else -2])


def last_hash(file: Path) -> str:
    """The hash of a file's last whole line; empty if there is none."""
    try:
        with cast("BinaryIO", gzip.open(file) if file.suffix == ".gz" else file.open("rb")) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - PIECE))
            found = _last_hash(stream)
            if not found and size > PIECE:  # the cut-off line may have been longer
                stream.seek(0)
                found = _last_hash(stream)
            return found
    except (FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error):
        return ""


def _last_hash(stream: BinaryIO) -> str:
    """The last one from here on, piece by piece: a damaged file may hold gigabytes without a line's end."""
    found, before = b"", b""
    while piece := stream.read(PIECE):
        text = before + piece
        end = text.rfind(b'"}\n')
        if end >= _HASH:
            found = text[end - _HASH : end]
        before = text[-_HASH - 2 :]
    return found.decode("latin-1")
