"""The recorder: what happens is in the file soon, files take turns, and nothing that goes wrong harms the neuron."""

import asyncio
import contextlib
import gzip
import os
import resource
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from bittensor_core import CRYPTO_SR25519, Keypair

from bettensor.actors.miner.model import ModelActor, Slate
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.eventlog import Checkpoint, Header
from bettensor.bus.events import LineLogged, Observed, Position, RecordingFailed, RecordingResumed, TimerFired
from bettensor.bus.identifiers import SECOND, Epoch, Hotkey, Micros, Offset
from bettensor.neurons.config.settings import RecorderSettings
from bettensor.neurons.edges import recorder as edge
from bettensor.neurons.edges.edge import LogSource, StateDir
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.recorder import Recorder
from bettensor.neurons.recordings.audit import audit
from bettensor.neurons.recordings.recording import Recording, log_files, take_checkpoint
from tests.support import NETUID, NOW

KEYPAIR = Keypair.create_from_uri("//Recorder", CRYPTO_SR25519)
ME = Hotkey(KEYPAIR.ss58_address)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "FLUSH_INTERVAL", 0.005)


class Bench(LogSource):
    def __init__(self, path: Path, *, everything: bool = True, **limits: Any) -> None:
        self.path = path
        self.clock = ManualClock(NOW)
        self.keys = Keys(KEYPAIR)
        self.actor = ModelActor()
        settings = RecorderSettings(path=path, record="all" if everything else "observed")
        for name, value in limits.items():  # some are smaller than an operator may set
            object.__setattr__(settings, name, value)
        self.recorder = Recorder(settings, StateDir(path.parent), self, self.keys, self.clock)
        self.events: list[Any] = []
        self.bus = EventBus(self.clock, record=self.recorder.record)
        self.recorder.attach(self.bus)
        self.bus.subscribe("*", lambda event, _: self.events.append(event), "test")
        self.bus.subscribe(TimerFired, lambda event, _: self.bus.publish(LineLogged("INFO", event.key)), "test")

    def checkpoint(self) -> Checkpoint:
        return take_checkpoint(self.bus, [self.actor])

    def log_header(self, previous: str) -> Header:
        return Header(
            role="miner", netuid=NETUID, hotkey=ME, scheme="sr25519", record="all", settings={}, previous=previous
        )

    def happen(self, count: int = 1, text: str = "x") -> None:
        for _ in range(count):
            self.bus.publish(TimerFired("test", "now", text))

    def closed(self) -> int:
        """How many files were closed, whether they are compressed, are being so, or are deleted again."""
        return self.recorder._closed  # noqa: SLF001

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.002)

    async def until_another_file(self) -> None:
        """Begins; the one that is closed may be deleted at once."""
        closed = self.closed()
        await self.until(lambda: self.closed() > closed)

    @asynccontextmanager
    async def with_a_full_disk(self) -> AsyncIterator[None]:
        """Three events are on the disk, and hardly more has room there until the block ends."""
        self.happen(3)
        await self.until(lambda: self.lines() == 7)
        with files_of_at_most(self.path.stat().st_size + 100):
            yield

    async def until_the_disk_takes_no_more(self) -> None:
        """In ``with_a_full_disk``: the recording ends."""
        self.happen(3)
        await self.until(lambda: RecordingFailed in map(type, self.events))

    async def at_rest(self) -> None:
        """Wait until everything is written and compressed."""
        for thread in (self.recorder._thread, self.recorder._archivist):  # noqa: SLF001
            await asyncio.wrap_future(thread.submit(lambda: None))

    def bytes_on_disk(self) -> int:
        return sum(file.stat().st_size for file in self.path.parent.iterdir())

    def lines(self) -> int:
        return self.path.read_bytes().count(b"\n")


@asynccontextmanager
async def recording(path: Path, **options: Any) -> AsyncIterator[Bench]:
    bench = Bench(path, **options)
    await bench.recorder.open()
    try:
        yield bench
        await bench.at_rest()
    finally:
        await bench.recorder.close()


def half_done(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def topics(file: Path) -> list[str]:
    return [row.topic for row in Recording(file).rows()]


async def test_what_happens_is_in_the_file_soon_and_the_end_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "state" / "events.jsonl"
    async with recording(path) as bench:
        bench.happen(2)
        await bench.until(lambda: path.exists() and bench.lines() == 5)
    assert topics(path) == ["timer_fired", "line_logged"] * 2
    assert path.stat().st_mode & 0o777 == 0o600
    report = audit([path])
    assert report.faults == []
    assert (report.files[0]["ends_by"], report.files[0]["signed"], report.files[0]["lines"]) == ("stop", True, 6)


async def test_observed_alone_is_what_a_replay_needs(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl", everything=False) as bench:
        bench.happen(2)
    assert topics(bench.path) == ["timer_fired"] * 2


async def test_files_take_turns_by_size_and_go_on_from_each_other(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl", file_bytes=2000) as bench:
        for _ in range(3):
            bench.happen(5)
            await bench.until_another_file()
    files = log_files(tmp_path)
    assert [file.name for file in files] == [*(f"events.00000{i}.jsonl.gz" for i in (1, 2, 3)), "events.jsonl"]
    assert all(gzip.decompress(file.read_bytes()) for file in files[:-1])
    assert [topic for file in files for topic in topics(file)] == ["timer_fired", "line_logged"] * 15
    second = Recording(files[1]).reader.checkpoint
    assert second is not None
    assert (second.seq, list(second.actors)) == (10, ["model"])
    assert audit(files).faults == []
    assert [file["ends_by"] for file in audit(files).files] == ["rotation"] * 3 + ["stop"]
    files[1].unlink()
    (fault,) = audit(log_files(tmp_path)).faults
    assert "000003.jsonl.gz: it does not go on where" in fault


async def test_a_checkpoint_that_is_larger_than_a_file_does_not_make_a_file_of_each_moment(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl", file_bytes=4096) as bench:
        bench.actor.state.slates[Hotkey("5" * 8000)] = Slate(Position(Epoch("e"), Offset(1)))
        bench.happen(20)
        await bench.until(lambda: bench.closed() == 1)
        bench.happen()
        await asyncio.sleep(20 * edge.FLUSH_INTERVAL)
        assert bench.closed() == 1
        bench.happen(30)
        await bench.until(lambda: bench.closed() == 2)
    assert audit(log_files(tmp_path)).faults == []


async def test_files_take_turns_by_age(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl", file_age=60.0) as bench:
        bench.happen()
        bench.clock.advance(Micros(61 * SECOND))
        await bench.until(lambda: edge.closed_files(bench.path))
    assert len(log_files(tmp_path)) == 2


async def test_the_oldest_files_are_deleted_when_all_are_too_large(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl", file_bytes=2000, total_bytes=12_000) as bench:
        for number in range(12):
            bench.happen(5, "".join(map(chr, range(0x100 + 128 * number, 0x180 + 128 * number))))
            await bench.until_another_file()
    files = log_files(tmp_path)
    assert files[-2].name == "events.000012.jsonl.gz"
    assert 2 <= len(files) < 12
    assert sum(file.stat().st_size for file in files[:-1]) <= 10_000


async def test_a_log_that_may_be_smaller_than_one_file_has_smaller_files(tmp_path: Path) -> None:
    limits = {"file_bytes": 1 << 20, "total_bytes": 20_000}
    async with recording(tmp_path / "events.jsonl", **limits) as bench:
        bench.happen()
    async with recording(tmp_path / "events.jsonl", **limits) as bench:
        bench.happen(30)
        await bench.until(lambda: bench.closed() == 2)
    assert [file.name for file in log_files(tmp_path)] == [
        "events.000001.jsonl.gz",
        "events.000002.jsonl.gz",
        "events.jsonl",
    ]


async def test_what_a_killed_neuron_left_is_kept_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with recording(path) as bench:
        bench.happen(3)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:5]) + whole[5][:30])
    async with recording(path):
        pass
    first, second = log_files(tmp_path)
    assert (first.name, second.name) == ("events.000001.jsonl.gz", "events.jsonl")
    cut = Recording(first)
    assert len(list(cut.rows())) == 4
    assert cut.reader.cut == 6
    report = audit([first, second])
    assert report.faults == []
    assert [(file["ends_by"], file["cut_line"]) for file in report.files] == [(None, 6), ("stop", None)]


async def test_what_was_recorded_is_kept_however_long_the_line_is_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with recording(path, file_bytes=1 << 24) as bench:
        bench.happen(3)
        bench.happen(text="x" * (3 << 20))
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:7]) + whole[7][:-100])
    async with recording(path):
        pass
    first, _ = files = log_files(tmp_path)
    assert topics(first) == ["timer_fired", "line_logged"] * 3
    assert audit(files).faults == []


async def test_a_file_whose_compression_was_cut_off_is_compressed_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with recording(path) as bench:
        bench.happen()
    path.rename(tmp_path / "events.000007.jsonl")
    (tmp_path / ".events.000007.jsonl.gz").write_bytes(b"half")
    async with recording(path):
        pass
    assert [file.name for file in log_files(tmp_path)] == ["events.000007.jsonl.gz", "events.jsonl"]


async def test_only_files_of_the_log_are_files_of_the_log(tmp_path: Path) -> None:
    for foreign in ("events.000003.jsonl.gz.bak", "events.2026-copy.jsonl", "events.1.txt", ".events.000001.jsonl.gz"):
        (tmp_path / foreign).write_bytes(b"mine")
    async with recording(tmp_path / "events.jsonl", file_bytes=2000) as bench:
        bench.happen(5)
        await bench.until(lambda: edge.closed_files(bench.path))
    (tmp_path / ".events.000002.jsonl.gz").write_bytes(b"half")  # as while a file is compressed
    assert [file.name for file in log_files(tmp_path)] == ["events.000001.jsonl.gz", "events.jsonl"]
    (tmp_path / "events.000001.jsonl").write_bytes(b"")  # as a moment before it is deleted
    assert [file.name for file in log_files(tmp_path)] == ["events.000001.jsonl.gz", "events.jsonl"]


@pytest.mark.parametrize("left", [None, b"", b'{"bettensor":"event log","form'])
async def test_a_neuron_that_died_before_the_first_line_of_a_file_breaks_no_chain(
    tmp_path: Path, left: bytes | None
) -> None:
    path = tmp_path / "events.jsonl"
    async with recording(path) as bench:
        bench.happen()
    async with recording(path):
        pass
    path.rename(tmp_path / "events.000002.jsonl")
    if left is not None:
        path.write_bytes(left)
    async with recording(path):
        pass
    files = log_files(tmp_path)
    assert [file.name for file in files] == ["events.000001.jsonl.gz", "events.000002.jsonl.gz", "events.jsonl"]
    assert audit(files).faults == []
    path.unlink()
    async with recording(path):  # now the newest hash is in a compressed file
        pass
    assert audit(log_files(tmp_path)).faults == []
    files[1].write_bytes(files[1].read_bytes()[:-20])
    path.unlink()
    async with recording(path):
        pass
    assert len(audit(log_files(tmp_path)).faults) == 1


async def test_a_path_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = Bench(tmp_path / "file" / "events.jsonl")
    with pytest.raises(ConfigurationError, match=r"recorder.path .*file/events.jsonl cannot be written"):
        await bench.recorder.open()
    await bench.recorder.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_where_the_disk_takes_no_more_the_recording_ends_and_the_neuron_goes_on(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl") as bench:
        async with bench.with_a_full_disk():
            await bench.until_the_disk_takes_no_more()
        bench.happen(3)
    assert "too large" in next(event.reason for event in bench.events if isinstance(event, RecordingFailed))
    cut = Recording(bench.path)
    assert len(list(cut.rows())) == 6
    assert cut.reader.cut == 8
    assert audit([bench.path]).files[0]["ends_by"] is None


async def test_when_the_disk_works_again_the_recording_goes_on_in_another_file(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl") as bench:
        async with bench.with_a_full_disk():
            await bench.until_the_disk_takes_no_more()
            bench.clock.advance(Micros(round(edge.RETRY * SECOND)))
            await bench.until(lambda: (bench.recorder._retry_at or 0) > bench.clock.mono())  # noqa: SLF001
        bench.happen(3, "lost")
        bench.clock.advance(Micros(round(edge.RETRY * SECOND)))
        await bench.until(lambda: RecordingResumed in map(type, bench.events))
        bench.happen()
    assert [type(event) for event in bench.events].count(RecordingFailed) == 1
    cut, new = log_files(tmp_path)
    assert len(topics(cut)) == 6
    assert topics(new) == ["recording_resumed", "timer_fired", "line_logged"]
    with Recording(new) as continued:
        assert continued.reader.checkpoint is not None
    report = audit([cut, new])
    assert report.faults == []
    assert [file["ends_by"] for file in report.files] == [None, "stop"]


async def test_a_file_that_could_not_be_written_to_its_end_is_not_gone_on_from(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl", file_bytes=3000) as bench:
        async with bench.with_a_full_disk():
            bench.happen(10)  # more than a file takes: it is to end before it is known that the disk takes no more
            await bench.until(lambda: RecordingFailed in map(type, bench.events))
        bench.clock.advance(Micros(round(edge.RETRY * SECOND)))
        await bench.until(lambda: RecordingResumed in map(type, bench.events))
    assert [file.name for file in log_files(tmp_path)] == ["events.000001.jsonl.gz", "events.jsonl"]
    assert audit(log_files(tmp_path)).faults == []


async def test_a_recording_ends_while_its_disk_is_tried(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "events.jsonl")
    await bench.recorder.open()
    async with bench.with_a_full_disk():
        await bench.until_the_disk_takes_no_more()
    bench.recorder._retry()  # noqa: SLF001 - as the clock would
    await bench.recorder.close()
    assert RecordingResumed not in map(type, bench.events)
    bench = Bench(tmp_path / "events.jsonl")
    await bench.recorder.open()
    await bench.recorder.close()
    assert audit(log_files(tmp_path)).faults == []


class SlowDisk:
    """Compression that begins only when it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_begin = threading.Event()
        self.has_begun = threading.Event()
        self._open = gzip.open
        monkeypatch.setattr(gzip, "open", self._open_later)

    def _open_later(self, file: Path, mode: str = "rb", **options: Any) -> Any:
        if mode == "wb":
            self.has_begun.set()
            assert self.may_begin.wait(20)
        return self._open(file, mode, **options)


async def test_while_compression_is_behind_the_files_have_at_most_one_file_more_than_all_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, file_bytes, total_bytes, most = SlowDisk(monkeypatch), 2_000_000, 10_000_000, 0
    limits = {"file_bytes": file_bytes, "total_bytes": total_bytes}
    async with recording(tmp_path / "events.jsonl", **limits) as bench:
        while bench.closed() < 12:
            bench.happen(1, "x" * 500)
            await asyncio.sleep(0)
            with contextlib.suppress(FileNotFoundError):  # between two files there is none for a moment
                most = max(most, bench.bytes_on_disk())
        await asyncio.wrap_future(bench.recorder._thread.submit(lambda: None))  # noqa: SLF001
        left = [file.name for file in edge.closed_files(bench.path)]
        disk.may_begin.set()
        await bench.at_rest()
        assert left == [f"events.{number:06}.jsonl" for number in range(13 - len(left), 13)]  # the newest, without gaps
        assert 2 <= len(left) < 12
        assert [file.name for file in edge.closed_files(bench.path)] == [f"{name}.gz" for name in left]
    assert total_bytes - 2 * file_bytes < most <= total_bytes + file_bytes
    assert audit(log_files(tmp_path)).faults == []
    assert half_done(tmp_path) == []


async def test_a_file_that_was_deleted_while_it_was_compressed_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    async with recording(tmp_path / "events.jsonl", file_bytes=2000) as bench:
        bench.happen(10)
        await bench.until_another_file()
        await bench.until(disk.has_begun.is_set)
        edge.closed_files(bench.path)[0].unlink()
        bench.happen(10)
        await bench.until_another_file()
        disk.may_begin.set()
        await bench.at_rest()
        assert [file.name for file in edge.closed_files(bench.path)] == ["events.000002.jsonl.gz"]


async def test_a_stop_waits_for_no_compression_which_is_done_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, bench = SlowDisk(monkeypatch), Bench(tmp_path / "events.jsonl", file_bytes=2000)
    await bench.recorder.open()
    for _ in range(3):
        bench.happen(10)
        await bench.until_another_file()
    await bench.until(disk.has_begun.is_set)
    closing = asyncio.ensure_future(bench.recorder.close())
    await bench.until(bench.recorder._stopping.is_set)  # noqa: SLF001
    disk.may_begin.set()
    await closing
    names = [file.name for file in edge.closed_files(bench.path)]
    assert names == [f"events.00000{number}.jsonl" for number in (1, 2, 3)]
    assert half_done(tmp_path) == []
    async with recording(tmp_path / "events.jsonl") as bench:
        await bench.at_rest()
    assert all(file.suffix == ".gz" for file in edge.closed_files(bench.path))
    assert len(edge.closed_files(bench.path)) == 4
    assert audit(log_files(tmp_path)).faults == []


async def test_files_that_cannot_be_compressed_count_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip, "open", full)
    async with recording(tmp_path / "events.jsonl", file_bytes=2000, total_bytes=9000) as bench:
        for _ in range(6):
            bench.happen(10)
            await bench.until_another_file()
    files = log_files(tmp_path)
    assert files[-2].name == "events.000006.jsonl"
    assert sum(file.stat().st_size for file in files[:-1]) <= 7000
    assert half_done(tmp_path) == []  # nothing half done takes what little room there is


async def test_a_disk_that_is_too_slow_ends_the_recording_and_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "MAX_WAITING", 10_000)
    stuck = threading.Event()
    async with recording(tmp_path / "events.jsonl") as bench:
        bench.recorder._thread.submit(stuck.wait, 60)  # noqa: SLF001 - as a disk that hangs
        try:
            while RecordingFailed not in map(type, bench.events):
                bench.happen(20)
                await asyncio.sleep(0.002)
            waiting = bench.recorder._given  # noqa: SLF001
            bench.happen(1000)
            bench.recorder._flush()  # noqa: SLF001
            assert bench.recorder._given == waiting  # noqa: SLF001
        finally:
            stuck.set()
    failed = next(event for event in bench.events if isinstance(event, RecordingFailed))
    assert failed.reason == "the disk is too slow: 10000 bytes wait for it"
    assert audit([bench.path]).faults == []


async def test_an_event_that_is_no_json_ends_the_recording_and_not_the_neuron(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl") as bench:
        bench.happen(text="\ud800")
        bench.happen()
    failed = [event for event in bench.events if isinstance(event, RecordingFailed)]
    assert len(failed) == 1
    assert "timer_fired cannot be written as JSON" in failed[0].reason
    assert topics(bench.path) == []
    assert len([event for event in bench.events if isinstance(event, Observed)]) == 3


async def test_a_state_that_is_no_json_ends_the_recording_at_the_next_file(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl", file_bytes=2000) as bench:
        bench.actor.state = cast("Any", object())
        bench.happen(10)
        await bench.until(lambda: RecordingFailed in map(type, bench.events))
        bench.happen()
    failed = next(event for event in bench.events if isinstance(event, RecordingFailed))
    assert "the state of an actor cannot be written as JSON" in failed.reason
    assert audit(log_files(tmp_path)[:1]).faults == []


async def test_a_state_that_is_no_json_when_the_disk_works_again_ends_the_recording_and_is_told(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl") as bench:
        async with bench.with_a_full_disk():
            await bench.until_the_disk_takes_no_more()
        bench.actor.state = cast("Any", object())
        bench.clock.advance(Micros(round(edge.RETRY * SECOND)))
        await bench.until(lambda: sum(isinstance(event, RecordingFailed) for event in bench.events) == 2)
        bench.happen()
    last = [event for event in bench.events if isinstance(event, RecordingFailed)][-1]
    assert "the state of an actor cannot be written as JSON" in last.reason
    assert RecordingResumed not in map(type, bench.events)


async def test_a_run_in_which_nothing_happened_leaves_a_log_that_says_so(tmp_path: Path) -> None:
    async with recording(tmp_path / "events.jsonl") as bench:
        pass
    assert topics(bench.path) == []
    assert audit([bench.path]).faults == []


@pytest.mark.parametrize("kind", ["symlink", "pipe", "folder"])
async def test_a_path_that_leads_elsewhere_is_refused_and_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "events.jsonl"
    victim.write_text("precious")
    if kind == "symlink":
        path.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ConfigurationError, match=r"recorder\.path .* cannot be written: .*events\.jsonl: it is "):
        async with recording(path):
            raise AssertionError
    assert victim.read_text() == "precious"


async def test_another_name_of_the_file_keeps_its_content(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "events.jsonl"
    victim.write_text("precious")
    path.hardlink_to(victim)
    async with recording(path) as bench:
        bench.happen()
    assert victim.read_text() == "precious"
    assert path.read_bytes().startswith(b'{"bettensor":"event log"')


def modes(folder: Path, pattern: str = "*") -> dict[str, int]:
    """The permissions of the files in ``folder``."""
    return {file.name: stat.S_IMODE(file.lstat().st_mode) for file in folder.glob(pattern)}


async def test_all_files_are_private_without_a_umask_and_a_link_is_no_closed_file(tmp_path: Path) -> None:
    path, victim = tmp_path / "events.jsonl", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "events.000001.jsonl").symlink_to(victim)
    before = os.umask(0)
    try:
        async with recording(path):
            pass
        async with recording(path) as bench:
            bench.happen()
    finally:
        os.umask(before)
    assert modes(tmp_path, "*.jsonl*") == {"events.jsonl": 0o600, "events.000001.jsonl.gz": 0o600}
    assert victim.read_text() == "precious"
