"""A private file is its owner's alone from the first byte, and no link leads a neuron to somebody else's file."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bettensor.neurons.system import private
from bettensor.neurons.system.private import (
    NotPrivate,
    create_private,
    open_private,
    own_folder,
    refuse_foreign,
    tighten,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("make", [open_private, create_private])
def test_a_new_file_is_private_without_a_umask(tmp_path: Path, make: object) -> None:
    assert callable(make)
    os.close(make(tmp_path / "file"))
    assert mode(tmp_path / "file") == 0o600


def test_an_old_file_keeps_its_content_and_loses_its_readers(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    assert mode(file) == 0o666
    opened = open_private(file)
    assert os.read(opened, 8) == b"old"
    os.close(opened)
    assert mode(file) == 0o600


def test_a_former_file_is_replaced_and_its_other_names_keep_its_content(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("old")
    other.hardlink_to(file)
    opened = create_private(file)
    os.write(opened, b"new")
    os.close(opened)
    assert (file.read_text(), other.read_text()) == ("new", "old")


@pytest.mark.parametrize("refuse", [open_private, create_private, refuse_foreign])
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("link", "file: it is a symbolic link; delete it, or put the file itself here"),
        ("dangling", "file: it is a symbolic link"),
        ("circle", "file: it is a symbolic link"),
        ("pipe", "file: it is no regular file; move it away"),
        ("folder", "file: it is no regular file; move it away"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_and_stays(tmp_path: Path, refuse: object, kind: str, fault: str) -> None:
    file, victim = tmp_path / "file", tmp_path / "victim"
    victim.write_text("precious")
    match kind:
        case "link":
            file.symlink_to(victim)
        case "dangling":
            file.symlink_to(tmp_path / "absent")
        case "circle":
            file.symlink_to(file)
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
    assert callable(refuse)
    with pytest.raises(NotPrivate) as refused:
        refuse(file)
    assert fault in str(refused.value)
    assert refused.value.filename == str(file)
    assert victim.read_text() == "precious"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "victim"]
    assert mode(victim) == 0o666


@as_root
@pytest.mark.parametrize("refuse", [open_private, create_private, refuse_foreign, tighten])
def test_a_file_of_another_user_is_refused(tmp_path: Path, refuse: object) -> None:
    file = tmp_path / "file"
    file.write_text("theirs")
    os.chown(file, 12345, 12345)
    assert callable(refuse)
    with pytest.raises(NotPrivate, match=r"file: it belongs to another user \(UID 12345\); give it to this"):
        refuse(file)
    assert file.read_text() == "theirs"


def test_a_file_that_is_exchanged_for_a_link_in_the_last_moment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, victim = tmp_path / "file", tmp_path / "victim"
    victim.write_text("precious")
    file.write_text("")

    def too_late(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(victim)

    monkeypatch.setattr(private, "refuse_foreign", too_late)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    file.rename(tmp_path / "away")
    with pytest.raises(FileExistsError):
        create_private(file)
    assert victim.read_text() == "precious"


def test_what_others_may_read_is_tightened_once_and_a_link_is_left_alone(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)
    assert not tighten(link)
    assert tighten(file)
    assert not tighten(file)
    assert mode(file) == 0o600


def test_a_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    assert own_folder(tmp_path / "above" / "new") is None
    assert mode(tmp_path / "above" / "new") == 0o700
    assert mode(tmp_path / "above") == 0o755  # without a umask


@pytest.mark.parametrize(
    ("before", "after", "told"), [(0o777, 0o700, 0o777), (0o770, 0o700, 0o770), (0o755, 0o755, None)]
)
def test_a_folder_to_which_others_may_write_is_tightened(
    tmp_path: Path, before: int, after: int, told: int | None
) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir(before)
    link.symlink_to(folder)  # the operator's own
    assert own_folder(link) == told
    assert mode(folder) == after


@as_root
def test_a_folder_of_another_user_is_refused_with_the_cure(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(NotPrivate, match=r"folder: it belongs to another user \(UID 12345\); give it to this user"):
        own_folder(folder)


def test_a_file_system_that_keeps_no_permissions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(0o777)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    with pytest.raises(NotPrivate, match="all users may write to it, and its file system does not let that be changed"):
        own_folder(folder)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="File exists"):
        own_folder(tmp_path / "file")
