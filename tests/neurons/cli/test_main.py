"""The command line, and the processes that it starts."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import yaml

from bettensor.neurons.cli import main as cli
from bettensor.neurons.cli import versions
from bettensor.neurons.cli.completion import commands_of
from bettensor.neurons.cli.main import main
from bettensor.neurons.config.settings import ROLES, keys_of
from tests.loopback.rig import starting_soon, write_configuration
from tests.neurons.edges.certificates import make_pair

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
def test_the_help_of_a_neuron_lists_every_flag_and_fits_a_terminal(
    role: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([role, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    told = " ".join(out.split())
    assert f"usage: bettensor {role} [-h] [--config FILE] [--KEY[=VALUE] ...] Run a {role}." in told
    assert "--websocket.heartbeat_interval, --websocket_heartbeat_interval SEC Seconds between two heartbeats" in told
    assert "-n, --subtensor.network, --network {finney,test,local}" in told
    assert "--logging.debug the same as --logging.level=DEBUG" in told
    assert all(f" --{key}" in told for key in keys_of(ROLES[role]) if key not in ("role", "actors"))
    own = {"validator": "--actors.prediction.daily_wager_limit X", "miner": "--actors.predictor.restart_max SEC"}
    assert [role for role, key in own.items() if key in told] == [role]


def test_help_waits_for_nothing_that_is_heavy() -> None:
    heavy = "{'bettensor.bus.events', 'pydantic', 'sqlalchemy', 'rich', 'bittensor'} & set(sys.modules)"
    code = f"import sys; from bettensor.neurons.cli.main import _parser; _parser().format_help(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_every_command_has_an_example_that_can_be_parsed() -> None:
    parser = cli._parser()  # noqa: SLF001
    found = list(commands_of(parser))
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
        (["validator", "--netuid"], "--netuid: expected a value, for example --netuid=VALUE"),
        (["miner", "--netuid", "--y=1", "x"], "--netuid: expected a value, for example --netuid=VALUE"),
        (["miner", "--netuid", "--y=1", "x"], "--y: there is no such key"),
        (["miner", "--netuid", "--y=1", "x"], "unrecognized argument: x"),
        (["doctor"], "doctor: name the neuron with --role or --config"),
        (["config", "show", "--netuid=1"], "config show: name the neuron with --role or --config"),
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
        (["valdator"], "invalid choice: 'valdator'; the nearest is 'validator'; `bettensor --help` lists all"),
        (["config", "chekc"], "invalid choice: 'chekc'; the nearest is 'check'; `bettensor config --help` lists all"),
        (["doctor", "--role", "judge"], "invalid choice: 'judge'; expected one of 'validator', 'miner'"),
        (["demo", "--miner", "3"], "unrecognized arguments: --miner 3; the nearest is '--miners'"),
        (["peers", "--jsno"], "unrecognized arguments: --jsno; the nearest is '--json'"),
        (["peers", "x"], "unrecognized arguments: x\n"),
        (
            ["predict", "--game", "g", "--outcome", "x", "--stake", "1"],
            "unrecognized arguments: --stake; expected one ",
        ),
        (["predict", "--wagr=1"], "unrecognized arguments: --wagr=1; the nearest is '--wager'"),
        (["predict", "--game", "g"], "the following arguments are required: --outcome, --wager\n"),
        (["games", "import", "--outputs", "x"], "unrecognized arguments: --outputs; the nearest is '--output'"),
        (["demo", "--seconds", "5"], "unrecognized arguments: --seconds 5; expected one of '-h', '--help', '--miners'"),
        (["predictions", "--json", "--csv"], "--csv: not allowed with argument --json"),
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


@pytest.mark.parametrize(
    "command", [["games"], ["games", "import"], ["config", "show"], ["doctor"], ["miner"], ["demo"]]
)
def test_a_usage_fits_80_columns(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    usage, _, _ = capsys.readouterr().out.partition("\n\n")
    assert max(map(len, usage.splitlines())) <= 80


@pytest.mark.parametrize("command", [[], ["config"], ["wallet"], ["ledger"]])
def test_a_command_without_its_words_prints_its_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith(f"usage: {' '.join(['bettensor', *command])} ")
    assert captured.err == ""


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_configuration(tmp_path)
    assert main(["config", "check", str(file)]) == 0
    assert "valid configuration of a validator for netuid 30" in capsys.readouterr().out
    (tmp_path / "games.json").write_text("[]x")
    assert main(["config", "check", str(file)]) == 2
    assert "games.json: not JSON" in capsys.readouterr().err
    assert main(["config", "check", str(file), "--netuid=x"]) == 2


def test_config_check_tells_all_wrong_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"actors": {"prediction": {"limit": 5}, "auth": {"max_connections": 0}}, "handlers": {"x": ["a:b"]}}
    file = write_configuration(tmp_path, **changes)
    flags = ["--netuid=x", "--metrics.port", "--edges.listner.x=1", "--actors.prediction.odds_grace=-1"]
    assert main(["config", "check", str(file), *flags]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "bettensor: --metrics.port: expected a value, for example --metrics.port=VALUE",
        "--netuid: must be a valid integer, but it is 'x'",
        f"{file}: actors.auth.max_connections: must be greater than or equal to 1, but it is 0",
        f"{file}: actors.prediction.limit: there is no such key; the nearest is 'daily_wager_limit'",
        "--actors.prediction.odds_grace: must be greater than or equal to 0, but it is '-1'",
        "--edges.listner.x: edges.listner: there is no such edge; the nearest is 'listener'; "
        "an edge of your own needs the key `class`",
        f"{file}: handlers.x: there is no such event",
    ]


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


def test_config_check_counts_faults_of_tls_as_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, pair = write_configuration(tmp_path), make_pair(tmp_path, days=-1)
    pair.key.chmod(0o644)
    flags = [f"--axon.tls.certificate={pair.pem}", f"--axon.tls.key={pair.key}"]
    assert main(["config", "check", str(file), *flags]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"axon.tls.certificate: {pair.pem}: it has expired at ")
    assert told[2] == f"{file}: the validator would run with 2 faults of its TLS"
    (tmp_path / "games.json").write_text(json.dumps([{"game_id": "half"}]))
    assert main(["config", "check", str(file), *flags]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[3] == f"{file}: the validator would run without 1 row of its files and with 2 faults of its TLS"


def test_config_check_tells_of_wrong_bets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bets = tmp_path / "bets.csv"
    bets.write_text("game_id,outcome,wager\ng,x,much\n")
    model = {"class": "bettensor.models:FilePredictor", "path": str(bets)}
    file = tmp_path / "miner.yaml"
    file.write_text(yaml.safe_dump({"role": "miner", "actors": {"predictor": model}}))
    assert main(["config", "check", str(file)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"{bets}: line 2: wager: expected a number")
    assert told[1] == f"{file}: the miner would run without 1 row of its files"


def test_config_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--role", "miner"]) == 0
    assert "reconnect_base_interval: 5.0" in capsys.readouterr().out


def test_config_show_of_a_neuron(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_configuration(tmp_path)
    monkeypatch.setenv("BETTENSOR_NETUID", "31")
    assert main(["config", "show", "--config", str(file), "--logging.debug"]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["netuid"] == 31
    assert "\nnetuid: 31  # BETTENSOR_NETUID\n" in shown
    assert "\n  level: DEBUG  # --logging.debug\n" in shown
    assert main(["config", "show", "--config", str(file), "--netuid=x"]) == 2
    monkeypatch.chdir(tmp_path)
    assert main(["config", "show", "--role", "validator", "--logging.debug"]) == 0
    shown = capsys.readouterr().out
    assert "\n  hotkey: validator  # validator.yaml\n" in shown
    assert "\n    odds_grace: 0.0  # default\n" in shown


@pytest.mark.parametrize(
    "command", ["validator --config x.yaml", "miner --config x.yaml", "demo", "init", "wallet new", "wallet list"]
)
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
            assert second.returncode == 1
            assert f"is in use by another neuron (process {process.pid})" in second.stderr
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    assert "Stopping: SIGTERM" in log.read_text()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


SERVICE_LINKS = {"BETTENSOR_PORT": "tcp://10.0.0.1:8091", "BETTENSOR_VALIDATOR_SERVICE_HOST": "10.0.0.1"}
"""Variables of Kubernetes, in a pod beside Services with the names ``bettensor`` and ``bettensor-validator``."""


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_a_neuron_runs_and_reloads_without_a_file(role: str, tmp_path: Path) -> None:
    write_configuration(tmp_path)  # for its wallet and its metagraph
    (tmp_path / "validator.yaml").unlink()
    flags = ["--wallet", "test", "-H", "validator", "--wallet-path", "wallets", "--metagraph.static", "metagraph.yaml"]
    flags += ["--no-metrics", "--logging.debug", *(["--axon.port=0"] if role == "validator" else [])]
    environment = os.environ | {"HOME": str(tmp_path)} | SERVICE_LINKS
    state = tmp_path / ".bettensor" / f"{role}-30-test.validator"
    log = tmp_path / "log"
    command = [sys.executable, str(ROOT / "neurons" / f"{role}.py"), *flags]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, cwd=tmp_path, env=environment, start_new_session=True)
        try:
            wait_for(log, "Metagraph: ", process)
            process.send_signal(signal.SIGHUP)
            wait_for(log, "Configuration reloaded: no key changed", process)
            assert run("peers", env=environment).returncode == 0
            assert run("stop", "--state-dir", str(state), env=environment).returncode == 0
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    said = log.read_text()
    assert said.startswith("bettensor: configuration: no file, only flags, variables and defaults; metagraph: ")
    assert f"state_dir: {state}\n" in said
    assert (state / "lock").exists()


def test_the_file_of_the_working_directory_is_used_and_named(tmp_path: Path) -> None:
    file = write_configuration(tmp_path, state_dir="a file")
    (tmp_path / "a file").touch()
    done = run("validator", "--logging.level=ERROR", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"bettensor: configuration: {file}, found here; metagraph: ")
    assert "bettensor: state_dir " in done.stderr
    write_configuration(tmp_path, state_dir="a file", metagraph={}, subtensor={"chain_endpoint": "wss://node/hunter2"})
    done = run("validator", "--logging.level=ERROR", cwd=tmp_path)
    assert "metagraph: the chain, wss://node/...; " in done.stderr
    assert "hunter2" not in done.stderr
    checked = run(
        "doctor", "--role", "validator", "--logging.level=ERROR", cwd=tmp_path, env=os.environ | SERVICE_LINKS
    )
    assert "validator.yaml: valid; its actors, handlers and files can be loaded" in " ".join(checked.stdout.split())


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
    assert done.returncode == 1
    assert f"axon.port {port}: cannot listen there: Address already in use; stop the process" in done.stderr


def test_the_address_of_another_machine_is_told(tmp_path: Path) -> None:
    done = run("validator", "--config", str(write_configuration(tmp_path, axon={"ip": "192.0.2.1", "port": 8091})))
    assert done.returncode == 1
    assert "192.0.2.1 is not an address of this machine: set axon.ip to 0.0.0.0" in done.stderr
    assert "below 1024" not in done.stderr


def test_an_address_that_no_machine_has_is_told(tmp_path: Path) -> None:
    done = run("validator", "--config", str(write_configuration(tmp_path, axon={"ip": ":::", "port": 8091})))
    assert done.returncode == 2
    assert "axon.ip: must be an IP address of this machine" in done.stderr


def test_a_state_dir_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    done = run("validator", "--config", str(write_configuration(tmp_path)))
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
