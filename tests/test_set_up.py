"""``make`` sets up its packages whenever it was interrupted before, and whoever else runs it. Its Python is a fake.

The fake behaves as ``venv`` and ``pip`` do if they are killed: an environment without pip, and a package of which half
is there and which pip takes for installed.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support import interruptible

ROOT: Final = Path(__file__).parents[1]
MAKE: Final = shutil.which("make") or "make"
PATIENCE: Final = 30.0
STAGES: Final = ("venv begins", "venv has no pip", "pip begins", "pip has written half", "pip has written all")

LOCKED: Final = "LOCKED=yes"
HASHED: Final = [
    "-m pip install --disable-pip-version-check --require-hashes --only-binary :all: --no-deps"
    " --requirement .ci/requirements-dev.txt",
    "-m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .",
]
"""What pip is asked for, if packages are locked."""

FAKE: Final = """#!/bin/sh
stage() {
    echo "$1" >> stages
    test "$STOP_AT" = "$1" || return 0
    while ! test -e go; do sleep 0.02; done
}
packages=$(dirname "$0")/../lib
case "$*" in
    -I*) test "$(cat "$packages/bettensor" 2>/dev/null)" = "$PWD" && echo ok ;;
    "-m venv .venv")
        stage "venv begins"
        mkdir -p .venv/bin .venv/lib && cp "$0" .venv/bin/python
        stage "venv has no pip"
        touch .venv/bin/pip ;;
    "-m pip check") ;;
    "-m pip install"*)
        echo "$*" >> asked
        test -e "$(dirname "$0")/pip" || { echo "No module named pip"; exit 1; }
        stage "pip begins"
        if ! test -e "$packages/dependency"; then
            echo half > "$packages/dependency"
            stage "pip has written half"
            echo whole > "$packages/dependency"
        fi
        case "$*" in *--editable*) echo "$PWD" > "$packages/bettensor" ;; esac
        case "$*" in *dev*) touch "$packages/dev" ;; esac
        stage "pip has written all" ;;
    "-m bettensor."*) echo "python $*" ;;
esac
"""


class Checkout:
    """A folder with this Makefile, and the fake Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        package = folder / "neurons" / "package"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        self.python = folder.with_name("python")
        self.python.write_text(FAKE)
        self.python.chmod(0o755)
        self.running: list[subprocess.Popen[str]] = []

    def start(self, target: str = ".dev", *flags: str, stop_at: str = "") -> "subprocess.Popen[str]":
        for name in ("stages", "asked", "go"):
            (self.folder / name).unlink(missing_ok=True)
        process = subprocess.Popen(
            [MAKE, f"PYTHON={self.python}", *flags, f".venv/{target}"],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "STOP_AT": stop_at},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=interruptible,  # noqa: PLW1509 - it only sets a signal's handler
        )
        self.running.append(process)
        return process

    def stages(self) -> list[str]:
        return self._lines("stages")

    def asked(self) -> list[str]:
        """What pip was asked to install."""
        return self._lines("asked")

    def _lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def reach(self, stage: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while stage not in self.stages():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def go(self) -> None:
        (self.folder / "go").touch()

    def is_whole(self) -> bool:
        packages = self.folder / ".venv" / "lib"
        whole = (packages / "dependency").read_text() == "whole\n"
        return whole and (packages / "bettensor").read_text() == f"{self.folder}\n" and (packages / "dev").exists()


def end(process: "subprocess.Popen[str]") -> str:
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path / "a checkout")
    yield made
    made.go()
    for process in made.running:
        process.communicate(timeout=PATIENCE)


def test_what_is_set_up_is_left_alone(checkout: Checkout) -> None:
    assert "== packages" in end(checkout.start())
    assert checkout.is_whole()
    assert "== packages" not in end(checkout.start())
    assert checkout.stages() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("stage", STAGES)
def test_a_set_up_that_was_interrupted_is_done_again(checkout: Checkout, stage: str, number: signal.Signals) -> None:
    interrupted = checkout.start(stop_at=stage)
    checkout.reach(stage)
    os.killpg(interrupted.pid, number)
    interrupted.communicate(timeout=PATIENCE)
    assert interrupted.returncode != 0
    end(checkout.start())
    assert checkout.is_whole()
    assert end(checkout.start()) == end(checkout.start())


@pytest.mark.parametrize("stage", STAGES[2:])
def test_an_interrupted_addition_to_a_whole_environment_leaves_nothing_that_counts_as_whole(
    checkout: Checkout, stage: str
) -> None:
    end(checkout.start(".run"))
    (checkout.folder / ".venv" / "lib" / "dependency").unlink()  # pip replaces it
    interrupted = checkout.start(stop_at=stage)
    checkout.reach(stage)
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.communicate(timeout=PATIENCE)
    end(checkout.start(".run"))
    end(checkout.start())
    assert checkout.is_whole()


@pytest.mark.parametrize("stage", STAGES)
def test_a_set_up_of_locked_packages_that_was_interrupted_is_done_again(checkout: Checkout, stage: str) -> None:
    interrupted = checkout.start(".dev", LOCKED, stop_at=stage)
    checkout.reach(stage)
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.communicate(timeout=PATIENCE)
    end(checkout.start(".dev", LOCKED))
    assert checkout.is_whole()
    assert checkout.asked() == HASHED
    assert "== packages" not in end(checkout.start(".dev", LOCKED))


def test_packages_that_may_be_others_than_the_locked_ones_are_replaced(checkout: Checkout) -> None:
    end(checkout.start())
    assert checkout.asked() == ["-m pip install --disable-pip-version-check --editable .[dev]"]
    end(checkout.start(".dev", LOCKED))
    assert checkout.stages()[0] == "venv begins"
    assert checkout.asked() == HASHED
    assert checkout.is_whole()


def test_locked_packages_do_for_whoever_wants_none_locked(checkout: Checkout) -> None:
    end(checkout.start(".dev", LOCKED))
    assert "== packages" not in end(checkout.start())


def test_other_locked_packages_are_installed_only_for_who_wants_them(checkout: Checkout) -> None:
    end(checkout.start(".dev", LOCKED))
    later = time.time() + 5
    os.utime(checkout.folder / ".ci" / "requirements-dev.txt", (later, later))
    assert "== packages" not in end(checkout.start())
    assert "== packages" in end(checkout.start(".dev", LOCKED))
    assert checkout.asked() == HASHED


def test_packages_that_were_added_to_locked_ones_are_no_locked_ones(checkout: Checkout) -> None:
    end(checkout.start(".dev", LOCKED))
    later = time.time() + 5
    os.utime(checkout.folder / "pyproject.toml", (later, later))
    end(checkout.start())
    end(checkout.start(".dev", LOCKED))
    assert checkout.stages()[0] == "venv begins"
    assert checkout.asked() == HASHED


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock of util-linux")
def test_of_two_at_once_one_sets_up_and_the_other_waits(checkout: Checkout) -> None:
    first = checkout.start(stop_at="pip has written half")
    checkout.reach("pip has written half")
    second = checkout.start()
    assert second.stdout is not None
    assert "waiting for another make" in second.stdout.readline()
    checkout.go()
    end(first)
    end(second)
    assert checkout.is_whole()
    assert checkout.stages() == ["pip has written all"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock of util-linux")
def test_a_pip_that_outlives_its_make_is_waited_for(checkout: Checkout) -> None:
    killed = checkout.start(stop_at="pip has written half")
    checkout.reach("pip has written half")
    killed.kill()  # its children run on
    second = checkout.start()
    assert second.stdout is not None
    assert "waiting for another make" in second.stdout.readline()
    checkout.go()
    end(second)
    assert checkout.is_whole()


def test_an_environment_whose_python_was_removed_is_made_anew(checkout: Checkout) -> None:
    end(checkout.start())
    python = checkout.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("python3.99")
    end(checkout.start())
    assert checkout.stages() == list(STAGES)
    assert checkout.is_whole()


def test_a_folder_that_was_moved_is_set_up_anew(checkout: Checkout, tmp_path: Path) -> None:
    end(checkout.start())
    checkout.folder = checkout.folder.rename(tmp_path / "moved")
    end(checkout.start())
    assert checkout.is_whole()


def test_a_missing_python_is_told_with_what_to_install(checkout: Checkout) -> None:
    process = subprocess.run(
        [MAKE, "PYTHON=", ".venv/.run"], cwd=checkout.folder, capture_output=True, text=True, check=False
    )
    assert process.returncode != 0
    assert "Python 3.11 or newer is needed; on Debian: apt install python3 python3-venv" in process.stdout


@pytest.mark.parametrize(("flags", "required"), [((), ""), (("REQUIRE_EXISTING=yes",), " --required")])
def test_an_environment_for_existing_neurons_is_made_by_ours(
    checkout: Checkout, flags: tuple[str, ...], required: str
) -> None:
    said = end(checkout.start("existing-9", *flags))
    assert f"python -m bettensor.neurons.existing.environment .venv/existing-9 9{required}\n" in said


def test_make_alone_lists_what_it_can_do(checkout: Checkout) -> None:
    listed = subprocess.run([MAKE], cwd=checkout.folder, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "check", "test", "lint", "format", "bench", "chaos", "lock", "audit", "package", "clean"):
        assert f"make {target} " in listed
