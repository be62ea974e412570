"""Keys as options of a command."""

import argparse
from typing import get_args

import pytest

from bettensor.bus.events import Role
from bettensor.neurons.cli.key_help import add_keys
from bettensor.neurons.config.keys import groups_of


def options(*roles: Role, negated: bool = False) -> list[str]:
    parser = argparse.ArgumentParser()
    add_keys(parser, roles, negated=negated)
    return [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - no other way


@pytest.mark.parametrize("role", get_args(Role))
def test_every_key_but_the_role_is_an_option(role: Role) -> None:
    keys = {f"--{key.path}" for group in groups_of(role) for key in group.keys}
    assert keys - {*options(role)} == {"--role"}
    assert {"-w", "-H", "-n", "--wallet-hotkey", "--websocket_enabled", "--logging.trace"} <= {*options(role)}


def test_keys_of_both_roles_are_there_once() -> None:
    both = options("validator", "miner")
    assert len(both) == len({*both})
    assert {"--axon.port", "--validators"} <= {*both}


def test_completion_knows_negated_flags_too() -> None:
    assert "--no-websocket.enabled" in options("miner", negated=True)
    assert "--no-metagraph.static" in options("miner", negated=True)
    assert "--no-netuid" not in options("miner", negated=True)
    assert not [option for option in options("miner") if option.startswith("--no-")]
