"""Finds running neurons, and asks one over the control socket in its ``state_dir``."""

import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bettensor.bus.errors import BettensorError, Unavailable
from bettensor.bus.text import short
from bettensor.neurons.config.sources import DEFAULT_HOME
from bettensor.neurons.edges.control import NAME, socket_address
from bettensor.neurons.system import locks

if TYPE_CHECKING:
    from bettensor.neurons.config.settings import Settings

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer: the status of a neuron with the largest slate, 20,000 games, has about 10 MB."""
PROCESSES: Final = Path("/proc")
"""The processes of this machine, if the system lists them as files."""
CONFIGURATIONS: Final = (Path("validator.yaml"), Path("miner.yaml"))
"""The files whose neurons are looked for if the system does not list its processes as files."""


class NotRunning(BettensorError):
    """No neuron answers."""


class ControlRefused(BettensorError):
    """The neuron refused the question; the message is its reason."""


def ask(
    state_dir: Path,
    question: dict[str, Any],
    patience: float = 5.0,
    *,
    config: Path | None = None,
    on_placed: Callable[[list[dict[str, Any]]], None] | None = None,
) -> dict[str, Any]:
    """One question and its answer.

    Args:
        state_dir: of the neuron.
        question: see ``neurons/edges/control.py``.
        patience: seconds to wait for the answer.
        config: the file that named ``state_dir``; an error says how to start the neuron with it.
        on_placed: gets the answer that comes before the verdicts, if the question asks for it.

    Raises:
        NotRunning: no neuron answers there.
        ControlRefused: the neuron refuses the question.
    """
    try:
        with (
            socket_address(state_dir) as address,
            socket.socket(socket.AF_UNIX) as client,
            client.makefile("rb") as lines,
        ):
            client.settimeout(patience)
            client.connect(address)
            client.sendall(json.dumps(question).encode() + b"\n")
            line = lines.readline(MAX_ANSWER)
            if on_placed is not None and line.startswith(b'{"placed"'):
                on_placed(_read_answer(line, state_dir)["placed"])
                line = lines.readline(MAX_ANSWER)
    except TimeoutError:
        raise NotRunning(f"the neuron in {state_dir} does not answer within {patience:g} s") from None
    except OSError:
        raise NotRunning(f"no neuron is running in {state_dir}; {_how_to_start(config)}") from None
    answer = _read_answer(line, state_dir)
    if "error" in answer:
        raise ControlRefused(answer["error"])
    return answer


def _read_answer(line: bytes, state_dir: Path) -> dict[str, Any]:
    """
    Raises:
        NotRunning: it is not a whole answer, or not one of a neuron.
    """
    if not line.endswith(b"\n") and len(line) < MAX_ANSWER:
        raise NotRunning(f"the neuron in {state_dir} stopped before it answered")
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise NotRunning(f"what answers in {state_dir} is no neuron of this version; restart the neuron")
    return answer


def _how_to_start(config: Path | None) -> str:
    if config is not None:
        return f"start it with `bettensor {_read(config).role} --config {shlex.quote(str(config))}`"
    start = "start it with `bettensor validator --config FILE` or `bettensor miner --config FILE`"
    return f"{start}, or name another with --config FILE or --state-dir DIR"


def refuse_while_it_runs(state_dir: Path, config: Path | None, role: str) -> None:
    """Refuse to change the files of a neuron that works with them.

    Raises:
        Unavailable: it runs; the message says how to stop it.
    """
    lock = state_dir / locks.NAME
    if lock.exists() and locks.is_held(lock):
        named = f"--state-dir {state_dir}" if config is None else f"--config {config}"
        raise Unavailable(f"a {role} works with {state_dir}; stop it first: `bettensor stop {named}`")


class Running(NamedTuple):
    """A neuron that answers."""

    state_dir: Path
    status: dict[str, Any]


def find_state_dir(state_dir: Path | None, config: Path | None, role: str | None = None) -> Path:
    """The state_dir of the neuron that a command is about.

    Args:
        state_dir: the folder itself.
        config: the neuron's YAML file, which names the folder.
        role: if neither is given, the only running neuron of this role (None: of any role) of this user is taken.

    Raises:
        ConfigurationError: ``config`` cannot be read.
        NotRunning: neither is given, and not exactly one neuron runs.
    """
    if state_dir is not None:
        return state_dir.expanduser()
    if config is not None:
        return _state_dir_of(config)
    running = running_neurons(role)
    if len(running) == 1:
        return running[0].state_dir
    kind = role or "neuron"
    if not running:
        raise NotRunning(f"this user runs no {kind}; start one, or name it with --config FILE or --state-dir DIR")
    choice = "\n".join(map(_choice, running))
    raise NotRunning(f"{len(running)} {kind}s are running; name one of them:\n{choice}")


def _choice(running: Running) -> str:
    state_dir, status = running
    neuron = f"{status['role']:<9} {short(status['hotkey'])}  netuid {status['netuid']}"
    return f"  {neuron}  --state-dir {shlex.quote(str(state_dir))}"


def running_neurons(role: str | None = None) -> list[Running]:
    """The neurons of this user that answer, of one role or of all roles, ordered by folder."""
    folders = {Path(os.path.realpath(folder)) for folder in _candidates()}
    running = []
    for folder in sorted(folder for folder in folders if _has_socket(folder)):
        with suppress(BettensorError):
            status = ask(folder, {"ask": "status", "slates": False})
            if role in (None, status["role"]):
                running.append(Running(folder, status))
    return running


def _has_socket(folder: Path) -> bool:
    try:
        return (folder / NAME).exists()
    except OSError:  # a folder of a container, or one that this user may not enter
        return False


def _candidates() -> Iterator[Path]:
    """Folders that may be a neuron's state_dir."""
    yield from DEFAULT_HOME.expanduser().glob("*/")
    if PROCESSES.is_dir():
        yield from _locked_folders()
        return
    for file in CONFIGURATIONS:
        with suppress(BettensorError):
            if file.exists():
                yield _state_dir_of(file)


def _locked_folders() -> Iterator[Path]:
    """Folders in which a process of this user has a file ``lock`` open, as a neuron has in its state_dir."""
    for process in PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # it ends meanwhile, or does not let itself be looked at
            if process.stat().st_uid == os.getuid():
                for number in (process / "fd").iterdir():
                    file = number.readlink()
                    if file.name == locks.NAME:
                        yield file.parent


def _state_dir_of(config: Path) -> Path:
    return _read(config).state_dir


def _read(config: Path) -> "Settings":
    from bettensor.neurons.config.loading import load_settings

    return load_settings(config)
