"""A change is noticed whenever it comes: while a file is read, before the watch begins, or long after."""

import asyncio
import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.system import files
from bettensor.neurons.system.files import at_home, changes_of, look_at, temporary_file, why_unwatched
from tests.neurons.unwatched import REASONS, refuse_watches

PATIENCE = 10.0


async def next_change(changes: AsyncIterator[None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await anext(changes)


def change(file: Path, text: str = "something else") -> None:
    file.write_text(text)


def replace(file: Path) -> None:
    change(file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


DONE_TO_IT: Final[dict[str, Callable[[Path], None]]] = {"written": change, "replaced": replace, "deleted": Path.unlink}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "games.json"
    file.write_text("one")
    return file


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks every 50 ms, and not every second or every 5 s."""
    monkeypatch.setattr(files, "LOOK", 50)
    monkeypatch.setattr(files, "POLL", 50)


@pytest.mark.usefixtures("often")
async def test_a_change_between_the_reading_and_the_watch_is_noticed(file: Path) -> None:
    seen = look_at([file])
    change(file)
    async with aclosing(changes_of(lambda: [file], seen)) as changes:
        await next_change(changes)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("how", DONE_TO_IT)
async def test_a_change_is_noticed_once(file: Path, how: str) -> None:
    async with aclosing(changes_of(lambda: [file])) as changes:
        noticed = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.1)
        assert not noticed.done()
        DONE_TO_IT[how](file)
        await noticed
        again = asyncio.ensure_future(next_change(changes))
        change(file.with_name("another"))
        await asyncio.sleep(0.2)
        assert not again.done()
        change(file)
        await again


@pytest.mark.usefixtures("often")
async def test_a_file_that_is_written_in_parts_is_a_change_when_it_has_settled(file: Path) -> None:
    async with aclosing(changes_of(lambda: [file], settle=0.5)) as changes:
        noticed = asyncio.ensure_future(next_change(changes))
        for part in ("", "a: 1\n", "a: 1\nb: 2\n"):
            change(file, part)
            await asyncio.sleep(0.2)
            assert not noticed.done()
        await noticed
        again = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.7)
        assert not again.done()
        change(file)
        await again


@pytest.mark.usefixtures("often")
async def test_a_file_that_never_settles_is_a_change_all_the_same(file: Path) -> None:
    async with aclosing(changes_of(lambda: [file], settle=0.1)) as changes:
        noticed = asyncio.ensure_future(next_change(changes))
        for number in range(200):
            change(file, str(number))
            await asyncio.sleep(0.02)
            if noticed.done():
                break
        assert noticed.done()


@pytest.mark.usefixtures("often")
async def test_who_names_another_file_gets_that_one_watched(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "games.json"
    other.parent.mkdir()
    other.write_text("one")
    named = [file]
    async with aclosing(changes_of(lambda: named)) as changes:
        noticed = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.1)
        named[:] = [file, other]
        change(file)
        await noticed
        noticed = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.1)
        change(other)
        await noticed


@pytest.mark.usefixtures("often")
async def test_a_link_that_leads_elsewhere_is_a_change_and_what_it_leads_to_is_watched(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "games.json").write_text(release)
    current, new = tmp_path / "current", tmp_path / "new"
    current.symlink_to("one")
    async with aclosing(changes_of(lambda: [current / "games.json"])) as changes:
        noticed = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.1)
        new.symlink_to("two")
        new.replace(current)
        await noticed
        noticed = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.1)
        change(tmp_path / "two" / "games.json")
        await noticed


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("why", REASONS)
@pytest.mark.parametrize("how", DONE_TO_IT)
async def test_a_system_that_refuses_to_watch_is_told_of_and_changes_are_noticed(
    file: Path, how: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_watches(monkeypatch, why)
    told: list[str] = []
    async with aclosing(changes_of(lambda: [file], unwatched=told.append)) as changes:
        noticed = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.1)
        DONE_TO_IT[how](file)
        await noticed
        noticed = asyncio.ensure_future(next_change(changes))
        change(file)
        await noticed
    assert told == [REASONS[why]]
    assert why_unwatched(file.parent) == REASONS[why]


@pytest.mark.usefixtures("often")
async def test_a_watch_that_begins_anew_may_be_refused_and_a_later_one_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for release in ("one", "two", "three"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "games.json").write_text(release)
    current, new, told = tmp_path / "current", tmp_path / "new", list[str]()
    current.symlink_to("one")
    async with aclosing(changes_of(lambda: [current / "games.json"], unwatched=told.append)) as changes:
        for release in ("two", "three"):
            noticed = asyncio.ensure_future(next_change(changes))
            await asyncio.sleep(0.1)
            with monkeypatch.context() as meanwhile:
                refuse_watches(meanwhile)
                new.symlink_to(release)
                new.replace(current)
                await noticed
                if release == "two":
                    noticed = asyncio.ensure_future(next_change(changes))
                    await asyncio.sleep(0.1)
                    change(tmp_path / "two" / "games.json")
                    await noticed
    assert told == [REASONS["no instance is left"]]


@pytest.mark.usefixtures("often")
async def test_a_folder_that_does_not_exist_yet_is_no_reason_to_end(tmp_path: Path) -> None:
    told: list[str] = []
    file = tmp_path / "later" / "games.json"
    async with aclosing(changes_of(lambda: [file], unwatched=told.append)) as changes:
        noticed = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0.1)
        file.parent.mkdir()
        file.touch()
        await noticed
    assert told == []


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("max_inotify_instances", REASONS["no instance is left"]), ("max_inotify_watches", REASONS["no watch is left"])],
)
def test_a_real_system_without_watches_is_one_that_refuses(tmp_path: Path, limit: str, reason: str) -> None:
    """In a user namespace of its own, whose limits are its own."""
    code = f"from pathlib import Path; from {why_unwatched.__module__} import why_unwatched as why; print(why(Path()))"
    begin = f'echo 0 > /proc/sys/user/{limit} || exit 77; exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", begin, "sh", sys.executable, "-c", code]
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs user namespaces")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"no user namespace is permitted here: {done.stderr}")
    assert done.stdout == f"{reason}\n", done.stderr
    assert why_unwatched(tmp_path) == ""


def test_a_home_folder_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/mine")
    assert at_home("~/wallets") == Path("/home/of/mine/wallets")
    with pytest.raises(ConfigurationError, match="~nobody-here/x: there is no such home folder; write the whole path"):
        at_home("~nobody-here/x")


def test_links_in_a_circle_are_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert list(look_at([tmp_path / "circle"]).values()) == [None]


def test_a_file_is_replaced_in_one_step_also_where_a_link_leads_to_it(tmp_path: Path) -> None:
    file, link = tmp_path / "data" / "games.json", tmp_path / "games.json"
    file.parent.mkdir()
    file.write_text("what was there")
    link.symlink_to(file)
    with file.open() as before:
        files.replace(link, "é".encode())
        assert before.read() == "what was there"
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8") == "é"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("durable", [False, True])
def test_what_must_survive_a_power_cut_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    file, part, synced = tmp_path / "kept.json", tmp_path / ".kept.json.part", []
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((file.read_bytes(), part.read_bytes())))
    files.replace(file, b"new", durable=durable)
    assert synced == ([(b"old", b"new")] if durable else [])
    assert file.read_bytes() == b"new"


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "kept.json"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(file, b"new", durable=True)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.replace(pipe, b"new")
    assert os.read(reader, 8) == b"new"
    os.close(reader)
    assert pipe.is_fifo()


def test_links_in_a_circle_are_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    files.replace(tmp_path / "circle", b"new")
    assert (tmp_path / "circle").read_bytes() == b"new"


def test_a_temporary_file_is_gone_unless_it_was_renamed(tmp_path: Path) -> None:
    file, kept = tmp_path / "part", tmp_path / "whole"
    file.write_text("a leftover")
    with temporary_file(file):
        assert file.read_bytes() == b""
    with temporary_file(file):
        file.write_text("new")
        file.rename(kept)
    assert list(tmp_path.iterdir()) == [kept]


def test_a_temporary_file_is_private_from_its_first_byte_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with temporary_file(tmp_path / "part") as part:
            assert stat.S_IMODE(part.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_temporary_file_follows_no_link_of_its_name(tmp_path: Path) -> None:
    victim, part = tmp_path / "victim", tmp_path / "part"
    victim.write_text("precious")
    part.symlink_to(victim)
    with temporary_file(part):
        part.write_text("new")
    part.hardlink_to(victim)
    with temporary_file(part):
        part.write_text("new")
    assert victim.read_text() == "precious"


def test_a_new_file_has_the_mode_that_is_asked_for_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        files.replace(tmp_path / "games.json", b"1")
        files.replace(tmp_path / "kept.json", b"1", mode=files.PRIVATE)
        (tmp_path / "mine.json").touch(0o640)
        files.replace(tmp_path / "mine.json", b"1")
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"games.json": 0o644, "kept.json": 0o600, "mine.json": 0o640}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    victim, link, through = tmp_path / "victim", tmp_path / "games.json", tmp_path / "mine.json"
    victim.write_text("precious")
    link.symlink_to(victim)
    os.lchown(link, 12345, 12345)
    through.symlink_to(link)
    for file in (link, through):
        with pytest.raises(PermissionError, match=r"games\.json is a link of another user; choose another folder"):
            files.replace(file, b"new")
    assert victim.read_text() == "precious"


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1024)
    assert files.read_file(file, 1024) == b"x" * 1024
    with pytest.raises(files.Unfit, match="it has more than 1023 bytes; make it smaller"):
        files.read_file(file, 1023)
    with pytest.raises(IsADirectoryError):
        files.read_file(tmp_path, 1024)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "fifo"])
def test_a_device_or_a_pipe_is_not_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(files.Unfit, match="it is a pipe or a device; save it as a file"):
        files.read_file(tmp_path / name, 1024)


@pytest.mark.parametrize(("count", "text"), [(64 * 1024, "64 KiB"), (4 << 20, "4 MiB"), (1536 << 10, "1536 KiB")])
def test_a_limit_is_told_in_its_unit(count: int, text: str) -> None:
    assert files.size(count) == text
