"""A configuration is loaded from all its sources, and all that is wrong with it is told at once."""

from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.loading import find_file, load_configuration, load_settings


def told(
    folder: Path, text: str, flags: dict[str, str] | None = None, environment: dict[str, str] | None = None
) -> list[str]:
    file = folder / "v.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load_settings(file, flags, "validator", environment or {})
    return str(refused.value).replace(f"{file}", "v.yaml").splitlines()


def test_all_faults_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    text = "netuid: many\nwebsoket: {enabled: true}\naxon: {port: 70000, prot: 1}\nwebsocket: {heartbeat_interval: 400}"
    flags = {"wallet.name": "a/b", "neuron.epoch": "1", "handlers": "["}
    assert told(tmp_path, text, flags, {"BETTENSOR_LOGGING__LEVEL": "loud", "BETTENSOR_NETUIT": "1"}) == [
        "--handlers: not YAML: line 1: expected the node content, but found '<stream end>'",
        "BETTENSOR_NETUIT: netuit: there is no such key; the nearest is 'netuid'",
        "--neuron.epoch: there is no such key; `bettensor validator --help` lists all keys",
        "v.yaml: netuid: must be a valid integer, but it is 'many'",
        "--wallet.name: expected a name, and not a path, but it is 'a/b'",
        "BETTENSOR_LOGGING__LEVEL: logging.level: must be 'TRACE', 'DEBUG', 'INFO', 'SUCCESS', 'WARNING', 'ERROR' or "
        "'CRITICAL', but it is 'LOUD'",
        "v.yaml: axon.port: must be less than or equal to 65535, but it is 70000",
        "v.yaml: axon.prot: there is no such key; the nearest is 'axon.port'",
        "v.yaml: websoket: there is no such key; the nearest is 'websocket'",
        "v.yaml: websocket.heartbeat_interval (400.0, from v.yaml) must be less than websocket.connection_timeout "
        "(300.0, the default): a quiet session would be closed between two heartbeats",
    ]


def test_a_rule_about_a_wrong_key_is_not_told_too(tmp_path: Path) -> None:
    text = "websocket: {heartbeat_interval: 400, connection_timeout: soon}"
    assert told(tmp_path, text) == ["v.yaml: websocket.connection_timeout: must be a valid number, but it is 'soon'"]


def test_rules_of_a_section_and_between_sections_are_told_together(tmp_path: Path) -> None:
    text = "websocket: {reconnect_base_interval: 900}\naxon: {port: 5}"
    assert told(tmp_path, text, {"metrics.port": "5"}) == [
        "v.yaml: websocket: reconnect_base_interval must be at most max_reconnect_interval",
        "--metrics.port: axon.port (5, from v.yaml) and metrics.port (5, from --metrics.port) are the same port",
    ]


def test_the_flag_that_breaks_a_rule_of_the_files_section_is_blamed(tmp_path: Path) -> None:
    assert told(tmp_path, "websocket: {max_reconnect_interval: 9}", {"websocket.reconnect_base_interval": "10"}) == [
        "--websocket.reconnect_base_interval: websocket: reconnect_base_interval must be at most max_reconnect_interval"
    ]


@pytest.mark.parametrize(
    ("flag", "near"),
    [
        ("port", "the nearest are 'metrics.port' and 'axon.port'"),
        ("hotkey", "the nearest is 'wallet.hotkey'"),
        ("axon.prot", "the nearest is 'axon.port'"),
        ("websoket.enabeld", "the nearest is 'websocket.enabled'"),
        ("logging.record_log", "expected one of 'logging.level', 'logging.debug', 'logging.trace', 'logging.info'"),
        (
            "axon.max_workers",
            "expected one of 'axon.ip', 'axon.port', 'axon.external_ip', 'axon.external_port', 'axon.serve', "
            "'axon.trusted_proxies', 'axon.proxy_protocol', 'axon.tls'",
        ),
        ("neuron.epoch_length", "`bettensor validator --help` lists all keys"),
    ],
)
def test_an_unknown_flag_gets_a_suggestion(tmp_path: Path, flag: str, near: str) -> None:
    assert told(tmp_path, "netuid: 30", {flag: "1"}) == [f"--{flag}: there is no such key; {near}"]


def test_unknown_flags_of_a_section_that_does_not_exist_are_told_each(tmp_path: Path) -> None:
    lines = told(tmp_path, "neuron: {x: 1}", {"neuron.y": "1"})
    assert [line.partition(":")[0] for line in lines] == ["--neuron.y", "v.yaml"]


def test_a_list_with_a_wrong_entry_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("validators: [5]\nnetuid: 3")
    loaded = load_configuration(file, role="miner", environment={})
    assert (loaded.settings.netuid, loaded.faults) == (
        3,
        (f"{file}: validators.0: must be a valid string, but it is 5",),
    )


@pytest.mark.parametrize(
    ("flags", "environment"),
    [({}, {}), ({"netuid": "5"}, {}), ({"handlers": "["}, {}), ({}, {"BETTENSOR_LOGGING__LEVEL": "debug"})],
)
@pytest.mark.parametrize("text", ["", "# netuid: 30", "---\n", "null", "{}"])
def test_an_empty_file_is_refused_whatever_flags_and_variables_there_are(
    tmp_path: Path, text: str, flags: dict[str, str], environment: dict[str, str]
) -> None:
    (line,) = told(tmp_path, text, flags, environment)
    assert line.startswith("v.yaml: the file is empty; `bettensor config show --role validator > ")


def test_a_missing_file_is_told_with_a_command_that_writes_one(tmp_path: Path) -> None:
    absent = tmp_path / "absent.yaml"
    for role in ("miner", None):
        with pytest.raises(ConfigurationError) as refused:
            load_settings(absent, role=role, environment={})
        advice = f"`bettensor config show --role {role or 'ROLE'} > {absent}` writes one with every key"
        assert str(refused.value) == f"{absent}: there is no such file; {advice}"


def test_another_role_is_told_with_its_source(tmp_path: Path) -> None:
    fault = "role: expected 'validator', as in the command, not 'miner'"
    assert told(tmp_path, "role: miner") == [f"v.yaml: {fault}"]
    assert told(tmp_path, "netuid: 1", {"role": "miner", "axon": "{"})[1:] == [f"--{fault}"]
    with pytest.raises(ConfigurationError, match="the configuration: role: expected 'validator' or 'miner'"):
        load_settings(environment={})


def test_the_file_of_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file("miner") is None
    (tmp_path / "miner.yaml").touch()
    assert find_file("miner") == Path("miner.yaml")
