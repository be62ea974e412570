"""``make fuzz MINUTES=5``: atheris with libFuzzer, coverage-guided, for each target in turn on every core.

Before that it runs the state machines of whole sessions, ``RUNS_A_MINUTE`` times a minute.

New inputs that reach more code are kept in ``build/fuzz/TARGET``. An input that breaks a target is printed, and belongs
into ``tests/fuzz/corpus/TARGET`` with its repair. ``python -m tests.fuzz TARGET SECONDS RUNS`` runs one target in this
process.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.fuzz.results import Result, keep

KEPT: Final = Path("build/fuzz")
MACHINES: Final = ("tests/actors/validator/test_session_machine.py", "tests/actors/miner/test_session_machine.py")
RUNS_A_MINUTE: Final = 100
TIMEOUT: Final = 10
"""Seconds for one input."""
MEMORY: Final = 1024
"""MiB of a process."""


def run(name: str, seconds: int, runs: int) -> None:
    """Fuzz one target in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["bettensor"], enable_loader_override=False):
        from tests.fuzz.targets import CORPUS, TARGETS
    target = TARGETS[name]
    kept = KEPT / name
    kept.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        f"-max_len={target.most}",
        f"-timeout={TIMEOUT}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={kept}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(kept), str(CORPUS / name)], target.read)
    atheris.Fuzz()


def _result(name: str, process: "subprocess.Popen[str]") -> Result:
    """The result of a process that has ended, which is told."""
    output, _ = process.communicate()
    figures = (re.search(rf"{figure}: +(\d+)", output) for figure in ("number_of_executed_units", "peak_rss_mb"))
    result = Result(*(int(found[1]) if found else 0 for found in figures))
    print(f"{name}: {result.inputs} inputs, {result.peak_mib} MiB at most", flush=True)
    if process.returncode:
        print(output[-4000:], flush=True)
    return result


def run_machines(minutes: float) -> int:
    """Run both state machines; returns their exit code."""
    from tests.machines import EXAMPLES  # not before the targets are instrumented

    examples = str(max(1, round(minutes * RUNS_A_MINUTE)))
    print(f"state machines of whole sessions: {examples} runs of each", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", *MACHINES]
    return subprocess.run(command, env=os.environ | {EXAMPLES: examples}, check=False).returncode


def main(minutes: float, runs: int) -> int:
    """Run the state machines, and fuzz every target for its share of ``minutes``, or until it had ``runs`` inputs.

    Returns:
        The exit code.
    """
    from tests.fuzz.targets import TARGETS

    cores = os.cpu_count() or 1
    seconds = str(round(minutes * 60 * cores / len(TARGETS)))
    failed = run_machines(minutes) != 0
    waiting, running = list(TARGETS), dict[str, "subprocess.Popen[str]"]()
    results: dict[str, Result] = {}
    while waiting or running:
        while waiting and len(running) < cores:
            name = waiting.pop(0)
            command = [sys.executable, "-m", "tests.fuzz", name, seconds, str(runs)]
            running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.5)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            process = running.pop(name)
            results[name] = _result(name, process)
            failed = failed or process.returncode != 0
    if not failed:
        keep({name: results[name] for name in TARGETS})
    return 1 if failed else 0


def _asked(arguments: list[str]) -> Any:
    if len(arguments) == 3:
        return run(arguments[0], int(arguments[1]), int(arguments[2]))
    return main(float(arguments[0]), int(arguments[1]) if len(arguments) > 1 else -1)


if __name__ == "__main__":
    sys.exit(_asked(sys.argv[1:]))
