"""The completion scripts, the one of bash in a real bash."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bettensor.neurons.cli.completion import commands_of, completion
from bettensor.neurons.cli.main import _parser

BASH = shutil.which("bash")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_every_shell_knows_commands_and_keys(shell: str) -> None:
    script = completion(_parser(), shell)
    assert "predictions" in script
    assert "websocket.heartbeat_interval" in script


def test_every_command_is_found() -> None:
    names = {command.prog for command in commands_of(_parser())}
    assert {"bettensor validator", "bettensor config show", "bettensor games import"} <= names


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected", "absent"),
    [
        (["bettensor", "val"], {"validator"}, set()),
        (["bettensor", "validator", "--logging.l"], {"--logging.level"}, {"--logging.debug"}),
        (["bettensor", "validator", "--no-web"], {"--no-websocket.enabled", "--no-websocket_enabled"}, set()),
        (["bettensor", "validator", "--axon.p"], {"--axon.port"}, set()),
        (["bettensor", "miner", "--axon.p"], set(), {"--axon.port"}),
        (["bettensor", "miner", "--actors.predictor.b"], {"--actors.predictor.bankroll"}, set()),
        (["bettensor", "miner", "--logging.level", "D"], {"DEBUG"}, {"INFO"}),
        (["bettensor", "miner", "--websocket.enabled", "f"], {"false"}, {"true"}),
        (["bettensor", "miner", "--logging.level", "=", "D"], {"DEBUG"}, {"INFO"}),
        (["bettensor", "miner", "--subtensor.network", "="], {"finney", "test", "local"}, set()),
        (["bettensor", "miner", "--netuid", "=", "5", "--logging.l"], {"--logging.level"}, set()),
        (["bettensor", "doctor", "--validat"], {"--validators"}, set()),
        (["bettensor", "config", "check", "--recorder.rec"], {"--recorder.record"}, set()),
    ],
)
def test_bash_completes_keys_and_values(
    words: list[str], expected: set[str], absent: set[str], script_of_bash: Path
) -> None:
    script = f"""
    source {script_of_bash}
    COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
    _bettensor
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([str(BASH), "-c", script], capture_output=True, text=True, timeout=60, check=True)
    found = {word.strip() for word in done.stdout.splitlines()}
    assert expected <= found, done.stderr
    assert not absent & found


@pytest.fixture(scope="module")
def script_of_bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "bettensor.bash"
    file.write_text(completion(_parser(), "bash"))
    return file
