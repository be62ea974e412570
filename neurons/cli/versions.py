"""The releases of bittensor that this one works with. Imports none of it: a wrong release may fail on import."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from bettensor.bus.errors import ConfigurationError

BITTENSOR: Final = ((11, 3), (12,))
"""From which version to below which. Tested: 11.3.0, and a stand-in for ``http_auth.verify`` of 11.3.2."""
CURE: Final = "pip install 'bittensor>={},<{}'".format(*(".".join(map(str, bound)) for bound in BITTENSOR))


def installed() -> str:
    """The installed version of bittensor."""
    try:
        return version("bittensor")
    except PackageNotFoundError:
        return "(not installed)"


def fits(bittensor: str) -> bool:
    """Whether this release works with this version of bittensor."""
    least, below = BITTENSOR
    return least <= tuple(int(part) for part in bittensor.split(".")[:2] if part.isdecimal()) < below


def require_bittensor() -> None:
    """
    Raises:
        ConfigurationError: another version is installed; the message has the command that installs the right one.
    """
    if not fits(found := installed()):
        raise ConfigurationError(f"this release does not work with bittensor {found}; run: {CURE}")
