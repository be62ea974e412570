"""Upcasts: what a log of an earlier format says is what the next format says."""

from hashlib import sha256
from typing import Any

import pytest

from bettensor.bus.eventlog import FORMAT
from bettensor.bus.events import TimerKey
from bettensor.bus.upcasts import (
    UPCASTS,
    actors_take_whole_sections,
    as_much_as,
    each_failed_try_had_its_line,
    health_is_one_value,
    metagraphs_said_nothing_of_schemes,
    nonces_were_in_one_list,
    requests_had_bodies,
    requests_had_their_scheme_in_a_header,
    runs_were_of_0_1,
    slates_were_offered_whatever_their_odds,
    timers_have_names,
)

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


def test_every_earlier_format_is_known_and_the_one_that_is_written_needs_no_change() -> None:
    assert list(UPCASTS) == list(range(1, FORMAT))


def test_a_change_leaves_alone_what_it_is_not_about() -> None:
    event = ("an_event_of_ones_own", {"a": 1})
    assert [upcast for upcasts in UPCASTS.values() for upcast in upcasts if upcast(*event) != event] == []


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


Row = tuple[str, dict[str, Any]]


SCHEMES = (
    requests_had_their_scheme_in_a_header,
    metagraphs_said_nothing_of_schemes,
)


def of_format_1(topic: str, event: dict[str, Any]) -> Row:
    """As it is read today, as far as schemes are concerned."""
    assert set(SCHEMES) <= set(UPCASTS[1])
    for upcast in SCHEMES:
        topic, event = upcast(topic, event)
    return topic, event


@pytest.mark.parametrize(
    ("topic", "before", "after"),
    [
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


def test_a_request_had_its_body() -> None:
    before = {"method": "POST", "body": "{\u00ff}"}
    after = before | {"digest": sha256(b"{\xff}").hexdigest(), "size": 3, "is_whole": True, "tls_key": ""}
    assert requests_had_bodies("http_request_received", dict(before)) == ("http_request_received", after)
    asked = {"connection": 1, "request": before | {"body": "e/99"}}
    nested = {"connection": 1, "request": after | {"body": "e/99"}}
    assert requests_had_bodies("request_verification_requested", asked)[1] == nested
    actors = {"auth": {"state": {"requests": {"7": {"request": dict(before)}}}}, "mine": {"state": {}}}
    _, checkpoint = requests_had_bodies("checkpoint", {"actors": actors})
    assert checkpoint["actors"]["auth"]["state"]["requests"] == {"7": {"request": after}}
    assert requests_had_bodies("header", {"format": 1}) == ("header", {"format": 1})


def test_nonces_were_those_of_all_hotkeys_in_one_list() -> None:
    order = [
        {"hotkey": hotkey, "nonce": nonce, "accepted_at": at}
        for hotkey, nonce, at in (("a", "1", 7), ("b", "2", 8), ("a", "3", 9))
    ]
    state = {"nonces": {"a 1": None, "b 2": None, "a 3": None}, "nonce_order": order}
    _, checkpoint = nonces_were_in_one_list("checkpoint", {"actors": {"auth": {"state": state}}})
    nonces = {"a": {"accepted": {"1": 7, "3": 9}, "floor": 0}, "b": {"accepted": {"2": 8}, "floor": 0}}
    assert checkpoint["actors"]["auth"]["state"] == {"nonces": nonces}
    without: dict[str, Any] = {"actors": {"mine": {"state": {}}}}
    assert nonces_were_in_one_list("checkpoint", without) == ("checkpoint", without)


def test_runs_of_0_1_0_are_decided_as_they_were() -> None:
    assert runs_were_of_0_1 in UPCASTS[1]
    assert runs_were_of_0_1("neuron_started", {"seed": 1}) == ("neuron_started", {"seed": 1, "is_of_0_1": True})
    health: dict[str, Any] = {"disk": {}, "degraded_until": 0}
    before: dict[str, dict[str, Any]] = {
        "announce": {},
        "auth": {"netuid": 30},
        "connection": {"health": dict(health)},
        "http_fallback": {},
        "mine": {"x": 1},
        "model": {},
        "outbox": {},
        "reconnect": {},
    }
    actors = {name: {"settings": {}, "state": state} for name, state in before.items()}
    tls = {"tls": {"is_of_0_1": True}}
    _, checkpoint = runs_were_of_0_1("checkpoint", {"seq": 1, "actors": actors})
    assert {name: actor["state"] for name, actor in checkpoint["actors"].items()} == {
        "announce": {"is_of_0_1": True},
        "auth": {"netuid": 30, "pins_schemes": False, "knows_members": True, "knows_synapse": False}
        | {"is_of_0_1": True},
        "connection": {
            "health": health | {"is_of_0_1": True, "knows_metagraph": True},
            "pins_schemes": False,
            "charges_work": False,
        }
        | tls,
        "http_fallback": {"is_of_0_1": True} | tls,
        "mine": {"x": 1},
        "model": {"is_of_0_1": True},
        "outbox": {"is_of_0_1": True},
        "reconnect": {"is_of_0_1": True} | tls,
    }


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
    assert timers_have_names("timer_fired", {"owner": owner, "key": text}) == ("timer_fired", expected)
    requested = timers_have_names("timer_requested", {"owner": owner, "key": text, "deadline": 5})
    assert requested == ("timer_requested", expected | {"deadline": 5})


def test_other_events_of_0_1_0_stay_as_they_are() -> None:
    assert timers_have_names("neuron_stopping", {"reason": "enough"}) == ("neuron_stopping", {"reason": "enough"})


def test_checkpoints_of_0_1_0_get_their_health_in_one_value() -> None:
    disk = {"fails": True, "update_fails": False, "slow_until": 0, "began_at": 7}
    actors = {
        "connection": {"settings": {}, "state": {"disk": disk, "degraded_until": 9, "told": 1}},
        "logbook": {"settings": {}, "state": {"disk": disk}},
        "monitor": {"settings": {}, "state": {"of": "another class"}},
    }
    _, checkpoint = health_is_one_value("checkpoint", {"seq": 1, "actors": actors})
    assert {name: actor["state"] for name, actor in checkpoint["actors"].items()} == {
        "connection": {"health": {"disk": disk, "degraded_until": 9}, "told": 1},
        "logbook": {"health": {"disk": disk, "degraded_until": 0}},
        "monitor": {"of": "another class"},
    }


SLOW: dict[str, dict[str, Any]] = {
    "logbook": {},
    "http_fallback": {"poll_interval": 5.0},
    "reconnect": {"validators": []},
}
EAGER: dict[str, dict[str, Any]] = {
    "logbook": {"summary_interval": None},
    "http_fallback": {"poll_interval": 5.0, "max_poll_interval": 5.0},
    "reconnect": {"validators": []},
}


def test_each_failed_try_was_as_soon_and_as_loud_as_the_first() -> None:
    reloaded = {"actors": SLOW, "taken": [], "waiting": []}
    _, event = each_failed_try_had_its_line("settings_reloaded", reloaded)
    assert event["actors"] == EAGER
    checkpoint = {"seq": 1, "actors": {name: {"settings": settings, "state": {}} for name, settings in SLOW.items()}}
    _, event = each_failed_try_had_its_line("checkpoint", checkpoint)
    assert {name: actor["settings"] for name, actor in event["actors"].items()} == EAGER


@pytest.mark.parametrize(
    ("role", "actors", "eager"),
    [
        ("validator", {}, {"logbook": {"summary_interval": None}}),
        (
            "miner",
            {},
            {"logbook": {"summary_interval": None}, "http_fallback": {"max_poll_interval": 15.0}},
        ),
        (
            "miner",
            SLOW | {"logbook": {"class": "mine:Logbook"}},
            EAGER | {"logbook": {"class": "mine:Logbook"}},
        ),
    ],
)
def test_a_header_of_0_1_0_has_the_settings_of_eager_actors(
    role: str, actors: dict[str, Any], eager: dict[str, Any]
) -> None:
    header = {"role": role, "settings": {"netuid": 30, "actors": actors}}
    _, event = each_failed_try_had_its_line("header", header)
    assert event == {"role": role, "settings": {"netuid": 30, "actors": eager}}


def test_of_an_event_and_of_a_status_that_much_is_compared_as_there_was_then() -> None:
    recorded = {"request": 1, "status": {"role": "miner", "uid": 0}}
    replayed = {"request": 1, "status": {"role": "miner", "uid": 1, "notices": []}}
    assert as_much_as(recorded, "status_reported", replayed) == {"request": 1, "status": {"role": "miner", "uid": 1}}
    assert as_much_as({"x": 1}, "line_logged", {"x": 2, "y": 2}) == {"x": 2}
    rows, now = [{"a": 1}, 5], [{"a": 2, "proof": "signature"}, 6]
    assert as_much_as({"proposals": rows}, "commit_requested", {"proposals": now}) == {"proposals": [{"a": 2}, 6]}
    assert as_much_as({"proposals": []}, "commit_requested", {"proposals": now}) == {"proposals": now}


ANY_ODDS = {"min_implied_probability": 0.0, "max_implied_probability": 3.0}


@pytest.mark.parametrize(
    ("settings", "actors"),
    [
        ({"role": "validator"}, {"games": ANY_ODDS}),
        ({"role": "validator", "actors": {"auth": {"a": 1}}}, {"auth": {"a": 1}, "games": ANY_ODDS}),
        ({"role": "validator", "actors": {"games": {"class": "my:Games"}}}, {"games": {"class": "my:Games"}}),
        ({"role": "miner", "actors": {}}, {}),
    ],
)
def test_a_validator_of_0_1_0_doubted_no_odds(settings: dict[str, Any], actors: dict[str, Any]) -> None:
    _, header = slates_were_offered_whatever_their_odds("header", {"settings": settings})
    assert header["settings"]["actors"] == actors


def test_checkpoints_of_0_1_0_doubt_no_odds_either() -> None:
    actors: dict[str, Any] = {"games": {"settings": {}, "state": {}}, "auth": {"settings": {}, "state": {}}}
    _, checkpoint = slates_were_offered_whatever_their_odds("checkpoint", {"seq": 1, "actors": actors})
    assert {name: actor["settings"] for name, actor in checkpoint["actors"].items()} == {"games": ANY_ODDS, "auth": {}}
    assert slates_were_offered_whatever_their_odds("checkpoint", {"actors": {}}) == ("checkpoint", {"actors": {}})
