"""An existing neuron as a process; its program is one of this test, which needs no other environment."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bettensor.neurons.existing import process
from bettensor.neurons.existing.process import ExistingProcess, Silent

ECHO = """
import json, os, sys
print("a line of its log", file=sys.stderr, flush=True)
settings = json.loads(sys.stdin.readline())
print(json.dumps({"started": [sys.argv[1], settings, os.environ["READ_ONLY"]]}), flush=True)
for line in sys.stdin:
    print(json.dumps({"told": json.loads(line)}), flush=True)
"""
DEAF = "import time\nwhile True: time.sleep(1)"
BROKEN = "import sys\nsys.exit('cannot be imported')"

Start = Callable[[str], ExistingProcess]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(program: str) -> ExistingProcess:
        file = tmp_path / "program.py"
        file.write_text(program)
        monkeypatch.setattr(process, "PROGRAM", file)
        return ExistingProcess(Path(sys.executable), "miner", {"uid": 1}, tmp_path / "log")

    return start


def test_it_is_told_and_tells(start: Start) -> None:
    with start(ECHO) as neuron:
        assert neuron.await_news("started") == [["miner", {"uid": 1}, "1"]]
        neuron.tell({"keep": 1})
        neuron.tell({"keep": 2})
        assert neuron.await_news("told", 2) == neuron.all("told") == [{"keep": 1}, {"keep": 2}]
        assert neuron.all("nothing") == []
        assert neuron.close() == 0


def test_one_that_ends_is_silent_and_its_log_says_why(start: Start) -> None:
    with start(BROKEN) as neuron:
        with pytest.raises(Silent, match=r"did not tell 'listening' 1 times:\ncannot be imported"):
            neuron.await_news("listening")
        neuron.tell({"keep": 3})
        assert neuron.close() == 1


def test_one_that_does_not_end_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_TIMEOUT", 0.1)
    with start(DEAF) as neuron:
        with pytest.raises(Silent, match="did not tell 'listening'"):
            neuron.await_news("listening", timeout=0.1)
        assert neuron.close() == -9
