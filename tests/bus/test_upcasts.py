"""Upcasts: what a log of an earlier format says is what the next format says."""

from typing import Any

import pytest

from bettensor.bus.upcasts import actors_take_whole_sections

FLAT: dict[str, dict[str, Any]] = {
    "connection": {"heartbeat_interval": 15.0, "connection_timeout": 40.0, "burst": 2000.0},
    "auth": {"websocket_enabled": False, "min_stake": 0.0},
    "reconnect": {"reconnect_base_interval": 2.0, "max_reconnect_interval": 30.0, "validators": ["5x"]},
    "announce": {"announced_ip": None, "announced_port": 443, "listening_port": 8091, "announcing": True},
    "model": {"interval": 60.0},
    "my_own": {"heartbeat_interval": 3},
}
NESTED: dict[str, dict[str, Any]] = {
    "connection": {"websocket": {"heartbeat_interval": 15.0, "connection_timeout": 40.0}, "burst": 2000.0},
    "auth": {"websocket": {"enabled": False}, "min_stake": 0.0},
    "reconnect": {
        "websocket": {"reconnect_base_interval": 2.0, "max_reconnect_interval": 30.0},
        "validators": ["5x"],
    },
    "announce": {"axon": {"external_ip": None, "external_port": 443, "port": 8091, "serve": True}},
    "model": {"interval": 60.0},
    "my_own": {"heartbeat_interval": 3},
}


@pytest.mark.parametrize("actor", FLAT)
def test_settings_that_format_1_copied_from_a_section_are_in_that_section(actor: str) -> None:
    reloaded = {"actors": {actor: FLAT[actor]}, "taken": [], "waiting": []}
    assert actors_take_whole_sections("settings_reloaded", reloaded) == (
        "settings_reloaded",
        {"actors": {actor: NESTED[actor]}, "taken": [], "waiting": []},
    )
    checkpoint = {"seq": 1, "actors": {actor: {"settings": FLAT[actor], "state": {"x": 1}}}}
    assert actors_take_whole_sections("checkpoint", checkpoint) == (
        "checkpoint",
        {"seq": 1, "actors": {actor: {"settings": NESTED[actor], "state": {"x": 1}}}},
    )


def test_other_events_are_as_they_were() -> None:
    event = {"actors": {"auth": {"websocket_enabled": False}}}
    assert actors_take_whole_sections("header", event) == ("header", event)
