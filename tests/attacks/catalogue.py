"""All attacks, by name, in the order of the table."""

from typing import Final

from tests.attacks.attack import Attack
from tests.attacks.liars import LIARS
from tests.attacks.members import MEMBERS
from tests.attacks.secure import IS_THERE, SECURE
from tests.attacks.strangers import AT_MINERS, STRANGERS

PARTS: Final[dict[str, tuple[Attack, ...]]] = {
    "Strangers and a validator": STRANGERS,
    "Registered hotkeys and a validator": MEMBERS,
    "A lying validator and a miner": LIARS,
    "Strangers and a miner that listens": AT_MINERS,
    **({"TLS": SECURE} if IS_THERE else {}),
}
"""The tables of the page, by their titles."""
ATTACKS: Final[dict[str, Attack]] = {attack.name: attack for part in PARTS.values() for attack in part}


def part_of(attack: Attack) -> str:
    """The title of the table that ``attack`` is a row of."""
    return next(title for title, part in PARTS.items() if attack in part)
