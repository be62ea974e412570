"""An existing neuron as a process: it is told its commands, and tells what happens."""

import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any, Final, Literal, Self, cast

from bettensor.bus.errors import BettensorError
from bettensor.neurons.system.processes import dying_with_parent

PROGRAM: Final = Path(__file__).with_name("program.py")
"""What the Python of an environment runs."""
STOP_TIMEOUT: Final = 10.0
"""Seconds for a process to stop; then it is killed."""

Role = Literal["miner", "validator"]
Json = dict[str, Any]


class Silent(BettensorError):
    """An existing neuron has not told in time what must come, or has ended; the message has the end of its log."""


class ExistingProcess:
    """A process that runs ``program.py``; it ends with this one."""

    def __init__(self, python: Path, role: Role, settings: Json, log: Path) -> None:
        """
        Args:
            python: of an environment with bittensor 9 or 10.
            role: what it is.
            settings: what the program needs to know, as ``program.py`` reads it.
            log: where its log and its errors are appended.
        """
        self._log = log
        self._heard: list[Json] = []
        self._has_ended = False
        self._news = threading.Condition()
        with log.open("ab") as sink:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [python, "-P", PROGRAM, role],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                env=os.environ | {"READ_ONLY": "1"},  # so that bittensor makes no folders in the home
                preexec_fn=dying_with_parent(),  # noqa: PLW1509 - it only makes system calls
            )
        self._stdin = cast("IO[str]", self.process.stdin)
        self._stdout = cast("IO[str]", self.process.stdout)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.tell(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, command: Json) -> None:
        """Give it a command; nothing happens if it has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(f"{json.dumps(command)}\n")
            self._stdin.flush()

    def all(self, what: str) -> list[Any]:
        """All that it has told of one kind."""
        with self._news:
            return [line[what] for line in self._heard if what in line]

    def await_news(self, what: str, count: int = 1, timeout: float = 30.0) -> list[Any]:
        """Wait until it has told ``count`` things of one kind.

        Args:
            what: the kind.
            count: how many since its start.
            timeout: seconds.

        Raises:
            Silent: it has not told them in time, or has ended.
        """
        deadline = time.monotonic() + timeout
        with self._news:
            while len(told := self.all(what)) < count:
                left = deadline - time.monotonic()
                if left <= 0 or self._has_ended:
                    raise Silent(f"an existing neuron did not tell {what!r} {count} times:\n{self.end_of_log()}")
                self._news.wait(left)
        return told

    def end_of_log(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def close(self) -> int:
        """End it, and wait for that; returns its exit code."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            code = self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join()
        self._stdout.close()
        return code

    def _read(self) -> None:
        for line in self._stdout:
            with self._news:
                self._heard.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()
