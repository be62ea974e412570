"""One neuron has one folder; a folder that it cannot have now is told apart from one that it can never have."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError, Unavailable
from bettensor.neurons.state_dir import lock_state_dir, secure_state_dir


def test_a_folder_is_made_for_its_owner_alone_and_says_whose_it_is(tmp_path: Path) -> None:
    state_dir = tmp_path / "deep" / "state"
    lock = lock_state_dir(state_dir)
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert (state_dir / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(Unavailable, match=rf"is in use by another neuron \(process {os.getpid()}\)"):
        lock_state_dir(state_dir)
    os.close(lock)
    os.close(lock_state_dir(state_dir))


def test_a_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bettensor.neurons.state_dir import lock_state_dir; "
        "lock_state_dir(Path(sys.argv[1])); os.abort()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert done.returncode < 0
    os.close(lock_state_dir(tmp_path))
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_may_have_room_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", full)
    for _ in range(2):  # the lock is let go
        with pytest.raises(Unavailable, match=rf"state_dir .* cannot be used: .*{os.strerror(number)}"):
            lock_state_dir(tmp_path)


def test_a_disk_without_locks_is_not_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Unavailable, match=r"cannot be used: .*No locks available"):
        lock_state_dir(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/state", "taken", "circle"])
def test_what_is_no_folder_is_to_be_corrected(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "lock").mkdir(parents=True)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ConfigurationError, match=rf"state_dir .*{place} cannot be used"):
        lock_state_dir(tmp_path / place)


def test_links_that_form_a_circle_are_named_as_such(tmp_path: Path) -> None:
    circle, state = tmp_path / "circle", tmp_path / "circle" / "state"
    circle.symlink_to(circle)
    for state_dir in (circle, state):
        with pytest.raises(ConfigurationError) as refused:
            secure_state_dir(state_dir)
        cure = "its symbolic links form a circle; delete the link, or set another folder"
        assert str(refused.value) == f"state_dir {state_dir} cannot be used: {circle}: {cure}"


def test_a_link_to_a_folder_that_does_not_exist_is_named_as_such(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "unmounted" / "state"
    link.symlink_to(target)
    with pytest.raises(ConfigurationError) as refused:
        secure_state_dir(link)
    cure = "it is a symbolic link to a folder that does not exist; make that folder, or set another one"
    assert str(refused.value) == f"state_dir {link} cannot be used: {link}: {cure}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_to_be_corrected(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match=r"cannot be used: .*Permission denied"):
        lock_state_dir(tmp_path / "state")
    tmp_path.chmod(0o700)


def test_a_refusal_is_to_be_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:  # as for a user that is not root
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        lock_state_dir(tmp_path / "state")


def test_files_that_others_could_read_are_tightened_and_told_once(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    state_dir.chmod(0o777)
    theirs = ["ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3.before-20260101T000000Z", "events.jsonl"]
    for name in (*theirs, "events.000001.jsonl.gz", "metagraph.json", "games.json"):
        (state_dir / name).touch()
        (state_dir / name).chmod(0o644)
    (state_dir / "outbox.sqlite3").symlink_to(tmp_path / "elsewhere")
    told = secure_state_dir(state_dir)
    assert told == (
        "the folder itself (0777)",
        "events.000001.jsonl.gz (0644)",
        "events.jsonl (0644)",
        "ledger.sqlite3 (0644)",
        "ledger.sqlite3-wal (0644)",
        "ledger.sqlite3.before-20260101T000000Z (0644)",
        "metagraph.json (0644)",
    )
    assert secure_state_dir(state_dir) == ()
    assert {name: (state_dir / name).stat().st_mode & 0o777 for name in (*theirs, "games.json")} == dict.fromkeys(
        theirs, 0o600
    ) | {"games.json": 0o644}


@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe"])
def test_a_lock_that_leads_elsewhere_is_refused_and_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    state_dir, victim = tmp_path / "state", tmp_path / "victim"
    state_dir.mkdir()
    victim.write_text("precious")
    lock = state_dir / "lock"
    {"symlink": lambda: lock.symlink_to(victim), "hard link": lambda: lock.hardlink_to(victim)}.get(
        kind, lambda: os.mkfifo(lock)
    )()
    with pytest.raises(ConfigurationError, match=r"state_dir .* cannot be used: .*/lock: it is "):
        lock_state_dir(state_dir)
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(ConfigurationError, match=r"it belongs to another user \(UID 12345\); give it to this user"):
        lock_state_dir(tmp_path)
    assert list(tmp_path.iterdir()) == []
