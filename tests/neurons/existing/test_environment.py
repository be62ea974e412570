"""An environment is whole or counts for nothing. Its only package is one that this test makes: it needs no index."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

from bettensor.neurons.existing import environment
from bettensor.neurons.existing.environment import CannotInstall, Environment, home_of, main, requirements_of

PATIENCE: Final = 60.0


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package as small as one can be."""
    file = tmp_path / "tiny-1.0-py3-none-any.whl"
    about = "tiny-1.0.dist-info"
    contents = {
        "tiny.py": "WHOLE = True\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": f"tiny.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n",
    }
    with ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


def requirements(wheel: Path) -> str:
    return f"--no-index\n{wheel.as_uri()}\n"


def environment_of(wheel: Path, more: str = "") -> Environment:
    return Environment(wheel.parent / "existing", requirements(wheel) + more, "tiny")


def silent(_: str) -> None:
    pass


@pytest.mark.slow
def test_an_environment_is_made_once_and_again_if_something_changed(wheel: Path) -> None:
    said: list[str] = []
    made = environment_of(wheel)
    assert not made.is_made()
    made.make(said.append)
    assert made.is_made()
    made.make(said.append)
    assert len(said) == 1
    assert f"making an environment of its own in {made.folder}" in said[0]
    changed = environment_of(wheel, "# other packages\n")
    assert not changed.is_made()
    changed.make(said.append)
    assert changed.is_made()
    assert not made.is_made()
    assert len(said) == 2
    made.python.unlink()
    assert not changed.is_made()


@pytest.mark.slow
def test_an_interrupted_one_is_made_anew(wheel: Path) -> None:
    made = environment_of(wheel)
    with start(wheel) as process:
        until(made.python.exists, "the environment has begun")
        process.kill()
    assert not made.is_made()
    made.make(silent)
    assert made.is_made()


@pytest.mark.slow
def test_of_two_at_once_one_makes_it_and_the_other_waits(wheel: Path) -> None:
    made = environment_of(wheel)
    with start(wheel) as first:
        until(made.folder.exists, "the first has begun")
        with start(wheel) as second:
            said = [process.communicate(timeout=PATIENCE)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "making an environment" in said[0]
    assert said[1] == "waiting for another process, which makes the same environment\n"
    assert made.is_made()


def start(wheel: Path) -> "subprocess.Popen[str]":
    """A process that makes the environment."""
    code = (
        "import sys; from pathlib import Path; from bettensor.neurons.existing.environment import Environment\n"
        "Environment(Path(sys.argv[1]), sys.argv[2], 'tiny').make(lambda said: print(said, flush=True))"
    )
    command = [sys.executable, "-c", code, str(wheel.parent / "existing"), requirements(wheel)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked_for", "reason"),
    [
        ("no-such-package-there", "-m pip ended with .+No matching distribution found for no-such-package-there"),
        ("", "-c import tiny ended with exit code 1.+No module named 'tiny'"),
    ],
)
def test_what_cannot_be_installed_leaves_its_reason(tmp_path: Path, asked_for: str, reason: str) -> None:
    missing = Environment(tmp_path / "existing", f"--no-index\n{asked_for}\n", "tiny")
    assert missing.reason() == ""
    with pytest.raises(CannotInstall, match=reason):
        missing.make(silent)
    assert re.search(reason, missing.reason())
    assert not missing.is_made()
    assert not missing.python.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotInstall, match=r"file/existing cannot be written: .+"):
        Environment(tmp_path / "file" / "existing", "").make(silent)


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--required",), 1)])
def test_the_command_of_make_fails_only_if_it_must_not(
    tmp_path: Path, flags: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "file" / "existing-9"
    folder.parent.touch()
    assert main([str(folder), "9", *flags]) == code
    told = capsys.readouterr().err
    assert re.fullmatch(rf"{folder}: bittensor 9 cannot be installed: {folder} cannot be written: .+\n", told)


def test_the_requirements_of_both_releases_name_no_other_place_than_the_index() -> None:
    for release in environment.RELEASES:
        text = requirements_of(release)
        assert f"<{release + 1}" in next(line for line in text.splitlines() if line.startswith("bittensor>="))
        assert "://" not in text
        assert "--" not in text


def test_the_environment_beside_our_packages_goes_before_the_one_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home_of(10) == tmp_path / "cache" / "bettensor" / "existing-10"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_of(10) == tmp_path / ".cache" / "bettensor" / "existing-10"
    (tmp_path / "venv" / "existing-10").mkdir(parents=True)
    assert home_of(10) == tmp_path / "venv" / "existing-10"
