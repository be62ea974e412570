"""The tests mirror the source: ``actors/miner/slate.py`` is tested by ``tests/actors/miner/test_slate.py``."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TREES: Final = ("bus", "actors", "neurons")

AS_PROCESSES = "tests/neurons/bench/test_command.py runs each scenario as its users do"
BESIDE_THE_REAL_ONE = "tests/contracts runs one suite against it and the real one"
AS_A_WHOLE = "tests/loopback runs it on real sockets, and tests/neurons/cli/test_main.py as a process"
ELSEWHERE: Final[dict[str, str]] = {
    "actors/schemes.py": "validator/test_auth.py and miner/test_connection.py in tests/actors show its users",
    "neurons/bench/broadcast.py": AS_PROCESSES,
    "neurons/bench/events.py": AS_PROCESSES,
    "neurons/bench/fallback.py": AS_PROCESSES,
    "neurons/bench/sessions.py": AS_PROCESSES,
    "neurons/bench/start.py": AS_PROCESSES,
    "neurons/edges/game_stream.py": "tests/contracts/test_game_stream.py",
    "neurons/edges/metrics.py": "tests/loopback/test_metrics.py reads them as Prometheus does",
    "neurons/edges/lease.py": "test_request_protocol.py beside it shows each deadline, and test_crowd.py each place",
    "neurons/existing/program.py": "tests/loopback/test_bittensor_9_and_10.py, by the Python of another environment",
    "neurons/miner.py": AS_A_WHOLE,
    "neurons/package/_doors.py": "tests/test_doors.py holds all doors",
    "neurons/package/_version.py": "tests/test_doors.py holds all doors",
    "neurons/package/edges.py": "tests/test_doors.py holds all doors",
    "neurons/package/models.py": "tests/test_doors.py holds all doors",
    "neurons/package/recordings.py": "tests/test_doors.py holds all doors",
    "neurons/package/simulation.py": "tests/test_doors.py holds all doors",
    "neurons/simulation/disk.py": "test_ledger.py, test_outbox.py and test_game_stream.py beside it",
    "neurons/simulation/keys.py": "tests/actors/miner/test_connection.py signs with it",
    "neurons/simulation/timers.py": BESIDE_THE_REAL_ONE,
    "neurons/validator.py": AS_A_WHOLE,
}
"""Modules without a test file in the mirrored place, and what tests them."""
OF_NO_MODULE: Final[dict[str, str]] = {
    "tests/actors/test_mixed_week.py": "all actors of a subnet together with existing neurons, while neurons migrate",
    "tests/actors/test_weather.py": "all actors of a subnet together, in simulated trouble",
    "tests/actors/miner/test_session_machine.py": "all actors of a miner, with honest validators and liars",
    "tests/actors/validator/test_session_machine.py": "all actors of a validator, with honest miners and liars",
    "tests/neurons/config/test_numbers.py": "every number that a configuration has, whichever module defines it",
}
"""Test files in these trees that are of no single module."""


def modules() -> set[str]:
    found = (file for tree in TREES for file in (ROOT / tree).rglob("*.py") if not file.name.startswith("__"))
    return {file.relative_to(ROOT).as_posix() for file in found}


def mirrored(module: str) -> str:
    """Where the tests of ``module`` stand."""
    path = Path("tests", module)
    return path.with_name(f"test_{path.name}").as_posix()


def test_every_module_has_its_test_file() -> None:
    missing = {module for module in modules() if not (ROOT / mirrored(module)).exists()}
    assert sorted(missing - set(ELSEWHERE)) == []
    assert sorted(set(ELSEWHERE) - missing) == [], "these are no exceptions any more"


def test_every_test_file_has_its_module() -> None:
    files = {file.relative_to(ROOT).as_posix() for tree in TREES for file in (ROOT / "tests" / tree).rglob("test_*.py")}
    strays = files - {mirrored(module) for module in modules()}
    assert sorted(strays - set(OF_NO_MODULE)) == []
    assert sorted(set(OF_NO_MODULE) - strays) == [], "these are no exceptions any more"
