"""The configuration as a commented file: every key is there, with what the source says of it."""

from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from bettensor.actors.settings import WebSocketSettings
from bettensor.bus.events import Role
from bettensor.neurons.cli.config_file import commented_defaults, in_force
from bettensor.neurons.composition import ACTORS
from bettensor.neurons.config.keys import MODELS
from bettensor.neurons.config.loading import load_configuration
from bettensor.neurons.config.plugins import load
from bettensor.neurons.config.settings import ROLES

ROLE = pytest.mark.parametrize("role", get_args(Role))


@ROLE
def test_every_section_and_key_of_the_role_is_there(role: Role) -> None:
    document = yaml.safe_load(commented_defaults(role))
    assert set(document) == {field.name for field in fields(ROLES[role])}
    assert set(document["actors"]) <= {actor.name for actor in ACTORS[role]} | {"predictor"}


@ROLE
def test_every_key_is_explained(role: Role) -> None:
    lines = commented_defaults(role).splitlines()
    for before, line in pairwise(lines):
        key, colon, value = line.strip().partition(":")
        if colon and value.strip() and key.isidentifier():
            assert before.lstrip().startswith("#"), line


@ROLE
def test_no_line_is_wider_than_a_page(role: Role) -> None:
    assert [line for line in commented_defaults(role).splitlines() if line.startswith("#") and len(line) > 120] == []


@pytest.mark.parametrize(("model", "name"), MODELS.items())
def test_every_model_is_offered_by_the_name_that_loads_it(model: type[Any], name: str) -> None:
    assert load(name, "test") is model
    offered = commented_defaults("miner")
    assert f"class: {name}" in offered
    assert all(f" {field.name}: " in offered for field in fields(model.Settings))


def test_only_the_default_model_is_no_comment() -> None:
    document = yaml.safe_load(commented_defaults("miner"))
    default, *_ = MODELS.values()
    assert document["actors"]["predictor"]["class"] == default


def test_a_validator_has_no_model() -> None:
    assert "predictor" not in commented_defaults("validator")


# --- what is in force


class Counter:
    """A model of a user."""

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        api_token: str = ""
        websocket: WebSocketSettings = field(default_factory=WebSocketSettings)

    def __init__(self, _: Settings) -> None:
        raise AssertionError  # nothing is made to be shown

    def predict(self) -> None: ...


def show(role: str, **flags: str) -> str:
    return in_force(load_configuration(None, {key.replace("__", "."): text for key, text in flags.items()}, role, {}))


@ROLE
def test_every_value_is_shown_with_its_source(role: Role) -> None:
    shown = show(role, axon__port="1") if role == "validator" else show(role, websocket_enabled="false")
    lines = shown.splitlines()[1:]
    assert all("  # " in line or line.endswith(":") for line in lines)
    assert {"role", "netuid", "state_dir", "wallet", "actors"} <= yaml.safe_load(shown).keys()
    assert f"role: {role}  # the command" in lines
    assert "netuid: 30  # default" in lines
    assert {"validator": "  port: 1  # --axon.port", "miner": "  enabled: false  # --websocket_enabled"}[role] in lines


def test_the_settings_of_actors_and_of_the_model_are_shown() -> None:
    shown = yaml.safe_load(show("miner", actors__predictor__edge="0.5"))
    assert shown["actors"]["predictor"] == {
        "edge": 0.5,
        "bankroll": 100.0,
        "fraction": 0.5,
        "max_wager": 50.0,
        "seed": None,
    }
    assert "reconnect" not in shown["actors"]  # it has only sections
    assert shown["actors"]["http_fallback"] == {"poll_interval": 15.0, "max_poll_interval": 300.0}


def test_what_may_be_a_secret_is_not_shown() -> None:
    name = f"{__name__}:Counter"
    shown = show("miner", actors__predictor__class=name, actors__predictor__api_token="hunter2")  # noqa: S106
    assert "hunter2" not in shown
    assert "    api_token: (not shown)  # --actors.predictor.api_token\n" in shown
    assert f"    class: {name}  # --actors.predictor.class\n" in shown
    shown = show("miner", subtensor__chain_endpoint="wss://me:hunter2@example.org/hunter2")
    assert "hunter2" not in shown


def test_handlers_and_schemes_are_shown_by_topic_and_hotkey() -> None:
    shown = show("validator", handlers='{"*": ["shutil:which"]}')
    assert yaml.safe_load(shown)["handlers"] == {"*": ["shutil:which"]}


@ROLE
def test_what_is_shown_is_a_configuration_with_the_same_settings(role: Role, tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(show(role, netuid="7", subtensor__network="test"))
    again = load_configuration(file, environment={})
    assert again.faults == ()
    assert again.settings.subtensor.chosen == "test"
    assert (
        again.settings.state_dir == load_configuration(None, {"netuid": "7", "network": "test"}, role, {})[0].state_dir
    )
