"""Asks a running neuron over the control socket in its ``state_dir``."""

import json
import socket
from pathlib import Path
from typing import Any

from bettensor.bus.errors import BettensorError
from bettensor.neurons.config.sources import DEFAULT_HOME
from bettensor.neurons.edges.control import NAME, socket_address


class NotRunning(BettensorError):
    """No neuron answers."""


class ControlRefused(BettensorError):
    """The neuron refused the question; the message is its reason."""


def ask(state_dir: Path, question: dict[str, Any], patience: float = 5.0) -> dict[str, Any]:
    """One question and its answer.

    Args:
        state_dir: of the neuron.
        question: see ``neurons/edges/control.py``.
        patience: seconds to wait for the answer.

    Raises:
        NotRunning: no neuron answers there.
        ControlRefused: the neuron refuses the question.
    """
    try:
        with socket_address(state_dir) as address, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(patience)
            client.connect(address)
            client.sendall(json.dumps(question).encode() + b"\n")
            line = client.makefile("rb").readline()
    except TimeoutError:
        raise NotRunning(f"the neuron in {state_dir} does not answer within {patience:g} s") from None
    except OSError:
        raise NotRunning(
            f"no neuron is running in {state_dir}; start it with `bettensor validator --config FILE` or `bettensor "
            "miner --config FILE`, or name another with --config FILE or --state-dir DIR"
        ) from None
    if not line.endswith(b"\n"):
        raise NotRunning(f"the neuron in {state_dir} stopped before it answered")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ControlRefused(answer["error"])
    return answer


def find_state_dir(state_dir: Path | None, config: Path | None, role: str | None = None) -> Path:
    """The state_dir of the neuron that a command is about.

    Args:
        state_dir: the folder itself.
        config: the neuron's YAML file, which names the folder.
        role: if neither is given, the only running neuron of this role (None: of any role) with its state_dir
            inside ``~/.bettensor`` is taken.

    Raises:
        ConfigurationError: ``config`` cannot be read.
        NotRunning: neither is given, and not exactly one neuron runs.
    """
    if state_dir is not None:
        return state_dir.expanduser()
    if config is not None:
        from bettensor.neurons.config.loading import load_settings

        return load_settings(config).state_dir
    running = [
        path.parent for path in sorted(DEFAULT_HOME.expanduser().glob(f"*/{NAME}")) if _answers(path.parent, role)
    ]
    if len(running) == 1:
        return running[0]
    kind = role or "neuron"
    if not running:
        raise NotRunning(
            f"no {kind} whose state_dir is inside {DEFAULT_HOME} is running; start one, or name it with --config or "
            "--state-dir"
        )
    raise NotRunning(f"{len(running)} neurons are running: {', '.join(map(str, running))}; name one with --state-dir")


def _answers(state_dir: Path, role: str | None) -> bool:
    try:
        return role in (None, ask(state_dir, {"ask": "status", "slates": False})["role"])
    except BettensorError:
        return False
