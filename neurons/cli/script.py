"""Runs a file of ``neurons`` as a script, ``python neurons/validator.py``. Imports nothing before the path is clean."""

import os
import sys
from pathlib import Path


def run_script(role: str) -> int:
    """Run a neuron with the script's own arguments; returns the exit code."""
    _leave_the_folder(str(Path(__file__).parents[1]))
    from bettensor.neurons.cli.main import main

    return main([role, *sys.argv[1:]])


def _leave_the_folder(folder: str) -> None:
    """Take the script's folder off the path: its ``config`` and ``models`` would hide an operator's own modules."""
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != os.path.realpath(folder)]
