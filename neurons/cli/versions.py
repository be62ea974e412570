"""With which releases of bittensor this one works. Imports none of it: with another, that alone may fail."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from bettensor.bus.errors import ConfigurationError

BITTENSOR: Final = ((11, 3), (12,))
"""From which version to below which. Tested: 11.3.0, and a stand-in for ``http_auth.verify`` of 11.3.2."""
CURE: Final = "pip install 'bittensor>={},<{}'".format(*(".".join(map(str, bound)) for bound in BITTENSOR))


def installed() -> str:
    """The version of bittensor that is here."""
    try:
        return version("bittensor")
    except PackageNotFoundError:
        return "(not installed)"


def fits(bittensor: str) -> bool:
    """Whether this release works with it."""
    least, below = BITTENSOR
    return least <= tuple(int(part) for part in bittensor.split(".")[:2] if part.isdecimal()) < below


def require_bittensor() -> None:
    """
    Raises:
        ConfigurationError: another version is here; the message says what to do.
    """
    if not fits(found := installed()):
        raise ConfigurationError(f"bittensor {found} is not what this release works with: {CURE}")
