"""The command line, and the processes that it starts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from neurons import demo
from neurons.cli import main
from neurons.demo import DemoFailed, Tally, run_demo
from neurons.edges.keys import load_hotkey
from tests.loopback.rig import write_configuration

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "neurons", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["validator", "--help"], ["config", "show", "--help"], ["demo", "--help"], ["--version"]]
)
def test_help_and_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "bettensor" in out
    assert "example: " in out or len(arguments) == 1


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["validator", "--config", "absent.yaml"], "absent.yaml: cannot be read"),
        (["validator", "--config", "absent.yaml", "--x"], "--x: expected a value"),
        (["validator", "--config", "absent.yaml", "--x", "--y=1"], "--x: expected a value"),
        (["validator", "--config", "absent.yaml", "x"], "unrecognized argument: x"),
        (["games", "import", "absent.json", "--output", "x", "--starting", "soon"], "--starting: expected a time"),
    ],
)
def test_wrong_usage_or_configuration_is_exit_2(
    arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--miner", "3"], ["config"]])
def test_wrong_words_are_exit_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_configuration(tmp_path)
    assert main(["config", "check", str(file)]) == 0
    assert "a validator for netuid 30, nothing wrong" in capsys.readouterr().out
    (tmp_path / "games.json").write_text("[]x")
    assert main(["config", "check", str(file)]) == 2
    assert "games.json: not JSON" in capsys.readouterr().err
    assert main(["config", "check", str(file), "--netuid=x"]) == 2


def test_config_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--role", "miner"]) == 0
    assert "reconnect_base_interval: 5.0" in capsys.readouterr().out


@pytest.mark.parametrize("crypto", ["sr25519", "ed25519"])
def test_wallet_new(tmp_path: Path, crypto: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["wallet", "new", "--wallet.name", "w", "--wallet.path", str(tmp_path), "--wallet.hotkey"]
    assert main([*arguments, "one", "--crypto", crypto]) == 0
    out = capsys.readouterr().out
    assert load_hotkey("w", "one", str(tmp_path)).ss58_address in out
    coldkey = (tmp_path / "w" / "coldkey").read_text()
    assert main([*arguments, "two"]) == 0
    assert (tmp_path / "w" / "coldkey").read_text() == coldkey
    assert main([*arguments, "one"]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda file: file.unlink(), "has no hotkey 'h'.*make one with: bettensor wallet new"),
        (lambda file: file.write_text("not a key"), "cannot be read"),
        (lambda file: file.write_bytes(b"$NACL" + b"x" * 100), "is encrypted"),
    ],
)
def test_a_hotkey_that_cannot_be_used_is_told_with_its_repair(tmp_path: Path, spoil: Any, fault: str) -> None:
    main(["wallet", "new", "--wallet.name", "w", "--wallet.hotkey", "h", "--wallet.path", str(tmp_path)])
    spoil(tmp_path / "w" / "hotkeys" / "h")
    with pytest.raises(Exception, match=fault):
        load_hotkey("w", "h", str(tmp_path))


def test_games_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = ROOT / "tests" / "data" / "mlb_odds_synthetic.json", tmp_path / "games.json"
    arguments = ["games", "import", str(source), "--output", str(output), "--starting", "2027-01-01T18:00:00Z"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "3 games" in captured.out
    assert "skipped game 9001" in captured.err


# --- processes


def wait_for(log: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("command", [["-m", "neurons.validator"], [str(ROOT / "neurons" / "validator.py")]])
def test_a_validator_process_starts_stops_and_holds_its_state_dir(tmp_path: Path, command: list[str]) -> None:
    config = write_configuration(tmp_path)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, *command, "--config", str(config)], stderr=stderr, cwd=tmp_path)
        try:
            wait_for(log, "1 games from games.json", process)
            second = run("validator", "--config", str(config))
            assert second.returncode == 2
            assert f"is in use by another neuron (process {process.pid})" in second.stderr
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    assert "Stopping: SIGTERM" in log.read_text()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = write_configuration(tmp_path, axon={"ip": "127.0.0.1", "port": port})
        done = run("validator", "--config", str(config))
    assert done.returncode == 2
    assert f"axon.port {port}: cannot listen there" in done.stderr


def test_a_state_dir_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    done = run("validator", "--config", str(write_configuration(tmp_path)))
    assert done.returncode == 2
    assert "cannot be used" in done.stderr


# --- the demo


def test_the_demo_works_and_cleans_up() -> None:
    done = run("demo", "--miners", "2", "--duration", "3", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["ok"]
    assert outcome["connections"] == outcome["miners"] == 2
    assert outcome["verdicts"]["accepted"] > 0
    assert outcome["pushed"] == outcome["answered"] == sum(outcome["verdicts"].values())
    assert 0 < outcome["latency_ms"]["p50"] <= outcome["latency_ms"]["p99"]


def test_in_the_demo_whoever_is_killed_comes_back_and_nothing_is_lost() -> None:
    command = [sys.executable, "-m", "neurons", "demo", "--miners", "2", "--duration", "9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for victim in ("validator", "miner-1"):
            for line in process.stdout:
                said.append(line)
                if "predictions pushed" in line and not line.startswith("0 "):
                    break
            (pid,) = [child for child in children_of(process.pid) if f"{victim}.yaml" in command_of(child)]
            os.kill(pid, signal.SIGKILL)
        said += process.stdout
        assert process.wait(30) == 0, said
    text = "".join(said)
    assert "validator was killed (SIGKILL); starting it again" in text
    assert "miner-1 was killed (SIGKILL); starting it again" in text
    assert "predictions has its verdict" in text


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")


def children_of(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_the_demo_ends_its_processes_end_with_it(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-m", "neurons", "demo", "--miners", "1"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(children := children_of(process.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(20) != 0
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline + 20
        time.sleep(0.05)


def test_the_demo_prints_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(miners=1, duration=2.0) == 0
    out = capsys.readouterr().out
    assert "miner-1 is connected" in out
    assert "What happened" in out
    assert "has its verdict" in out


def test_a_demo_without_miners_is_refused() -> None:
    with pytest.raises(DemoFailed, match="at least 1"):
        run_demo(miners=0, duration=1.0)


def test_a_demo_whose_neuron_dies_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(folder: Path, name: str) -> "subprocess.Popen[bytes]":
        (folder / f"{name}.log").write_text("the reason")
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    monkeypatch.setattr(demo, "_start", die)
    with pytest.raises(DemoFailed, match=r"validator ended with 3:\nthe reason"):
        run_demo(miners=1, duration=1.0)
    assert tmp_path.exists()


def test_a_prediction_without_a_verdict_fails_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally("miner-1", tmp_path / "tally")
    tally.update()
    tally.path.write_text(
        '{"connected": "s"}\n{"made": "a"}\n{"made": "b"}\n'
        '{"verdict": "accepted", "prediction": "a", "ms": 1.5}\n{"verdict": "acc'
    )
    tally.update()
    outcome = demo._outcome([tally])  # noqa: SLF001
    assert (outcome["ok"], outcome["pushed"], outcome["answered"]) == (False, 2, 1)
    demo._print_table([tally], outcome)  # noqa: SLF001
    assert "FAILED: 1 of 2 predictions have no verdict" in capsys.readouterr().out


def test_what_a_miner_tells_is_a_line_in_its_tally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bus.events import GamesUpdated, PredictionMade, SessionActivated, VerdictReceived
    from bus.identifiers import ConnectionId, Epoch, Micros, Offset, SessionId, Uid
    from tests.support import make_game, make_hotkey, make_prediction

    monkeypatch.setitem(os.environ, "DEMO_OF_BETTENSOR_TALLY", str(tmp_path / "tally"))
    validator, prediction = make_hotkey(), make_prediction()
    demo.on_session(SessionActivated(ConnectionId(1), validator, Uid(0), SessionId("s")))
    demo.on_games(GamesUpdated(validator, Epoch("e"), Offset(1), (make_game(),), snapshot=True))
    demo.on_made(PredictionMade(validator, prediction))
    demo.on_verdict(VerdictReceived(validator, prediction, True, "accepted", "", Micros(1500)))
    tally = Tally("miner-1", tmp_path / "tally")
    tally.update()
    assert (tally.connections, tally.updates, tally.codes.total(), tally.codes["accepted"]) == (1, 1, 1, 1)
    assert tally.latencies == [1.5]
