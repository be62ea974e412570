"""``.ci/run`` runs the tests as an ordinary user in a clean environment, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support import interruptible

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 60.0
IS_ROOT: Final = os.geteuid() == 0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is for Debian")

MAKEFILE: Final = """
test check:
\t@echo "$@: user $$(id -u), $$(ulimit -S -n)/$$(ulimit -H -n) files, in $$PWD"
\t@env | sed 's/^/$@: /'
\t@touch "$$TMPDIR/left" "$$HOME/left" left; cat source
\t@test ! -e fails
\t@test ! -e waits || sleep 600
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose Makefile only tells how it is called; an ordinary user cannot read it."""
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "source").write_text("the source\n")
    for name in (".venv", "build"):
        (folder / name).mkdir()
    folder.chmod(0o700)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\necho a test installs nothing; exit 1\n")
    (tools / "apt-get").chmod(0o755)
    return folder


def start(checkout: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [checkout / ".ci" / "run"],
        env=os.environ
        | {"PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8", "PIP_MARK": "a b"}
        | {"PATH": f"{checkout.parent / 'tools'}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=interruptible,  # noqa: PLW1509 - it only sets a signal's handler
    )


def folder_of(said: str) -> Path:
    (line,) = [line for line in said.splitlines() if line.startswith("test: user ")]
    return Path(line.partition(", in ")[2]).parent


def test_the_tests_run_as_an_ordinary_user_and_the_quick_ones_as_root(checkout: Path) -> None:
    before = sorted(checkout.rglob("*"))
    process = start(checkout)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    lines = said.splitlines()
    assert "test: user 0," not in said
    assert said.count("1024/1024 files") == said.count("the source") == (2 if IS_ROOT else 1)
    assert ("check: user 0, " in said) == IS_ROOT
    assert {"test: PIP_MARK=a b", "test: REQUIRE_EXISTING=yes", "test: LOCKED=yes"} <= set(lines)
    assert ("check: LOCKED=yes" in lines) == IS_ROOT
    for name in ("PYTHONUNBUFFERED", "LANG", "USER", "LC_ALL"):
        assert f"test: {name}=" not in said
    assert sorted(checkout.rglob("*")) == before
    assert not folder_of(said).exists()


def test_a_failure_ends_it_with_its_exit_code(checkout: Path) -> None:
    (checkout / "fails").touch()
    process = start(checkout)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, said
    assert "check: " not in said
    assert not folder_of(said).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_interrupts_it_finds_nothing_left(checkout: Path, number: signal.Signals) -> None:
    (checkout / "waits").touch()
    process = start(checkout)
    assert process.stdout is not None
    said = ""
    while "the source" not in said:
        said += process.stdout.readline()
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert not folder_of(said).exists()
