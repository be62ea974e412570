"""Makes the completion script of a shell, with the keys of each command that takes them."""

import argparse
from collections.abc import Iterator
from typing import Final

import shtab

from bettensor.neurons.cli.key_help import add_keys

_BASH: Final = """
# bash breaks --KEY=VALUE into three words; without the middle one they are completed like --KEY VALUE
_bettensor() {
  local -a words=()
  local word last=${COMP_WORDS[COMP_CWORD]}
  for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do
    [[ $word == "=" ]] || words+=("$word")
  done
  [[ $last == "=" ]] && last=
  local -a COMP_WORDS=("${words[@]}" "$last")
  local COMP_CWORD=${#words[@]}
  _shtab_bettensor
}
complete -o filenames -F _bettensor bettensor
"""


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script.

    Args:
        parser: of the command ``bettensor``; keys are added to it.
        shell: bash, zsh or tcsh.
    """
    for command in commands_of(parser):
        if command.get_default("takes_flags"):
            role = command.get_default("role")
            add_keys(command, [role] if role else ["validator", "miner"], negated=True)
    script: str = shtab.complete(parser, shell)
    return f"{script}{_BASH}" if shell == "bash" else script


def commands_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """All commands and their actions."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                yield command
                yield from commands_of(command)
