"""The benchmarks measure what they say: short runs of them, whose speed nobody looks at."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.events import TimerFired
from bettensor.neurons.bench.budget import Stopwatch
from bettensor.neurons.bench.figures import latencies_ms
from bettensor.neurons.bench.ledger import fill
from bettensor.neurons.bench.report import text
from bettensor.neurons.bench.scenarios import SCENARIOS
from bettensor.neurons.cli.ledger_file import check_ledger
from bettensor.neurons.cli.main import main
from tests.support import interruptible

pytestmark = pytest.mark.slow

SHORT = {
    "confirm": ["--miners", "3", "--window", "2", "--duration", "0.5"],
    "batch": ["--miners", "2", "--duration", "0.5"],
    "broadcast": ["--miners", "3"],
    "connect": ["--miners", "5"],
    "idle": ["--miners", "5", "--duration", "0.5"],
    "storm": ["--miners", "5"],
    "fallback": ["--clients", "2", "--duration", "0.3"],
    "bus": ["--miners", "3", "--duration", "0.5"],
    "ledger": ["--rows", "2000"],
    "recording": ["--miners", "3", "--duration", "0.3"],
    "replay": ["--events", "2000"],
    "growth": ["--miners", "60", "--rows", "2000", "--predictions", "4000", "--duration", "0.2"],
    "start": [],
}


ONCE = """
import sys
from bettensor.neurons.bench import confirm
from bettensor.neurons.cli.main import main
confirm.TURNS = confirm.PROCESSES = 1
sys.exit(main(sys.argv[1:]))
"""
"""Each kind of validator is measured once, and not several times in turn."""


def run(*arguments: str) -> Any:
    """What ``bettensor bench --json`` prints."""
    command = [sys.executable, "-c", ONCE, "bench", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_scenario_is_run_here() -> None:
    assert SHORT.keys() == SCENARIOS.keys()


def test_the_help_names_every_scenario(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    *others, last = SCENARIOS
    assert f"{', '.join(others)} or {last} (default: all of them)" in capsys.readouterr().out


@pytest.mark.parametrize("scenario", SHORT)
def test_a_scenario_measures_what_its_bars_are_set_for(scenario: str) -> None:
    result = run(scenario, *SHORT[scenario])
    assert result["scenario"] == scenario
    assert {"python", "bettensor", "uvicorn"} <= result["versions"].keys()
    assert {"cpu", "cores"} <= result["machine"].keys()
    for variant in SCENARIOS[scenario].variants:
        for bar in variant.bars:
            assert math.isfinite(bar.value(result))
    if scenario in ("confirm", "batch"):
        assert result["confirmed"] > 0
        assert result["rejected"] == 0
        latency = result["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
        assert result["bare_echo"]["frames_per_second"] > 0
    if scenario == "replay":
        assert result["events"] >= 2000
    if scenario == "storm":
        assert (result["refused"], result["missed_heartbeats"]) == (0, 0)
    if scenario == "bus":
        assert sum(result["steps_us"].values()) == pytest.approx(result["cpu_us_per_prediction"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_a_benchmark_ends_its_validator_ends_with_it(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bettensor.neurons.cli.main", "bench", "idle", "--miners", "1", "--duration", "60"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    bench = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=interruptible,  # noqa: PLW1509 - it only sets a signal's handler
    )
    try:
        validator = eventually(lambda: validator_of(bench.pid))
        bench.send_signal(number)
        assert bench.wait(60) != 0
    finally:
        bench.kill()
        bench.wait()
    assert eventually(lambda: not Path(f"/proc/{validator}").exists())
    left = [folder.name for folder in tmp_path.iterdir()]
    if number != signal.SIGKILL:
        assert left == []
        return
    assert len(left) == 1
    again = subprocess.run(
        [*command[:4], "connect", "--miners", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment,
    )
    assert f"removed a folder that an interrupted run had left in {tmp_path}" in again.stderr
    assert list(tmp_path.iterdir()) == []


def limited(arguments: Sequence[str], soft: int, hard: int) -> "subprocess.CompletedProcess[str]":
    """The benchmark with these limits of open files."""
    code = (
        "import resource, sys\n"
        "from bettensor.neurons.cli.main import main\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        f"sys.exit(main(['bench', *{list(arguments)!r}]))\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_a_result_is_written_at_once_also_into_a_pipe() -> None:
    command = [sys.executable, "-m", "bettensor.neurons.cli.main", "bench", "connect", "storm", "--miners", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as bench:
        assert bench.stdout is not None
        first = bench.stdout.readline()
        assert first.startswith("connect --miners 1")
        assert bench.poll() is None, "a storm takes seconds"
        bench.terminate()


def test_the_soft_limit_of_open_files_is_no_limit() -> None:
    done = limited(["connect", "--miners", "100"], 64, 1024)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["idle"], "4,000 connections need 4,064 open files"),
        (["connect", "--miners", "1000"], "1,000 connections need 1,064 open files"),
        (["growth"], "1,000 connections need 1,064 open files"),
        ([], "4,000 connections need 4,064 open files"),
    ],
)
def test_a_hard_limit_that_is_too_low_is_told_before_anything_is_measured(arguments: list[str], needed: str) -> None:
    done = limited(arguments, 1024, 1024)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bettensor: bench: {needed}, and the hard limit is 1,024: raise it")


def validator_of(bench: int) -> int | None:
    for child in Path(f"/proc/{bench}/task/{bench}/children").read_text().split():
        with contextlib.suppress(OSError):
            if "bettensor.neurons.validator" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    return None


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` sees once there is something to see."""
    deadline = time.monotonic() + 60
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen


def test_an_open_loop_offers_what_it_is_told_to() -> None:
    result = run("confirm", "--miners", "3", "--rate", "200", "--duration", "1")
    assert 150 < result["confirmed"] <= 200
    assert "bare_echo" not in result


def test_bystanders_who_do_not_read_are_not_counted() -> None:
    result = run(
        "confirm",
        "--miners",
        "2",
        "--window",
        "1",
        "--bystanders",
        "2",
        "--stalled",
        "--duration",
        "0.5",
        "--batch",
        "2",
    )
    assert result["confirmed"] > 0
    assert result["parameters"]["stalled"] is True


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["confrim"], "bench: there is no scenario 'confrim'; there are confirm, batch,"),
        (["ledger", "--window", "3"], "bench ledger: there is no --window; it has --rows"),
        (["start", "--miners", "3"], "bench start: there is no --miners; it has no parameters"),
        (["--compare", "none.json", "none.json"], "bench --compare: none.json: there is no such file"),
    ],
)
def test_what_cannot_be_measured_is_told(
    arguments: list[str],
    fault: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    assert fault in capsys.readouterr().err


def test_a_load_without_a_prediction_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--miners", "1", "--rate", "1", "--duration", "0.2"]
    assert main(["bench", "confirm", *arguments]) == 1
    assert "not one prediction was pushed" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "inf"])
def test_an_amount_is_above_0(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "confirm", f"--rate={value}"])
    assert f"expected a number above 0, not '{value}'" in capsys.readouterr().err


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: Any) -> str:
        file = self.folder / name
        file.write_text(json.dumps(content))
        return str(file)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def measured(rate: float, scenario: str = "confirm", **more: Any) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "parameters": {"miners": 50},
        "predictions_per_second": rate,
        "latency_ms": {"p50": 4.0},
        "machine": {"cores": 2},
        **more,
    }


def test_what_changed_is_shown_side_by_side(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    before = files.write("a.json", measured(1000.0))
    after = files.write("b.json", [measured(1500.0, machine={"cores": 4}), measured(5.0, "idle")])
    assert main(["bench", "--compare", before, after]) == 0
    shown = capsys.readouterr().out
    assert "confirm --miners 50" in shown
    line = next(line.split() for line in shown.splitlines() if "predictions_per_second" in line)
    assert line == ["predictions_per_second", "1,000/s", "1,500/s", "+50.0%"]
    assert "only in the second: idle --miners 50" in shown
    assert "not the same machine" in shown


def test_two_files_without_a_common_run_cannot_be_compared(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = files.write("a.json", measured(1.0)), files.write("b.json", measured(1.0, "idle"))
    assert main(["bench", "--compare", first, second]) == 2
    assert "have no run in common" in capsys.readouterr().err


@pytest.mark.parametrize("content", [[], 7, {"scenario": "confirm"}, [3]])
def test_what_is_no_result_cannot_be_compared(content: Any, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    file = files.write("a.json", content)
    assert main(["bench", "--compare", file, file]) == 2
    assert "bench --compare: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("latency_ms.p50", 0.529, "0.529 ms"),
        ("predictions_per_second", 9447.3, "9,447/s"),
        ("cpu_us_per_prediction", 101.2, "101 us"),
        ("ratio_to_verify_sign_limit", 0.53, "0.53"),
        ("served_after_window_s", 2, "2 s"),
        ("memory_bytes", 3 * 2**20, "3.0 MiB"),
        ("bytes_per_connection", 24 * 1024, "24.0 KiB"),
        ("idle_cpu_share", 0.016, "1.6%"),
        ("cost", 0.07, "7.0%"),
        ("cost_of_all", 0.444, "44.4%"),
        ("confirmed", 47_600, "47,600"),
        ("answers", ["HTTP/1.1 503", "other"], "HTTP/1.1 503, other"),
        ("equal", True, "True"),
    ],
)
def test_a_figure_is_shown_with_the_unit_that_its_name_says(name: str, value: Any, shown: str) -> None:
    assert text(name, value) == shown


def test_percentiles() -> None:
    assert latencies_ms([]) == {}
    assert latencies_ms(number / 1000 for number in range(101)) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}


async def test_a_ledger_is_as_long_as_it_is_said_to_be(tmp_path: Path) -> None:
    await fill(tmp_path, 2_500)
    assert check_ledger(tmp_path / "ledger.sqlite3").predictions == 2_500


def test_a_stopwatch_counts_inner_steps_once() -> None:
    watch = Stopwatch()
    inner = watch.timed(("inner", ""), lambda: sum(range(200_000)))
    watch.timed(("outer", ""), lambda: (inner(), inner()))()
    assert watch.calls == {("inner", ""): 2, ("outer", ""): 1}
    assert watch.seconds["outer", ""] < 0.2 * watch.seconds["inner", ""]


def test_events_published_together_take_each_step_together() -> None:
    bus, heard = EventBus(SystemClock()), []
    bus.subscribe(TimerFired, lambda event, envelope: heard.append((event.key, envelope.seq)), "test")
    with bus.together():
        bus.publish(TimerFired("t", "now", "a"))
        bus.publish(TimerFired("t", "now", "b"))
        assert not heard
    assert heard == [("a", 1), ("b", 2)]
