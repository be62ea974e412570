"""What was written by release 0.1.0, in today's words."""

from typing import Any

import pytest

from bettensor.bus.upcasts import UPCASTS

Row = tuple[str, dict[str, Any]]


def of_format_1(topic: str, event: dict[str, Any]) -> Row:
    """As it is read today."""
    for upcast in UPCASTS[1]:
        topic, event = upcast(topic, event)
    return topic, event


@pytest.mark.parametrize(
    ("topic", "before", "after"),
    [
        ("neuron_started", {"seed": 1}, {"seed": 1, "pins_schemes": False}),
        (
            "checkpoint",
            {"seq": 1, "actors": {"auth": {"state": {"netuid": 30}}, "slate": {"state": {}}}},
            {"seq": 1, "actors": {"auth": {"state": {"netuid": 30, "pins_schemes": False}}, "slate": {"state": {}}}},
        ),
        ("checkpoint", {"actors": {"mine": {"state": {}}}}, {"actors": {"mine": {"state": {}}}}),
        (
            "request_verification_requested",
            {"request": {"headers": [["x-bittensor-crypto", "ed25519"], ["host", "x"]]}},
            {"request": {"headers": [["x-bittensor-crypto", "ed25519"], ["host", "x"]]}, "scheme": "ed25519"},
        ),
        (
            "request_verification_requested",
            {"request": {"headers": [["host", "x"]]}},
            {"request": {"headers": [["host", "x"]]}, "scheme": "sr25519"},
        ),
        ("metagraph_fetched", {"neurons": [{"uid": 0}]}, {"neurons": [{"uid": 0, "crypto": None}]}),
        ("metagraph_synced", {"neurons": []}, {"neurons": []}),
        ("header", {"format": 1}, {"format": 1}),
    ],
)
def test_schemes_were_what_peers_named(topic: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    assert of_format_1(topic, before) == (topic, after)
