"""Flags as operators write them."""

import pytest

from bettensor.neurons.config.flags import read_flags


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("--netuid=30 --wallet.name w", {"netuid": "30", "wallet.name": "w"}),
        ("--actors.predictor.edge -1", {"actors.predictor.edge": "-1"}),
        ("--games.seed=", {"games.seed": ""}),
        ("--websocket.enabled", {"websocket.enabled": "true"}),
        ("--websocket.enabled False --netuid 1", {"websocket.enabled": "False", "netuid": "1"}),
        ("--websocket.enabled --netuid 1", {"websocket.enabled": "true", "netuid": "1"}),
        ("--no-websocket.enabled", {"websocket.enabled": "false"}),
        ("--no-websocket_enabled", {"websocket_enabled": "false"}),
        ("--websocket --no-metrics", {"websocket.enabled": "true", "metrics.enabled": "false"}),
        ("--no-axon.external_ip --no-blacklist", {"axon.external_ip": "null", "blacklist": "null"}),
        ("--no-network", {"network": "null"}),
        ("--logging.debug --axon.port 1", {"logging.debug": "true", "axon.port": "1"}),
        ("--no-logging.debug", {"logging.debug": "false"}),
        ("-w x -Hy -n=test", {"wallet": "x", "wallet-hotkey": "y", "network": "test"}),
        ("--wallet -w", {}),
        ("--actors.mine.loud --edges.mine.path p", {"actors.mine.loud": "true", "edges.mine.path": "p"}),
    ],
)
def test_flags_are_read(words: str, values: dict[str, str]) -> None:
    flags = read_flags(words.split())
    assert flags.values == values
    assert bool(flags.faults) == (not values)


def test_the_last_flag_of_a_key_has_the_last_place() -> None:
    flags = read_flags(["--logging.level=ERROR", "--logging.debug", "--logging.level=INFO"])
    assert [*flags.values.items()] == [("logging.debug", "true"), ("logging.level", "INFO")]


def test_all_faults_are_told() -> None:
    words = "x -z --netuid --wallet --no-netuid --no-axon.prot --no-metrics=1 -- - --axon.port"
    assert read_flags(words.split()).faults == (
        "unrecognized argument: x",
        "-z: there is no such flag; `bettensor ROLE --help` lists all flags",
        "--netuid: expected a value, for example --netuid=VALUE",
        "--wallet: expected a value, for example --wallet=VALUE",
        "--no-netuid: netuid: it is neither true or false, nor may it be null",
        "--no-axon.prot: axon.prot: there is no such key; the nearest is 'axon.port'",
        "--no-metrics: expected no value",
        "unrecognized argument: --",
        "unrecognized argument: -",
        "--axon.port: expected a value, for example --axon.port=VALUE",
    )
