"""A neuron's ``state_dir``, which one process uses at a time, and which belongs to its user alone."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from bettensor.bus.errors import Unavailable
from bettensor.neurons.system import locks
from bettensor.neurons.system.errors import start_fault
from bettensor.neurons.system.private import own_folder, tighten

_STATE: Final = (locks.NAME, "*.sqlite3*", "*.jsonl", "*.jsonl.gz", "metagraph.json", "odds_api.json")
"""The files of a neuron; an operator's own ones in the same folder are left alone."""


def secure_state_dir(state_dir: Path) -> tuple[str, ...]:
    """Make ``state_dir`` if it does not exist, and take the permissions of other users from what is there.

    Returns:
        What other users could read or change so far, such as files of release 0.1.0, with its former permissions.

    Raises:
        Unavailable: the disk is full; a later start may succeed.
        ConfigurationError: it is no folder, it belongs to another user, or this user may not use it.
    """
    try:
        former = own_folder(state_dir)
        folder = () if former is None else (f"the folder itself ({former:04o})",)
        return *folder, *_tightened(state_dir)
    except OSError as error:
        raise start_fault(f"state_dir {state_dir} cannot be used: {error}", error) from None


def _tightened(state_dir: Path) -> Iterator[str]:
    files = sorted({file for pattern in _STATE for file in state_dir.glob(pattern)})
    for file in files:
        with suppress(OSError):  # it is deleted meanwhile, or refused by the part of the neuron that opens it
            former = file.lstat().st_mode & 0o777
            if tighten(file):
                yield f"{file.name} ({former:04o})"


def lock_state_dir(state_dir: Path) -> int:
    """Make ``state_dir`` if it does not exist, and lock it for this process.

    Returns:
        The descriptor of the lock; see ``locks.take``.

    Raises:
        Unavailable: another neuron has locked it, or the disk is full; a later start may succeed.
        ConfigurationError: it is no folder, it belongs to another user, or this user may not use it.
    """
    secure_state_dir(state_dir)
    try:
        return locks.take(state_dir / locks.NAME)
    except locks.Held as held:
        raise Unavailable(
            f"state_dir {state_dir} is in use by another neuron (process {str(held) or 'unknown'}): "
            "stop it, or set another state_dir for this one"
        ) from None
    except OSError as error:
        raise start_fault(f"state_dir {state_dir} cannot be used: {error}", error) from None
