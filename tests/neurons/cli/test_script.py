"""The files of a clone as scripts: they find the package, and hide no module of the operator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bettensor.neurons.cli import script

ROOT = Path(__file__).parents[3]
SCRIPT = pytest.mark.parametrize("role", ["validator", "miner"])


@SCRIPT
def test_without_the_package_it_says_in_a_line_what_to_do(role: str, tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-E", str(ROOT / "neurons" / f"{role}.py"), "--netuid", "30"]  # no site-packages
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    cure = f"run `pip install {ROOT}`, or start this file with {ROOT}/.venv/bin/python"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"No module named 'bettensor'; {cure}\n"


@SCRIPT
def test_modules_of_the_operator_are_found_and_flags_are_read(role: str, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("def heard(event): ...")
    handlers = '--handlers={neuron_started: ["models:heard"]}'
    command = [sys.executable, str(ROOT / "neurons" / f"{role}.py"), handlers, "--wallet.name", "absent", "--netuid=x"]
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "bettensor: --netuid: must be a valid integer, but it is 'x'\n"


def test_only_the_folder_of_the_script_leaves_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT / "neurons")
    monkeypatch.setattr(sys, "path", [str(ROOT / "neurons"), str(tmp_path / "link"), str(ROOT), ""])
    monkeypatch.setattr(sys, "argv", ["miner.py", "--help"])
    with pytest.raises(SystemExit):
        script.run_script("miner")
    assert sys.path == [str(ROOT), ""]
