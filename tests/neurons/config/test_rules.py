"""Keys that make no sense together are refused, with their values and their sources."""

from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.rules import conflicts
from bettensor.neurons.config.settings import ROLES, parse


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("flags", "environment", "told"),
    [
        (
            {"websocket.heartbeat_interval": "400"},
            {},
            "--websocket.heartbeat_interval: websocket.heartbeat_interval (400.0, from --websocket.heartbeat_interval) "
            "must be less than websocket.connection_timeout (300.0, the default): "
            "a quiet session would be closed between two heartbeats",
        ),
        (
            {},
            {"BETTENSOR_WEBSOCKET__CONNECTION_TIMEOUT": "60"},
            "BETTENSOR_WEBSOCKET__CONNECTION_TIMEOUT: websocket.heartbeat_interval (60.0, the default) must be less "
            "than websocket.connection_timeout (60.0, from BETTENSOR_WEBSOCKET__CONNECTION_TIMEOUT): "
            "a quiet session would be closed between two heartbeats",
        ),
        (
            {"subtensor.network": "test"},
            {"BETTENSOR_METAGRAPH__STATIC": "m.yaml"},
            "--subtensor.network: metagraph.static ('m.yaml', from BETTENSOR_METAGRAPH__STATIC) and subtensor.network "
            "('test', from --subtensor.network) exclude each other, because each is a source of the metagraph",
        ),
        (
            {"subtensor.chain_endpoint": "ws://[::1]:1", "metagraph.static": "m.yaml"},
            {},
            "--metagraph.static, --subtensor.chain_endpoint: metagraph.static ('m.yaml', from --metagraph.static) and "
            "subtensor.chain_endpoint ('ws://[::1]:1', from --subtensor.chain_endpoint) exclude each other, because "
            "each is a source of the metagraph",
        ),
        (
            {"limits.connections": "5"},
            {"BETTENSOR_LIMITS__STRANGERS": "5"},
            "--limits.connections: limits.strangers (5, from BETTENSOR_LIMITS__STRANGERS) must be less than "
            "limits.connections (5, from --limits.connections): no connection would be left for a neuron of the subnet",
        ),
    ],
)
def test_both_keys_are_named(role: str, flags: dict[str, str], environment: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(None, flags, role, environment)
    assert str(refused.value) == told


def test_a_validator_and_its_metrics_have_different_ports() -> None:
    flags = {"axon.port": "9000", "metrics.port": "9000"}
    with pytest.raises(ConfigurationError, match=r"axon.port \(9000, .*\) and metrics.port \(9000, .*the same port"):
        load_settings(None, flags, "validator", {})
    for harmless in ({"metrics.enabled": "false"}, {"axon.port": "0", "metrics.port": "0"}):
        load_settings(None, flags | harmless, "validator", {})


def test_a_miner_that_answers_existing_validators_and_its_metrics_have_different_ports() -> None:
    flags = {"synapse.enabled": "true", "synapse.port": "9000", "metrics.port": "9000"}
    with pytest.raises(ConfigurationError, match=r"synapse.port \(9000, .*\) and metrics.port \(9000, .*the same port"):
        load_settings(None, flags, "miner", {})
    harmless = {"synapse.enabled": "false"}, {"metrics.enabled": "false"}, {"synapse.port": "0", "metrics.port": "0"}
    for changes in harmless:
        load_settings(None, flags | changes, "miner", {})
    load_settings(None, {"metrics.enabled": "false"}, "miner", {})


@pytest.mark.parametrize("limits", [{"connections": "6", "strangers": "5"}, {"connections": "5"}, {"strangers": "5"}])
def test_fewer_strangers_than_connections_make_sense(limits: dict[str, str]) -> None:
    load_settings(None, {f"limits.{key}": value for key, value in limits.items()}, "validator", {})


def test_settings_of_a_recorded_log_may_be_anything() -> None:
    document: dict[str, Any] = {"websocket": {"heartbeat_interval": 400}}
    settings = parse(ROLES["validator"], document, "the log's settings")
    (fault,) = conflicts(settings, "settings")
    assert fault.told("settings").startswith("settings: websocket.heartbeat_interval (400.0) must be less than")
