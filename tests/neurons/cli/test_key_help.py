"""Keys as options of a command."""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from bettensor.bus.events import Role
from bettensor.neurons.cli.key_help import add_keys
from bettensor.neurons.cli.main import main
from bettensor.neurons.config.keys import groups_of

BASH = shutil.which("bash")


def options(*roles: Role, negated: bool = False) -> list[str]:
    parser = argparse.ArgumentParser()
    add_keys(parser, roles, negated=negated)
    return [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - no other way


@pytest.mark.parametrize("role", get_args(Role))
def test_every_key_but_the_role_is_an_option(role: Role) -> None:
    keys = {f"--{key.path}" for group in groups_of(role) for key in group.keys}
    assert keys - {*options(role)} == {"--role"}
    assert {"-w", "-H", "-n", "--wallet-hotkey", "--websocket_enabled", "--logging.trace"} <= {*options(role)}


def test_keys_of_both_roles_are_there_once() -> None:
    both = options("validator", "miner")
    assert len(both) == len({*both})
    assert {"--axon.port", "--validators"} <= {*both}


def test_completion_knows_negated_flags_too() -> None:
    assert "--no-websocket.enabled" in options("miner", negated=True)
    assert "--no-metagraph.static" in options("miner", negated=True)
    assert "--no-netuid" not in options("miner", negated=True)
    assert not [option for option in options("miner") if option.startswith("--no-")]


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
        (["bettensor", "doctor", "--validat"], {"--validators"}, set()),
        (["bettensor", "config", "check", "--recorder.rec"], {"--recorder.record"}, set()),
    ],
)
def test_bash_completes_keys_and_values(
    words: list[str], expected: set[str], absent: set[str], completion: Path
) -> None:
    script = f"""
    source {completion}
    COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
    _shtab_bettensor
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([str(BASH), "-c", script], capture_output=True, text=True, timeout=60, check=True)
    found = {word.strip() for word in done.stdout.splitlines()}
    assert expected <= found, done.stderr
    assert not absent & found


@pytest.fixture(scope="module")
def completion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["completion", "bash"]) == 0
    file = tmp_path_factory.mktemp("completion") / "bettensor.bash"
    file.write_text(out.getvalue())
    return file
