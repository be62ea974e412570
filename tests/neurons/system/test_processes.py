"""Limits of this process; child processes end with their parent, and what they say is kept."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bettensor.neurons.system.processes import most_open_files, spawn

PATIENCE = 20.0


def test_what_a_child_says_is_appended_to_its_log_and_it_reads_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    code = "import sys; print(repr(sys.stdin.read())); print('error', file=sys.stderr)"
    child = spawn([sys.executable, "-c", code], log)
    assert child.wait(PATIENCE) == 0
    first, *rest = log.read_text().splitlines()
    assert first == "before"
    assert sorted(rest) == ["''", "error"]


def test_what_cannot_be_started_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn([str(tmp_path / "absent")], tmp_path / "log")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from bettensor.neurons.system.processes import spawn
child = spawn([sys.executable, "-c", "import time; time.sleep(600)"], Path({str(tmp_path / "log")!r}))
print(child.pid, flush=True)
child.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_whose_parent_is_killed_before_it_has_begun_does_not_begin() -> None:
    script = """
import os
from bettensor.neurons.system.processes import dying_with_parent
begin, parent = dying_with_parent(), os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        pass
    begin()
    print("it lives", flush=True)
os._exit(0)
"""
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=PATIENCE, check=True).stdout == b""
    )


def is_alive(process: int) -> bool:
    """Whether it is there, and not just waiting for somebody to ask how it ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_process_may_open_as_many_files_as_its_hard_limit_allows() -> None:
    code = (
        "import resource\n"
        "from bettensor.neurons.system.processes import allow_open_files, open_file_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "assert open_file_limit() == 64\n"
        "allow_open_files()\n"
        "print(open_file_limit())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) == most_open_files()
