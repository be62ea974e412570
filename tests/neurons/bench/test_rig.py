"""The process that a benchmark measures: it is there when it is said to be, and gone at the end."""

import json
import os
import sys
from pathlib import Path

import pytest

from bettensor.neurons.bench.rig import CORES, BenchmarkFailed, Server, make_game, pin, running
from bettensor.neurons.edges.game_file import read_games
from bettensor.neurons.system.ports import free_port
from tests.support import NOW

LISTENS = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


def server(folder: Path, code: str) -> Server:
    port = free_port()
    return Server([sys.executable, "-c", code, str(port)], port, folder / "log")


def test_a_server_is_there_within_the_block_and_gone_behind_it(tmp_path: Path) -> None:
    listening = server(tmp_path, LISTENS)
    with running(listening):
        assert listening.process.poll() is None
        assert listening.start_seconds > 0
        assert os.sched_getaffinity(0) == {CORES[1 % len(CORES)]}
        assert os.sched_getaffinity(listening.process.pid) == {CORES[0]}
        assert listening.cpu_seconds() >= 0
        assert listening.peak_memory() >= listening.memory() > 1024 * 1024
    assert listening.process.wait(10) is not None
    assert sorted(os.sched_getaffinity(0)) == CORES
    with pytest.raises((BenchmarkFailed, OSError)):
        listening.memory()


def test_a_server_that_ends_instead_of_listening_is_told_with_its_last_words(tmp_path: Path) -> None:
    failing = server(tmp_path, "import sys; sys.exit('no such luck')")
    with pytest.raises(BenchmarkFailed, match=r"(?s)does not listen:.*no such luck"), running(failing):
        raise AssertionError
    assert sorted(os.sched_getaffinity(0)) == CORES


def test_a_core_that_is_not_there_is_another_one() -> None:
    try:
        pin(0, len(CORES))
        assert os.sched_getaffinity(0) == {CORES[0]}
    finally:
        os.sched_setaffinity(0, CORES)


def test_its_games_are_a_slate(tmp_path: Path) -> None:
    file = tmp_path / "games.json"
    file.write_text(json.dumps({"games": [make_game(number) for number in range(3)]}))
    slate = read_games(file, NOW, NOW)
    assert [game.game_id for game in slate.games] == ["bench-0", "bench-1", "bench-2"]
