"""Environments of their own for existing neurons: bittensor 9 and 10 cannot stand beside ours, which is 11.

An environment is made once, by ``venv`` and ``pip``. That may be interrupted at every instant, also by SIGKILL, and
begun by two processes at once: an environment without its stamp is made anew.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from bettensor.bus.errors import BettensorError
from bettensor.neurons.system import locks
from bettensor.neurons.system.processes import dying_with_parent

RELEASES: Final = (10, 9)
"""The releases of bittensor for which there is an environment."""
MODULES: Final = "bittensor.core.axon, bittensor.core.dendrite"
"""What must be importable in each; the first import also writes the bytecode, for quick starts."""
_STAMP: Final = "made"
"""The file that tells of what an environment was made; it is written last."""
_REASON: Final = "reason"
"""The file that tells why there is no environment."""
_LOOK: Final = 0.2
"""Seconds between two looks at a lock that another process holds."""
_ENVIRONMENT: Final = {
    "READ_ONLY": "1",  # bittensor makes no folders in the home
    "PYTHONDONTWRITEBYTECODE": "",
}
_LINES: Final = 3
"""Lines of the output of ``pip`` that a reason has."""


class CannotInstall(BettensorError):
    """An environment cannot be made on this machine; the message says why."""


def requirements_of(release: int) -> str:
    """What ``pip`` installs for a release of bittensor: the text of a requirements file."""
    return (resources.files("bettensor.neurons") / "data" / f"existing-{release}.txt").read_text(encoding="utf-8")


def home_of(release: int) -> Path:
    """The folder of a release's environment: beside our own packages if it is there, as make makes it; else a cache."""
    beside = Path(sys.prefix) / f"existing-{release}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return beside if beside.exists() else cache / "bettensor" / beside.name


class Environment:
    """An environment of Python with an older bittensor."""

    def __init__(self, folder: Path, requirements: str, modules: str = MODULES) -> None:
        """
        Args:
            folder: of this environment alone; it is made if it is not there.
            requirements: the text of a requirements file.
            modules: what must be importable, with commas between.
        """
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._requirements = requirements
        self._modules = modules

    def is_made(self) -> bool:
        """Whether it is whole, of the packages that are asked for, and its Python is ours and still there."""
        stamp = self.folder / _STAMP
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == self._mark() and self.python.exists()

    def reason(self) -> str:
        """Why it could not be made the last time; empty if nobody has tried."""
        file = self.folder / _REASON
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def make(self, say: Callable[[str], None]) -> None:
        """Make it, if it is not made; that takes some 10 to 60 seconds and needs the package index.

        Args:
            say: is told what takes time.

        Raises:
            CannotInstall: it cannot be made; the message says why.
        """
        if self.is_made():
            return
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder.with_name(f".{self.folder.name}.lock"), say) as lock:
                if not self.is_made():
                    say(f"making an environment of its own in {self.folder}: 10 to 60 seconds, this time only")
                    self._make_anew(lock)
        except OSError as error:
            raise CannotInstall(f"{self.folder} cannot be written: {error.strerror}") from None

    def _make_anew(self, lock: int) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self._run(lock, sys.executable, "-m", "venv", str(self.folder))
            asked_for = self.folder / "requirements.txt"
            asked_for.write_text(self._requirements, encoding="utf-8")
            pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile")
            self._run(lock, str(self.python), *pip, "--requirement", str(asked_for))
            self._run(lock, str(self.python), "-c", f"import {self._modules}")
        except CannotInstall as failure:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            (self.folder / _REASON).write_text(str(failure), encoding="utf-8")
            raise
        stamp = self.folder / f"{_STAMP}.new"
        stamp.write_text(self._mark(), encoding="utf-8")
        stamp.replace(self.folder / _STAMP)

    def _run(self, lock: int, *command: str) -> None:
        """Run a command that inherits the lock: if only this process is killed, the next one waits for its end."""
        done = subprocess.run(  # noqa: S603 - Python of this environment
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            pass_fds=(lock,),
            env=os.environ | _ENVIRONMENT,
            preexec_fn=dying_with_parent(),
        )
        if done.returncode:
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")] or lines
            ended = f"{' '.join(command[1:3])} ended with exit code {done.returncode}"
            raise CannotInstall("; ".join([ended, *errors[-_LINES:]]))

    def _mark(self) -> str:
        return f"{sys.version}\n{self._requirements}"


@contextlib.contextmanager
def _locked(file: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock of ``file`` for the block; if another process holds it, wait."""
    lock = _take(file)
    if lock is None:
        say("waiting for another process, which makes the same environment")
    while lock is None:
        time.sleep(_LOOK)
        lock = _take(file)
    try:
        yield lock
    finally:
        os.close(lock)


def _take(file: Path) -> int | None:
    try:
        return locks.take(file)
    except locks.Held:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one environment; this is what the Makefile runs.

    Returns:
        0 if it is made, or need not be; 1 if it is required and cannot be made.
    """
    parser = argparse.ArgumentParser(description="makes an environment with an older bittensor")
    parser.add_argument("folder", type=Path)
    parser.add_argument("release", type=int, choices=RELEASES)
    parser.add_argument("--required", action="store_true", help="fail if it cannot be made")
    asked = parser.parse_args(arguments)
    environment = Environment(asked.folder.absolute(), requirements_of(asked.release))
    try:
        environment.make(_say)
    except CannotInstall as failure:
        print(f"{asked.folder}: bittensor {asked.release} cannot be installed: {failure}", file=sys.stderr)
        return 1 if asked.required else 0
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
