"""By which signature scheme a hotkey must sign.

A hotkey's address does not tell its scheme, and if a peer's own word counted, a forger could choose the weaker one. So
each side goes by what its operator says, and what a peer names is a claim that must agree with that.
"""

from collections.abc import Mapping
from typing import Final, get_args

from bettensor.bus.events import Scheme
from bettensor.bus.identifiers import Hotkey

SCHEMES: Final[Mapping[str, Scheme]] = {scheme: scheme for scheme in get_args(Scheme)}
"""The schemes that are supported, by the name that a header, a log or a file gives them."""
DEFAULT: Final[Scheme] = "sr25519"
"""The scheme of each hotkey for which no other is named."""


def pinned_scheme(hotkey: Hotkey, configured: Mapping[Hotkey, Scheme], listed: Scheme | None) -> Scheme:
    """The scheme of ``hotkey``.

    Args:
        hotkey: whose.
        configured: ``auth.schemes``, which wins.
        listed: the scheme in the metagraph, if it names one.
    """
    return configured.get(hotkey) or listed or DEFAULT
