"""What was written by earlier releases, as today's release reads it."""

from typing import Any

import pytest

from bettensor.bus.events import TimerKey
from bettensor.bus.upcasts import UPCASTS


def upcast(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """From format 1, of release 0.1.0."""
    for step in UPCASTS[1]:
        topic, event = step(topic, event)
    return topic, event


@pytest.mark.parametrize(
    ("owner", "text", "timer", "key"),
    [
        ("connection", "greeting 12", "greeting", 12),
        ("connection", "greeting -3", "greeting", -3),
        ("connection", "exchange 4", "exchange", 4),
        ("heartbeat", "23", "beat", 23),
        ("logbook", "failed sends", "summary", "failed sends"),
        ("model", "5validator", "ask", "5validator"),
        ("reconnect", "5validator", "dial", "5validator"),
        ("http_fallback", "poll 5validator", "poll", "5validator"),
        ("http_fallback", "post 5validator", "post", "5validator"),
        ("outbox", "save", "save", None),
        ("outbox", "overdue 5validator", "overdue", "5validator"),
        ("outbox", "again 5validator", "repeat", "5validator"),
        ("outbox", "start 5validator a game", "start", ("5validator", "a game")),
        ("games", "store", "store", None),
        ("announce", "again", "announce", None),
        ("metagraph", "reading", "sync", None),
        ("somebody_elses", "tea at five", "tea", "at five"),
        ("heartbeat", "of another class", "beat", "of another class"),
    ],
)
def test_timers_of_0_1_0_get_a_name_and_a_key(owner: str, text: str, timer: str, key: TimerKey) -> None:
    expected = {"owner": owner, "timer": timer, "key": key}
    assert upcast("timer_fired", {"owner": owner, "key": text}) == ("timer_fired", expected)
    requested = upcast("timer_requested", {"owner": owner, "key": text, "deadline": 5})
    assert requested == ("timer_requested", expected | {"deadline": 5})


def test_other_events_of_0_1_0_stay_as_they_are() -> None:
    assert upcast("neuron_stopping", {"reason": "enough"}) == ("neuron_stopping", {"reason": "enough"})


def test_checkpoints_of_0_1_0_get_their_health_in_one_value() -> None:
    disk = {"fails": True, "update_fails": False, "slow_until": 0, "began_at": 7}
    actors = {
        "connection": {"settings": {}, "state": {"disk": disk, "degraded_until": 9, "told": 1}},
        "logbook": {"settings": {}, "state": {"disk": disk}},
        "monitor": {"settings": {}, "state": {"of": "another class"}},
    }
    _, checkpoint = upcast("checkpoint", {"seq": 1, "actors": actors})
    assert {name: actor["state"] for name, actor in checkpoint["actors"].items()} == {
        "connection": {"health": {"disk": disk, "degraded_until": 9}, "told": 1},
        "logbook": {"health": {"disk": disk, "degraded_until": 0}},
        "monitor": {"of": "another class"},
    }
