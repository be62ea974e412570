"""``bettensor bench``: runs the measurements; ``neurons/cli/main.py`` parses its arguments."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.bench import report
from bettensor.neurons.bench.rig import require_files
from bettensor.neurons.bench.scenarios import find
from bettensor.neurons.system.processes import allow_open_files
from bettensor.neurons.system.scratch import clear_abandoned
from bettensor.neurons.system.signals import ends_in_order

PARAMETERS = (
    "miners",
    "clients",
    "window",
    "batch",
    "rate",
    "duration",
    "record",
    "verify_workers",
    "bystanders",
    "stalled",
    "tls",
    "rows",
    "predictions",
    "events",
)


def bench(arguments: argparse.Namespace) -> int:
    """Measure, or compare two files of results; returns the exit code.

    Raises:
        BenchmarkFailed: a measurement failed.
        ConfigurationError: a scenario, parameter or file does not exist.
    """
    console = Console()
    if arguments.compare:
        first, second = map(Path, arguments.compare)
        report.compare(report.read(first), report.read(second), console)
        return 0
    if not sys.platform.startswith("linux"):
        raise ConfigurationError("bench: it keeps processes on cores and reads /proc, which only Linux has")
    allow_open_files()  # each miner is a socket of this process
    given = {name: value for name in PARAMETERS if (value := getattr(arguments, name)) is not None}
    runs = [(scenario, variant) for scenario in find(arguments.scenarios) for variant in scenario.chosen(given)]
    require_files(max(variant.connections for _, variant in runs))
    if (cleared := clear_abandoned()) is not None:
        print(cleared, file=sys.stderr)
    results = []
    with ends_in_order():
        for scenario, variant in runs:
            measured = report.result(scenario, variant, scenario.run(**variant.parameters))
            results.append(measured)
            if arguments.json:
                print(report.title(measured), file=sys.stderr)
            else:
                console.print(report.table(measured), "")
    if arguments.json:
        print(json.dumps(results[0] if len(results) == 1 else results, indent=2))
    return 0
