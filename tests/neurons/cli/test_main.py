"""The command line, and the processes that it starts."""

import argparse
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.cli import main as cli
from bettensor.neurons.cli import versions
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.keys import load_hotkey
from bettensor.neurons.neuron import lock_state_dir
from tests.loopback.rig import starting_soon, write_configuration

ROOT = Path(__file__).parents[3]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bettensor.neurons", *arguments]
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
    assert "example:\n" in out or len(arguments) == 1


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_the_help_of_a_neuron_says_that_its_keys_are_flags(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([role, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"bettensor {role} [-h] --config FILE [--KEY=VALUE ...]" in told
    assert f"`bettensor config show --role {role}` lists all keys" in told


def test_help_waits_for_nothing_that_is_heavy() -> None:
    heavy = "{'bettensor.bus.events', 'pydantic', 'sqlalchemy', 'rich', 'bittensor'} & set(sys.modules)"
    code = f"import sys; from bettensor.neurons.cli.main import _parser; _parser().format_help(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command and subcommand."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                yield command
                yield from commands(command)


def test_every_command_has_an_example_that_can_be_parsed() -> None:
    parser = cli._parser()  # noqa: SLF001
    found = list(commands(parser))
    assert len(found) >= 16
    for command in found:
        example = (command.epilog or "").partition("example:\n  ")[2]
        words = shlex.split(example.removeprefix('eval "$(').removesuffix(')"'))
        assert words[0] == "bettensor", command.prog
        parsed, rest = parser.parse_known_args(words[1:])
        assert callable(parsed.command)
        assert rest == [] or parsed.takes_flags, (command.prog, rest)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "predictions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ["validator", "--config", "absent.yaml"],
            "absent.yaml: there is no such file; `bettensor config show --role validator > absent.yaml`",
        ),
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


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["demo", "--miner", "3"], "unrecognized arguments: --miner 3"),
        (["peers", "--jsno"], "unrecognized arguments: --jsno"),
        (["predictions", "--json", "--csv"], "--csv: not allowed with argument --json"),
        (["config"], "required: ACTION"),
        (["demo", "--miners", "0"], "expected a number above 0"),
        (["demo", "--duration", "0"], "expected a number above 0, not '0'"),
        (["demo", "--duration", "nan"], "expected a number above 0, not 'nan'"),
        (["log", "x", "--limit", "9" * 20], "of at most 18 digits"),
    ],
)
def test_wrong_words_are_exit_2(arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert fault in capsys.readouterr().err


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_configuration(tmp_path)
    assert main(["config", "check", str(file)]) == 0
    assert "valid configuration of a validator for netuid 30" in capsys.readouterr().out
    (tmp_path / "games.json").write_text("[]x")
    assert main(["config", "check", str(file)]) == 2
    assert "games.json: not JSON" in capsys.readouterr().err
    assert main(["config", "check", str(file), "--netuid=x"]) == 2


def test_config_check_fails_on_rows_that_the_neuron_would_skip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_configuration(tmp_path)
    odds = starting_soon(game_id="american", team_a_odds=120, team_b_odds=105)
    started = starting_soon(game_id="old") | {"event_start_date": "P0D"}
    (tmp_path / "games.json").write_text(json.dumps([starting_soon(), odds, started, {"game_id": "half"}]))
    assert main(["config", "check", str(file)]) == 1
    told = capsys.readouterr().err.splitlines()
    games = str(tmp_path / "games.json")
    assert [line.startswith(games) for line in told] == [True, True, False]
    assert "game 'half': games.3: team_a: this field is required" in told[0]
    assert "game 'american': the odds 120 and 105 imply" in told[1]
    assert told[2] == f"{file}: the validator would run without 2 rows of its files"


def test_config_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--role", "miner"]) == 0
    assert "reconnect_base_interval: 5.0" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["validator --config x.yaml", "miner --config x.yaml", "demo", "wallet new"])
def test_another_bittensor_is_told_in_a_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "version", lambda _: "10.0.1")
    assert main(command.split()) == 2
    told = "bettensor: this release does not work with bittensor 10.0.1; run: pip install 'bittensor>=11.3,<12'\n"
    assert capsys.readouterr().err == told


def test_no_bittensor_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", none)
    assert main(["miner", "--config", "x.yaml"]) == 2
    assert "does not work with bittensor (not installed)" in capsys.readouterr().err


def test_a_state_dir_on_a_full_disk_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(2):  # the lock is let go
        with pytest.raises(ConfigurationError, match=r"cannot be used: .*No space left"):
            lock_state_dir(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", ["config show --role validator", "completion bash"])
def test_an_output_that_cannot_be_written_is_told_in_a_line(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        arguments = [sys.executable, "-m", "bettensor.neurons", *command.split()]
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "bettensor: cannot write: No space left on device\n"


def test_who_has_read_enough_hears_nothing_more() -> None:
    arguments = [sys.executable, "-m", "bettensor.neurons", "config", "show", "--role", "validator"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_wallet_new_takes_no_paths_for_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wallet", "new", "--wallet.hotkey", "../x", "--wallet.path", str(tmp_path)]) == 2
    assert "--wallet.hotkey: hotkey: expected the name of a file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wallet_new_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wallet", "new", "--wallet.path", str(tmp_path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["address"].startswith("5")
    assert (tmp_path / "default" / "hotkeys" / "default").exists()


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
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda file: file.unlink(), "has no hotkey 'h'.*copy it here.*btcli wallet new-hotkey"),
        (lambda file: file.write_text("not a key"), "cannot be read.*copy it here again"),
        (lambda file: file.write_bytes(b"$NACL" + b"x" * 100), "is encrypted.*btcli wallet regen-hotkey"),
    ],
)
def test_a_hotkey_that_cannot_be_used_is_told_with_its_repair(tmp_path: Path, spoil: Any, fault: str) -> None:
    main(["wallet", "new", "--wallet.name", "w", "--wallet.hotkey", "h", "--wallet.path", str(tmp_path)])
    spoil(tmp_path / "w" / "hotkeys" / "h")
    with pytest.raises(Exception, match=fault):
        load_hotkey("w", "h", str(tmp_path))


def test_a_hotkey_that_this_user_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")  # what root, who may run this test, never gets

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(Exception, match=r"this user may not read.*Permission denied.*chown"):
        load_hotkey("w", "h", str(tmp_path))


# --- processes


def wait_for(log: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "bettensor.neurons.validator"],
        ["-m", "bettensor", "validator"],
        [str(ROOT / "neurons" / "validator.py")],
        [str(Path(sys.executable).with_name("bettensor")), "validator"],
    ],
    ids=["module", "package", "file of a checkout", "command"],
)
def test_a_validator_process_starts_stops_and_holds_its_state_dir(tmp_path: Path, command: list[str]) -> None:
    config = write_configuration(tmp_path)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, *command, "--config", str(config)], stderr=stderr, cwd=tmp_path)
        try:
            wait_for(log, "Read 1 game from games.json", process)
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


def test_a_neuron_whose_standard_streams_are_closed_runs(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "bettensor.neurons.validator"]
    process = subprocess.Popen([*closed, "--config", str(config)], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 30
        while run("peers", "--config", str(config)).returncode != 0:
            assert time.monotonic() < deadline
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


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
