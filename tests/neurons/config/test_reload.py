"""What a running neuron takes of a changed configuration, and what waits for a restart."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from bettensor.neurons.config.reload import changes, flatten, new_actor_settings
from bettensor.neurons.config.settings import MinerSettings, Settings, ValidatorSettings, parse


def settings(role: str = "validator", **document: Any) -> Settings:
    minimal = {"role": role, "netuid": 30, "state_dir": "state", "metagraph": {"static": "metagraph.yaml"}}
    kind = ValidatorSettings if role == "validator" else MinerSettings
    parsed: Settings = parse(kind, minimal | document, "test")
    return parsed


def test_every_key_has_its_dotted_path() -> None:
    flat = flatten(settings(actors={"prediction": {"daily_wager_limit": 5}}))
    assert flat["netuid"] == 30
    assert flat["websocket.heartbeat_interval"] == 60.0
    assert flat["actors.prediction.daily_wager_limit"] == 5
    assert "websocket" not in flat
    assert "actors" not in flat


def test_handlers_are_one_key() -> None:
    assert flatten(settings(handlers={"neuron_started": ["a:b"]}))["handlers"] == {"neuron_started": ["a:b"]}


def test_nothing_has_changed_where_nothing_differs() -> None:
    assert changes(settings(), settings()) == ([], [])


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"blacklist": "blacklist.yaml"}, "blacklist"),
        ({"metagraph": {"static": "other.yaml"}}, "metagraph.static"),
        ({"logging": {"level": "DEBUG"}}, "logging.level"),
        ({"websocket": {"enabled": False}}, "websocket.enabled"),
        ({"actors": {"prediction": {"daily_wager_limit": 5}}}, "actors.prediction.daily_wager_limit"),
        ({"actors": {"mine": {"limit": 5}}}, "actors.mine.limit"),
    ],
)
def test_what_a_running_neuron_takes_also_if_it_is_taken_back(document: dict[str, Any], key: str) -> None:
    assert changes(settings(), settings(**document)) == ([key], [])
    assert changes(settings(**document), settings()) == ([key], [])


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"netuid": 31}, "netuid"),
        ({"state_dir": "elsewhere"}, "state_dir"),
        ({"axon": {"port": 1}}, "axon.port"),
        ({"wallet": {"hotkey": "other"}}, "wallet.hotkey"),
        ({"recorder": {"record": "all"}}, "recorder.record"),
        ({"handlers": {"neuron_started": ["a:b"]}}, "handlers"),
        ({"actors": {"mine": {"class": "a:B"}}}, "actors.mine.class"),
        ({"actors": {"predictor": {"edge": 1}}}, "actors.predictor.edge"),
    ],
)
def test_what_waits_for_a_restart(document: dict[str, Any], key: str) -> None:
    assert changes(settings(), settings(**document)) == ([], [key])


def test_whether_the_metagraph_comes_from_a_file_or_the_chain_waits_for_a_restart() -> None:
    static, chain = (settings(metagraph={"static": static}) for static in ("metagraph.yaml", None))
    assert changes(static, chain) == changes(chain, static) == ([], ["metagraph.static"])


def test_keys_of_both_kinds_are_told_apart_and_are_in_order() -> None:
    new = settings(netuid=31, websocket={"enabled": False}, axon={"port": 1}, logging={"level": "DEBUG"})
    assert changes(settings(), new) == (["logging.level", "websocket.enabled"], ["axon.port", "netuid"])


@dataclass(frozen=True)
class Limits:
    most: int = 1
    least: int = 0


@dataclass(frozen=True)
class OtherLimits:
    most: int = 1


def test_an_actor_whose_settings_differ_gets_all_of_them() -> None:
    old = {"a": Limits(), "b": Limits()}
    assert new_actor_settings(old, old | {"b": replace(Limits(), most=7)}) == {"b": {"most": 7, "least": 0}}
    assert new_actor_settings(old, dict(old)) == {}


def test_an_actor_that_is_new_gone_or_of_another_class_waits_for_a_restart() -> None:
    old = {"a": Limits(), "gone": Limits()}
    assert new_actor_settings(old, {"a": OtherLimits(most=7), "new": Limits(most=7)}) == {}
