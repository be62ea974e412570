"""Shows the keys of a configuration as options of a command, for ``--help`` and for completion.

The options are never parsed: ``neurons/config/flags.py`` reads flags.
"""

import argparse
from collections.abc import Iterable, Iterator

from bettensor.bus.events import Role
from bettensor.neurons.config.keys import Group, Key, groups_of
from bettensor.neurons.config.sources import LETTERS, SWITCHED, SWITCHES


def add_keys(parser: argparse.ArgumentParser, roles: Iterable[Role], *, negated: bool = False) -> None:
    """Add an option for each key of ``roles``, in a group for each section.

    Args:
        parser: of the command.
        roles: whose keys; a key of several roles is added once.
        negated: add ``--no-KEY`` too, for completion.
    """
    known: set[str] = {"role"}  # which the command says
    for role in roles:
        for group in groups_of(role):
            shown = parser.add_argument_group(_title(group), group.meaning.replace("``", "`"))
            for key in group.keys:
                if key.path not in known:
                    known.add(key.path)
                    _add_key(shown, key, negated=negated)


def _title(group: Group) -> str:
    return f"{group.path} ({group.model})" if group.model else group.path or "neuron"


def _add_key(group: "argparse._ArgumentGroup", key: Key, *, negated: bool) -> None:
    words = [key.path, *key.spellings]
    options = [*_letters(words), *(f"--{word}" for word in words)]
    is_switch = key.kind is bool
    if negated and (is_switch or key.may_be_null):
        options += [f"--no-{word}" for word in words]
    default = "required by this model" if key.default is None else f"default: {key.default}"
    group.add_argument(
        *options,
        nargs="?" if is_switch else None,
        choices=(key.choices or None) if negated or not is_switch else None,
        metavar=None if key.choices and not is_switch else key.form,
        help=f"{key.meaning} ({default})".replace("%", "%%"),
    )
    if key.path == SWITCHED:
        for switch, value in SWITCHES.items():
            group.add_argument(f"--{switch}", action="store_true", help=f"the same as --{key.path}={value}")


def _letters(words: list[str]) -> Iterator[str]:
    return (f"-{letter}" for letter, word in LETTERS.items() if word in words)
