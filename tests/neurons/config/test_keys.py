"""The table of keys: complete, explained, and with the default of each."""

from dataclasses import dataclass
from typing import get_args

import pytest

from bettensor.bus.events import Role
from bettensor.neurons.config.keys import Key, field_docs, groups_of
from bettensor.neurons.config.settings import ROLES, keys_of

ROLE = pytest.mark.parametrize("role", get_args(Role))


@dataclass
class Base:
    first: int = 1
    """The first,
    on two lines."""
    second: int = 2


@dataclass
class Longer(Base):
    second: int = 3
    """Told again."""
    third: int = 4
    "not" + " a docstring"  # noqa: B018 - which is what is tested


def test_what_stands_below_a_field_is_its_documentation_also_in_a_base() -> None:
    assert field_docs(Base) == {"first": "The first, on two lines."}
    assert field_docs(Longer) == {"first": "The first, on two lines.", "second": "Told again."}


def key_of(role: Role, path: str) -> Key:
    return next(key for group in groups_of(role) for key in group.keys if key.path == path)


@ROLE
def test_every_key_is_there_and_explained(role: Role) -> None:
    groups = groups_of(role)
    assert all(key.meaning for group in groups for key in group.keys)
    assert all(group.meaning and group.keys for group in groups)
    assert {*keys_of(ROLES[role])} - {key.path for group in groups for key in group.keys} == {"actors"}


@ROLE
def test_no_key_is_required_but_by_a_model(role: Role) -> None:
    required = {key.path for group in groups_of(role) for key in group.keys if key.default is None}
    assert required <= {"actors.predictor.path", "actors.predictor.command"}


@pytest.mark.parametrize(
    ("path", "form", "default", "choices", "may_be_null"),
    [
        ("netuid", "N", "30", [], False),
        ("state_dir", "PATH", "null", [], False),
        ("websocket.enabled", "BOOL", "true", ["true", "false"], False),
        ("websocket.heartbeat_interval", "SEC", "60.0", [], False),
        ("subtensor.network", "TEXT", "null", ["finney", "test", "local"], True),
        ("recorder.record", "TEXT", "observed", ["observed", "all", "off"], False),
        ("recorder.path", "PATH", "null", [], True),
        ("axon.external_port", "PORT", "null", [], True),
        ("auth.schemes", "YAML", "{}", [], False),
        ("actors.prediction.daily_wager_limit", "X", "1000.0", [], False),
    ],
)
def test_a_key_has_form_default_and_choices(
    path: str, form: str, default: str, choices: list[str], may_be_null: bool
) -> None:
    key = key_of("validator", path)
    assert (key.form, key.default, key.choices, key.may_be_null) == (form, default, choices, may_be_null)


def test_a_key_has_other_spellings() -> None:
    assert key_of("miner", "websocket.enabled").spellings == ["websocket_enabled"]
    assert key_of("miner", "wallet.hotkey").spellings == ["wallet-hotkey"]
    assert key_of("miner", "netuid").spellings == []
