"""A neuron on a terminal that is closed ends in good order; one that has no terminal, or was told to stay, stays."""

import asyncio
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bettensor.bus.errors import BettensorError, Unavailable
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.state_dir import lock_state_dir
from tests.loopback.processes import free_port
from tests.loopback.rig import running_validator, write_configuration

PATIENCE = 30.0
SETSID = shutil.which("setsid")
pytestmark = pytest.mark.skipif(SETSID is None, reason="needs setsid of util-linux, which gives a process a terminal")


def neuron(folder: Path) -> list[str]:
    """The command of a validator in ``folder``."""
    config = write_configuration(folder, axon={"ip": "127.0.0.1", "port": free_port()})
    return [sys.executable, "-m", "bettensor", "validator", "--config", str(config)]


class Terminal:
    """A terminal with one process as the leader of its session."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [str(SETSID), "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, cwd=folder
        )
        self._slave = slave  # open, so that the last words of the process can be read
        self._open = True

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, text: str) -> str:
        """Read until the process has written ``text``."""
        told, deadline = "", time.monotonic() + PATIENCE
        while text not in told:
            assert select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0], told
            told += os.read(self._master, 65536).decode(errors="replace")
        return told

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._slave)
            os.close(self._master)


@contextmanager
def on_terminal(command: list[str], folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(command, folder)
    try:
        yield terminal
    finally:
        terminal.close()
        terminal.process.kill()
        terminal.process.wait()


def process_of(folder: Path) -> int:
    """Wait until the neuron works; returns its process."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(BettensorError):
            status = ask(folder / "state", {"ask": "status", "slates": False})
            if status["listening"]:
                return int(status["process"])
        time.sleep(0.05)
    raise AssertionError("the neuron does not work")


def wait_for_end(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(Unavailable):
            os.close(lock_state_dir(folder / "state"))
            return
        time.sleep(0.05)
    raise AssertionError("the neuron has not ended")


def test_its_end_stops_the_neuron_that_writes_to_it(tmp_path: Path) -> None:
    with on_terminal(neuron(tmp_path), tmp_path) as terminal:
        assert process_of(tmp_path) == terminal.process.pid
        terminal.close()
        assert terminal.process.wait(PATIENCE) == 0
    wait_for_end(tmp_path)
    assert '"reason":"the terminal was closed"' in (tmp_path / "state" / "events.jsonl").read_text()
    assert not (tmp_path / "state" / "control.sock").exists()


def test_its_end_stops_a_neuron_in_the_background_of_its_shell(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash, a shell with jobs")
    with on_terminal([bash, "--norc", "-i"], tmp_path) as terminal:
        terminal.type(f"{shlex.join(neuron(tmp_path))} 2> log &\n")
        assert process_of(tmp_path) != terminal.process.pid
        terminal.close()
        wait_for_end(tmp_path)
    *_, stopping, stopped = (tmp_path / "log").read_text().splitlines()
    assert stopping.endswith("Stopping: the terminal was closed")
    assert "| Stopped after " in stopped
    assert stopped.endswith(" s: the terminal was closed")


def test_under_nohup_a_neuron_survives_it(tmp_path: Path) -> None:
    with on_terminal(["nohup", *neuron(tmp_path)], tmp_path) as terminal:
        process_of(tmp_path)
        terminal.close()
        terminal.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            terminal.process.wait(0.5)
        assert process_of(tmp_path) == terminal.process.pid
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(PATIENCE) == 0
    assert "Configuration reloaded" not in (tmp_path / "nohup.out").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_top_gives_it_back_as_it_was(tmp_path: Path, number: signal.Signals) -> None:
    async with running_validator(tmp_path):
        top = [sys.executable, "-m", "bettensor", "top", "--state-dir", str(tmp_path / "state")]
        with on_terminal(top, tmp_path) as terminal:
            await asyncio.to_thread(terminal.until, "last events")
            terminal.process.send_signal(number)
            told = await asyncio.to_thread(terminal.until, "\x1b[?1049l")  # the screen from before
            assert await asyncio.to_thread(terminal.process.wait, PATIENCE) == 128 + number
    assert "\x1b[?25h" in told  # the cursor
    assert "Traceback" not in told


async def test_top_ends_with_it(tmp_path: Path) -> None:
    async with running_validator(tmp_path):
        top = [sys.executable, "-m", "bettensor", "top", "--state-dir", str(tmp_path / "state")]
        with on_terminal(top, tmp_path) as terminal:
            await asyncio.to_thread(terminal.until, "last events")
            terminal.close()
            await asyncio.to_thread(terminal.process.wait, PATIENCE)
