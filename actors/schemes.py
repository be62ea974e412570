"""By which signature scheme a hotkey must sign.

A hotkey's address does not tell its scheme, and if a peer's own word counted, a forger could choose the weaker one. So
each side goes by what its operator says, and what a peer names is a claim that must agree with that.
"""

from collections.abc import Mapping
from typing import Final

from bettensor.bus.events import Scheme
from bettensor.bus.identifiers import Hotkey

DEFAULT: Final[Scheme] = "sr25519"
"""Of each hotkey of which nothing else is said."""


def pinned_scheme(hotkey: Hotkey, configured: Mapping[Hotkey, Scheme], listed: Scheme | None) -> Scheme:
    """The scheme of ``hotkey``.

    Args:
        hotkey: whose.
        configured: ``auth.schemes``, which wins.
        listed: what the metagraph says, if it says anything.
    """
    return configured.get(hotkey) or listed or DEFAULT
