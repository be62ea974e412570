"""A configuration is gathered from file, environment and flags, and each key knows its source."""

from pathlib import Path
from typing import Any

import pytest

from bettensor.neurons.config.sources import Gathered, Sources, blame, blame_together, gather, spelled

SOURCES = Sources(
    "v.yaml",
    keys={
        "netuid": "v.yaml",
        "axon.port": "--axon.port",
        "axon.ip": "v.yaml",
        "handlers": "BETTENSOR_HANDLERS",
    },
)


def gathered(tmp_path: Path, text: str = "", environment: Any = None, **flags: str) -> Gathered:
    file = tmp_path / "v.yaml"
    file.write_text(text)
    return gather(file, flags, environment or {})


@pytest.mark.parametrize(
    ("key", "beginning"),
    [
        ("netuid", "v.yaml: netuid"),
        ("axon.port", "--axon.port"),
        ("axon", "--axon.port, v.yaml: axon"),
        ("handlers.x.0", "BETTENSOR_HANDLERS: handlers.x.0"),
        ("axon.external_ip", "v.yaml: axon.external_ip"),
        ("", "v.yaml"),
    ],
)
def test_a_message_begins_with_the_source_of_its_key(key: str, beginning: str) -> None:
    assert blame(SOURCES, key) == beginning


def test_settings_of_a_program_have_words_for_a_source() -> None:
    assert blame("settings", "netuid") == "settings: netuid"
    assert blame("settings", "") == "settings"
    assert blame_together("settings", ["netuid"]) == "settings"


def test_of_keys_that_contradict_each_other_the_strongest_source_is_blamed() -> None:
    assert blame_together(SOURCES, ["netuid", "axon.port"]) == "--axon.port"
    assert blame_together(SOURCES, ["netuid", "handlers"]) == "BETTENSOR_HANDLERS"
    assert blame_together(SOURCES, ["netuid", "axon.serve"]) == "v.yaml"


def test_flags_override_variables_and_variables_the_file(tmp_path: Path) -> None:
    text = "netuid: 1\naxon: {ip: 127.0.0.1, port: 1}\nactors: {}"
    found = gathered(tmp_path, text, {"BETTENSOR_NETUID": "2", "BETTENSOR_AXON__PORT": "2", "PATH": "x"}, netuid="3")
    assert found.document == {"netuid": "3", "axon": {"ip": "127.0.0.1", "port": "2"}, "actors": {}}
    file = str(tmp_path / "v.yaml")
    assert found.sources.keys == {
        "netuid": "--netuid",
        "axon.ip": file,
        "axon.port": "BETTENSOR_AXON__PORT",
        "actors": file,
    }
    assert found.faults == []


def test_a_section_of_a_flag_replaces_the_files(tmp_path: Path) -> None:
    found = gathered(tmp_path, "axon: {ip: 127.0.0.1, port: 1}", axon="{port: 2}")
    assert found.document == {"axon": {"port": 2}}
    assert found.sources.keys == {"axon.port": "--axon"}


def test_the_last_flag_wins() -> None:
    flags = {"logging.debug": "true", "logging.level": "ERROR"}
    assert gather(None, flags, {}).document == {"logging": {"level": "ERROR"}}
    assert gather(None, dict(reversed(flags.items())), {}).document == {"logging": {"level": "DEBUG"}}


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("websocket_enabled", "false", "websocket.enabled", "false"),
        ("wallet", "w", "wallet.name", "w"),
        ("wallet", "{name: w}", "wallet", "{name: w}"),
        ("wallet-hotkey", "h", "wallet.hotkey", "h"),
        ("wallet-path", "p", "wallet.path", "p"),
        ("network", "test", "subtensor.network", "test"),
        ("logging.debug", "true", "logging.level", "DEBUG"),
        ("logging.trace", "1", "logging.level", "TRACE"),
        ("logging.info", "On", "logging.level", "INFO"),
        ("logging.debug", "false", "logging.level", "INFO"),
        ("axon.port", "1", "axon.port", "1"),
    ],
)
def test_other_spellings_mean_a_key_and_a_value(name: str, text: str, key: str, value: str) -> None:
    assert spelled(name, text) == (key, value)


def test_bytes_that_are_no_text_are_a_fault_of_their_flag_or_variable(tmp_path: Path) -> None:
    found = gathered(tmp_path, "netuid: 1", {"BETTENSOR_WALLET": "\udcff"}, **{"axon.tls.key": "a\udcad.pem"})
    assert found.faults == [
        "BETTENSOR_WALLET: its value is no UTF-8 text",
        "--axon.tls.key: its value is no UTF-8 text",
    ]


def test_all_faults_of_flags_and_variables_are_kept(tmp_path: Path) -> None:
    environment = {
        "BETTENSOR_WEBSOCKET_ENABLED": "true",
        "BETTENSOR_WEBSOCKET__ENABLED": "false",
        "BETTENSOR_LOGGING__DEBUG": "maybe",
    }
    found = gathered(tmp_path, "netuid: 1", environment, handlers="{", **{"netuid.x": "1"})
    assert found.faults == [
        "BETTENSOR_WEBSOCKET__ENABLED: BETTENSOR_WEBSOCKET_ENABLED sets the same key to another value; "
        "unset one of them",
        "BETTENSOR_LOGGING__DEBUG: expected true or false, but it is 'maybe'",
        "--handlers: not YAML: line 1: expected the node content, but found '<stream end>'",
        "--netuid.x: netuid is not a section",
    ]


SERVICE_LINKS = {
    "BETTENSOR_SERVICE_HOST": "10.0.0.1",
    "BETTENSOR_SERVICE_PORT": "8091",
    "BETTENSOR_SERVICE_PORT_WS": "8091",
    "BETTENSOR_PORT": "tcp://10.0.0.1:8091",
    "BETTENSOR_PORT_8091_TCP": "tcp://10.0.0.1:8091",
    "BETTENSOR_PORT_8091_TCP_PROTO": "tcp",
    "BETTENSOR_PORT_8091_TCP_PORT": "8091",
    "BETTENSOR_PORT_8091_TCP_ADDR": "10.0.0.1",
    "BETTENSOR_PORT_53_UDP": "udp://10.0.0.1:53",
    "BETTENSOR_VALIDATOR_SERVICE_HOST": "10.0.0.1",
    "BETTENSOR_VALIDATOR_PORT": "tcp://10.0.0.1:8091",
    "BETTENSOR_VALIDATOR_METRICS_SERVICE_PORT_HTTP_METRICS": "9464",
    "BETTENSOR_AXON_PORT_8091_TCP_ADDR": "10.0.0.1",
}


def test_what_kubernetes_sets_for_a_service_called_bettensor_is_no_key() -> None:
    found = gather(None, {}, SERVICE_LINKS)
    assert (found.document, found.faults) == ({}, [])


@pytest.mark.parametrize(
    ("variable", "key"),
    [("BETTENSOR_PORT", "port"), ("BETTENSOR_AXON_PORT", "axon_port"), ("BETTENSOR_AXON__PORT", "axon.port")],
)
def test_a_variable_of_an_operator_is_a_key(variable: str, key: str) -> None:
    assert gather(None, {}, {variable: "8091"}).sources.keys == {key: variable}
    assert gather(None, {}, {"BETTENSOR_AXON__PORT": "tcp://10.0.0.1:1"}).sources.keys == {
        "axon.port": "BETTENSOR_AXON__PORT"
    }
