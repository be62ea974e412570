"""Whether a process has a terminal; tests/loopback/test_terminals.py closes terminals of real neurons."""

import os
import pty
import shutil
import subprocess
import sys

import pytest

CODE = "from bettensor.neurons.system.terminals import has_terminal; print(has_terminal())"


def test_a_process_without_a_terminal_has_none() -> None:
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, start_new_session=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("background", [False, True])
def test_a_process_has_one_even_if_none_of_its_streams_leads_there(*, background: bool) -> None:
    setsid = shutil.which("setsid")
    if setsid is None:
        pytest.skip("needs setsid of util-linux, which gives a process a terminal")
    master, slave = pty.openpty()
    inner = f"'{sys.executable}' -c '{CODE}' < /dev/null"
    command = [setsid, "--ctty", "sh", "-c", f"set -m; {inner} & wait" if background else inner]
    done = subprocess.run(command, stdin=slave, stdout=subprocess.PIPE, stderr=slave, text=True, timeout=60, check=True)
    os.close(slave)
    os.close(master)
    assert done.stdout == "True\n"
