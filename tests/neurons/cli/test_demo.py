"""The demo, as people run it: with and without a terminal, and with somebody who pulls plugs."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bettensor.neurons.cli import demo
from bettensor.neurons.cli.demo import run_demo
from bettensor.neurons.cli.demo_player import Player
from bettensor.neurons.cli.demo_subnet import Demo, DemoFailed
from tests.support import interruptible

pytestmark = pytest.mark.slow

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PATIENCE = 40.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bettensor.neurons", "demo", *arguments]


def children_of(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def child(process: int, config: str) -> int:
    """The demo's neuron with this configuration."""
    (found,) = [number for number in children_of(process) if config in Path(f"/proc/{number}/cmdline").read_text()]
    return found


def test_the_demo_works_and_says_so_in_json() -> None:
    done = subprocess.run(
        command("--miners", "2", "--duration", "3", "--json"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["ok"]
    assert (outcome["miners"], outcome["restarts"], outcome["faults"]) == (2, 0, [])
    assert outcome["verdicts"]["accepted"] > 0
    assert outcome["pushed"] == outcome["answered"] == sum(outcome["verdicts"].values())
    assert 0 < outcome["latency_ms"]["p50"] <= outcome["latency_ms"]["p99"]


def test_before_the_work_begins_nothing_is_told_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Demo(tmp_path, 1, duration=2.0)
    ages = iter((0.0, 0.0, 1.0, 2.0))

    def age() -> float:
        now = next(ages)
        waiting.begun = now or None
        return now

    monkeypatch.setattr(waiting, "age", age)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    said: list[str] = []
    demo._tell(waiting, said.append)  # noqa: SLF001 - by its command it takes as long as the machine is busy
    assert said == ["0 predictions pushed, 0 accepted, 0 rejected"]


def test_whoever_is_killed_comes_back_and_nothing_is_lost() -> None:
    with subprocess.Popen(command("--miners", "2", "--duration", "9"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for victim in ("validator", "miner-1"):
            for line in process.stdout:
                said.append(line)
                if "predictions pushed" in line and not line.startswith("0 "):
                    break
            os.kill(child(process.pid, f"{victim}.yaml"), signal.SIGKILL)
        said += process.stdout
        assert process.wait(30) == 0, "".join(said)
    text = "".join(said)
    assert "miner-1 is connected" in text
    assert "validator was killed (SIGKILL)" in text
    assert "restarting miner-1" in text
    lines, outcome = text.split("Outcome")
    assert re.search(r"validator back after \d+\.\d s; predictions that waited: \d+", lines)
    assert re.search(r"validator: killed +back after \d+\.\d s +([1-9]\d*, all judged|none)", outcome)
    assert re.search(r"miner-1: killed +back after", outcome)
    assert re.search(r"all \d+ predictions have a verdict", outcome)
    live = re.findall(r"p99 (\S+) ms", lines)[-1]
    rows = re.findall(r"miner-\d +\d+ +\d+ +\d+ +\S+ +(\S+) +\d", outcome)
    assert live in rows, "the last line told the highest p99 of the table"


def test_limits_fit_and_each_rule_that_is_broken_is_explained() -> None:
    done = subprocess.run(command("--duration", "7"), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines, outcome = done.stdout.split("Outcome")
    for code in ("odds_mismatch", "game_started", "daily_limit_exceeded"):
        assert re.search(rf"a visitor .*: {code} \(.+\)", lines)
        assert re.search(rf"\d s  .+  {code}: .+", outcome)
    assert re.search(r"\d+ accepted, 1 daily_limit_exceeded, 1 game_started, 1 odds_mismatch", outcome)
    assert re.search(r"visitor +3 +0 +3 ", outcome)
    assert "Faults: none." in outcome
    assert "bettensor init" in outcome


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_however_the_demo_ends_nothing_of_it_is_left(number: signal.Signals, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        command("--miners", "1"),
        stdout=subprocess.DEVNULL,
        env=environment,
        preexec_fn=interruptible,  # noqa: PLW1509 - it only sets a signal's handler
    )
    deadline = time.monotonic() + PATIENCE
    while len(children := children_of(process.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(PATIENCE) != 0
    while any(Path(f"/proc/{number}").exists() for number in children):
        assert time.monotonic() < deadline + 20
        time.sleep(0.05)
    if number == signal.SIGKILL:
        assert len(list(tmp_path.iterdir())) == 1
        again = command("--miners", "1", "--duration", "1")
        done = subprocess.run(again, env=environment, capture_output=True, text=True, timeout=120, check=True)
        assert f"removed a folder that an interrupted run had left in {tmp_path}" in done.stdout
    assert list(tmp_path.iterdir()) == []


class Terminal:
    """The demo in a terminal of 110 columns; ``screen`` is all that it has drawn so far."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 42, 110, 0, 0))
        environment = os.environ | {"TERM": "xterm-256color"}
        environment.pop("COLUMNS", None)  # the terminal knows its own size
        environment.pop("LINES", None)
        self.process = subprocess.Popen(
            command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.screen = ""

    def press(self, key: str) -> None:
        os.write(self._master, key.encode())

    def until(self, condition: Callable[[str], Any]) -> None:
        """Wait until what is drawn from now on fulfils ``condition``."""
        fresh, deadline = "", time.monotonic() + PATIENCE
        while not condition(fresh):
            assert time.monotonic() < deadline, fresh[-4000:]
            fresh += self._read()
        self.screen += fresh

    def _read(self) -> str:
        try:
            return ESCAPES.sub("", os.read(self._master, 65536).decode(errors="replace"))
        except OSError:  # the demo has ended
            time.sleep(0.05)
            return ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    opened = Terminal(*arguments)
    try:
        yield opened
    finally:
        opened.close()


def test_in_a_terminal_keys_pull_plugs_and_everything_recovers() -> None:
    with terminal("--miners", "2", "--duration", "120") as shown:
        shown.until(lambda text: re.search(r"miner-1 +connected", text) and re.search(r"miner-2 +connected", text))
        assert "last events on the validator's bus" in shown.screen
        shown.press("2")
        shown.press("n")
        shown.until(lambda text: re.search(r"▶ +miner-2 +not connected.*network cut", text))
        shown.press("n")
        shown.until(lambda text: re.search(r"miner-2 +connected", text))
        shown.press("w")
        shown.until(lambda text: re.search(r"miner-2 +by HTTP.*WebSocket off", text))
        shown.press("w")
        shown.until(lambda text: re.search(r"miner-2 +connected", text))
        shown.press("v")
        shown.until(lambda text: re.search(r"validator +down.*killed, back in", text))
        shown.until(lambda text: re.search(r"validator +online", text) and re.search(r"miner-1 +connected", text))
        row = re.compile(r"miner-1 +connected +WebSocket +(\d+)")
        made = int(row.findall(shown.screen)[-1])
        shown.press("1")
        shown.press("k")
        shown.until(lambda text: re.search(r"miner-1 +down", text))
        shown.until(row.search)
        assert int(row.findall(shown.screen)[-1]) >= made > 0  # a new process has not made them, and they count
        shown.press("q")
        shown.until(lambda text: "have a verdict" in text)
        assert shown.process.wait(20) == 0


def test_a_demo_whose_neuron_ends_by_itself_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(player: Player) -> None:
        (player.folder / f"{player.name}.log").write_text("the reason")
        player.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    monkeypatch.setattr(Player, "start", die)
    with pytest.raises(DemoFailed, match=r"validator ended with exit code 3:\nthe reason"):
        run_demo(miners=1, duration=1.0)
