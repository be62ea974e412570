"""A neuron's ``state_dir``, which one process uses at a time."""

from pathlib import Path

from bettensor.bus.errors import Unavailable
from bettensor.neurons.system import locks
from bettensor.neurons.system.errors import start_fault


def lock_state_dir(state_dir: Path) -> int:
    """Make ``state_dir`` if it does not exist, and lock it for this process.

    Returns:
        The descriptor of the lock; see ``locks.take``.

    Raises:
        Unavailable: another neuron has locked it, or the disk is full; a later start may succeed.
        ConfigurationError: it is no folder, or this user may not use it.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return locks.take(state_dir / locks.NAME)
    except locks.Held as held:
        raise Unavailable(
            f"state_dir {state_dir} is in use by another neuron (process {str(held) or 'unknown'}): "
            "stop it, or set another state_dir for this one"
        ) from None
    except OSError as error:
        raise start_fault(f"state_dir {state_dir} cannot be used: {error}", error) from None
