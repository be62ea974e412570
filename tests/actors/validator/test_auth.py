"""Whom a validator admits, by which scheme, and what strangers can use up: nothing of anybody else's."""

from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.auth import Unverified
from bettensor.actors.budget import MAX_REMOTES
from bettensor.actors.connection import ConnectionSettings
from bettensor.actors.validator.auth import ValidatorAuthSettings
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    BlacklistLoaded,
    CloseRequested,
    ConnectionClosed,
    Event,
    HttpAnswered,
    MessageAccepted,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    PeerAuthenticated,
    PeerRefused,
    RequestVerificationRequested,
    Scheme,
    SettingsReloaded,
    SignatureChecked,
    SynapseAsked,
    VerificationRequested,
)
from bettensor.bus.identifiers import Hotkey, Micros, Uid
from bettensor.bus.messages import HeartbeatMessage
from tests.actors.validator.sessions import MINER, OTHER, VALIDATOR, Bench
from tests.support import HOUR, NETUID, NOW, as_json


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_nonce_is_remembered_through_steps_of_the_wall_clock(bench: Bench) -> None:
    """An hour forward and back again makes an accepted request fresh once more: it must still be known."""
    nonce = NOW * 1000
    bench.request(nonce=nonce)
    bench.clock.step_wall(HOUR)
    bench.request(OTHER)
    bench.clock.step_wall(Micros(-HOUR))
    bench.request(nonce=nonce)
    assert bench.refusals() == [RefusalCode.REPLAYED]


def test_nonces_are_forgotten_when_they_are_stale(bench: Bench) -> None:
    for _ in range(200):
        bench.request()
        bench.advance(5)
    assert len(bench.auth.state.nonces) == len(bench.auth.state.nonce_order) < 20


def test_failures_of_strangers_do_not_use_up_a_members_budget() -> None:
    bench = Bench(auth={"request_burst": 3.0, "requests_per_second": 0.001, "failure_burst": 1000.0})
    for _ in range(50):
        bench.request(nonce=1)
    bench.request()
    assert set(bench.refusals()) == {RefusalCode.STALE}
    assert bench.all(PeerAuthenticated)


def test_addresses_that_fail_are_counted_without_bound_on_neither_side() -> None:
    bench = Bench()
    for address in range(MAX_REMOTES + 50):
        bench.request(nonce=1, remote=f"10.{address >> 16}.{address >> 8 & 255}.{address & 255}")
    assert len(bench.auth.state.failures) == MAX_REMOTES


def test_who_is_deregistered_or_blacklisted_in_mid_session_is_closed(bench: Bench) -> None:
    first, second = bench.open(), bench.open(OTHER)
    bench.observe(BlacklistLoaded((OTHER,)))
    bench.observe(ConnectionClosed(second, 4003, ""))
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR),)))
    closes = [(close.connection, close.code) for close in bench.all(CloseRequested)]
    assert closes == [(second, 4003), (first, 4002)]


def test_whose_coldkey_network_or_stake_is_not_wanted_is_refused_and_closed_in_mid_session() -> None:
    bench = Bench({"min_stake": 10.0})
    rows = [
        NeuronInfo(Uid(0), VALIDATOR),
        NeuronInfo(Uid(1), MINER, "5poor", stake=9.0),
        NeuronInfo(Uid(2), OTHER, "5rich", stake=11),
    ]
    bench.observe(MetagraphSynced(tuple(rows)))
    bench.request(MINER)
    assert bench.last(PeerRefused).message == f"{MINER} has 9 staked, and 10 is the least here"
    rows[1] = replace(rows[1], stake=10.0)
    bench.observe(MetagraphSynced(tuple(rows)))
    first, second = bench.open(MINER), bench.open(OTHER)
    bench.observe(BlacklistLoaded((), coldkeys=("5rich",)))
    assert bench.last(CloseRequested) == CloseRequested(second, 4003, f"the coldkey of {OTHER} is blacklisted here")
    bench.observe(ConnectionClosed(second, 4003, ""), BlacklistLoaded((), networks=("10.0.0.0/24",)))
    assert bench.last(CloseRequested) == CloseRequested(first, 4003, "10.0.0.1 is blacklisted here")
    for remote, welcome in (("10.0.1.1", True), ("::ffff:10.0.0.9", False), ("2001:db8::1", True), ("a socket", True)):
        before = len(bench.all(PeerRefused))
        bench.request(MINER, remote=remote)
        assert (len(bench.all(PeerRefused)) == before) == welcome, remote
    bench.observe(SettingsReloaded({"auth": {"min_stake": 12.0}}, ("actors.auth.min_stake",), ()))
    bench.request(OTHER, remote="10.0.1.1")
    assert bench.last(PeerRefused).code == "blacklisted"


@pytest.mark.parametrize("target", ["/ws?netuid=30", "/games?netuid=30", "/predictions?netuid=30"])
def test_before_the_first_reading_of_the_metagraph_a_miner_is_asked_to_come_again(target: str) -> None:
    bench = Bench(neurons=None)
    bench.request(target=target)
    refused = bench.last(PeerRefused)
    assert (refused.code, refused.code.status) == ("no_metagraph", 503)
    assert refused.message == "this validator has not read the metagraph yet"
    assert bench.health() == (503, {"status": "degraded", "connections": 0, "active_connections": 0})
    bench.observe(members(None))
    bench.request(target=target)
    assert bench.last(RequestVerificationRequested).request.target == target
    assert bench.health()[1]["status"] == "online"


def test_an_empty_metagraph_was_read_too() -> None:
    bench = Bench(neurons=())
    bench.request()
    assert bench.refusals() == [RefusalCode.NOT_REGISTERED]


def test_what_a_request_itself_has_wrong_is_said_before_the_first_reading_too() -> None:
    bench = Bench(neurons=None)
    bench.request(nonce=1)
    bench.request(target="/ws?netuid=31")
    assert bench.refusals() == [RefusalCode.STALE, RefusalCode.WRONG_NETUID]


# --- a handshake without its headers


def test_a_proxy_that_removes_the_upgrade_is_told_apart_from_another_protocol(bench: Bench) -> None:
    key = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    bench.request(upgrade=False, headers=key)  # as nginx forwards it without proxy_set_header
    bench.request(upgrade=False)
    bench.request(headers=key | {"sec-websocket-protocol": "bettensor.v2"})
    assert bench.refusals() == [RefusalCode.NO_UPGRADE, *[RefusalCode.UNSUPPORTED_PROTOCOL] * 2]
    refused = bench.all(PeerRefused)[0]
    assert refused.code.status == 400
    assert refused.message == "a proxy in between has removed the handshake's headers Upgrade and Connection"


# --- by which scheme a miner signs


def members(crypto: Scheme | None) -> MetagraphSynced:
    """The metagraph, with what it says of the miner's scheme."""
    rows = (NeuronInfo(Uid(0), VALIDATOR), NeuronInfo(Uid(1), MINER, crypto=crypto), NeuronInfo(Uid(2), OTHER))
    return MetagraphSynced(rows)


@pytest.mark.parametrize(
    ("configured", "listed", "pinned"),
    [
        (None, None, "sr25519"),
        (None, "ed25519", "ed25519"),
        ("ed25519", None, "ed25519"),
        ("sr25519", "ed25519", "sr25519"),
    ],
)
def test_a_scheme_is_what_the_validator_knows_and_never_what_a_request_names(
    configured: Scheme | None, listed: Scheme | None, pinned: Scheme
) -> None:
    bench = Bench({} if configured is None else {"auth": {"schemes": {MINER: configured}}})
    bench.observe(members(listed))
    other = "sr25519" if pinned == "ed25519" else "ed25519"
    refused = bench.during(lambda: bench.request(named={"crypto": other}), PeerRefused)
    message = f"the scheme of {MINER} is {pinned} here, and the request names {other}"
    assert [(event.code, event.code.status, event.message) for event in refused] == [("wrong_scheme", 401, message)]
    assert bench.all(RequestVerificationRequested) == []
    bench.request(named={"crypto": pinned})
    assert bench.last(RequestVerificationRequested).scheme == pinned
    assert bench.last(PeerAuthenticated).scheme == pinned


@pytest.mark.parametrize("scheme", ["hashed", "mldsa", "ecdsa", "", "SR25519"])
def test_a_scheme_that_is_not_known_is_malformed(bench: Bench, scheme: str) -> None:
    bench.request(named={"crypto": scheme})
    refused = bench.last(PeerRefused)
    assert (refused.code, refused.message) == ("malformed", "x-bittensor-crypto is neither sr25519 nor ed25519")


def test_a_request_without_a_scheme_names_the_usual_one() -> None:
    bench = Bench({"auth": {"schemes": {MINER: "ed25519"}}})
    bench.request()
    assert bench.refusals() == [RefusalCode.WRONG_SCHEME]
    bench.request(OTHER)
    assert bench.last(PeerAuthenticated).hotkey == OTHER


def test_who_may_not_speak_hears_that_and_not_that_its_scheme_is_wrong(bench: Bench) -> None:
    bench.observe(BlacklistLoaded((MINER,)))
    bench.request(named={"crypto": "ed25519"})
    bench.request(Hotkey("5nobody"), named={"crypto": "ed25519"})
    assert bench.refusals() == [RefusalCode.BLACKLISTED, RefusalCode.NOT_REGISTERED]


def test_wrong_schemes_are_charged_to_the_address_that_they_come_from() -> None:
    bench = Bench({"failure_burst": 3.0, "failures_per_second": 0.1})
    for _ in range(4):
        bench.request(named={"crypto": "ed25519"})
    bench.request()
    assert bench.refusals() == [*[RefusalCode.WRONG_SCHEME] * 4, RefusalCode.RATE_LIMITED]
    bench.request(remote="10.0.0.2")
    assert bench.last(PeerAuthenticated).hotkey == MINER


@pytest.mark.parametrize(
    "change",
    [SettingsReloaded({"auth": {"auth": {"schemes": {MINER: "ed25519"}}}}, ("auth.schemes",), ()), members("ed25519")],
)
def test_a_session_ends_if_the_scheme_of_its_hotkey_becomes_another(bench: Bench, change: Event) -> None:
    first, _ = bench.open(), bench.open(OTHER)
    bench.observe(members(None))
    assert bench.all(CloseRequested) == []
    bench.observe(change)
    reason = "the scheme of this hotkey is ed25519 from now on, and the session has sr25519"
    assert bench.all(CloseRequested) == [CloseRequested(first, 4004, reason)]
    bench.observe(ConnectionClosed(first, 4004, ""))
    bench.request()
    assert bench.refusals() == [RefusalCode.WRONG_SCHEME]
    bench.request(named={"crypto": "ed25519"})
    assert bench.last(PeerAuthenticated).scheme == "ed25519"


def test_what_nobody_has_verified_yet_does_not_count_by_the_former_scheme(bench: Bench) -> None:
    connection = bench.open()
    request = VerificationRequested(connection, MINER, "sr25519", b"", b"", HeartbeatMessage())
    bench.auth.state.unverified[12345] = Unverified(request, NOW)
    bench.observe(members("ed25519"))
    checked = SignatureChecked(connection, 12345, valid=True)
    assert bench.during(lambda: bench.observe(checked), MessageAccepted) == []


def test_a_validator_of_release_0_1_0_went_by_what_a_request_named(bench: Bench) -> None:
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1=True))
    bench.request(named={"crypto": "ed25519"})
    assert bench.last(RequestVerificationRequested).scheme == "ed25519"
    bench.observe(members("sr25519"))
    assert bench.all(CloseRequested) == []


QUERIES: list[dict[str, Any]] = [
    {"target": "/GameData", "headers": {"bt_header_dendrite_hotkey": MINER}},
    {"target": "/GameData?x=1", "headers": {"bt_header_dendrite_hotkey": MINER}},
    {"target": "/Synapse", "headers": {"bt_header_dendrite_hotkey": MINER}},
    {"target": "/AnotherSynapse", "headers": {"bt_header_dendrite_hotkey": MINER}},
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query["target"])
def test_an_existing_neuron_that_asks_is_turned_away_in_a_form_that_it_reads(
    bench: Bench, query: dict[str, Any]
) -> None:
    connection = bench.request(method="POST", body=b"x" * 3_000_000, **query)
    assert bench.last(SynapseAsked) == SynapseAsked(connection, MINER, "10.0.0.1")
    answer = bench.last(HttpAnswered)
    assert (answer.connection, answer.status, list(as_json(answer.body))) == (connection, 404, ["message"])
    assert (bench.all(PeerRefused), bench.all(RequestVerificationRequested)) == ([], [])


def test_a_query_without_a_sender_is_turned_away_too(bench: Bench) -> None:
    connection = bench.request(target="/GameData", method="POST")
    assert bench.last(SynapseAsked) == SynapseAsked(connection, None, "10.0.0.1")
    bench.request(target="/GameData", headers={"bt_header_dendrite_hotkey": "x" * 999})
    assert bench.last(SynapseAsked).hotkey == "x" * 64


def test_a_request_to_a_path_of_ours_is_judged_as_always_whatever_else_it_says(bench: Bench) -> None:
    bench.request(target="/nothing")
    bench.request(target="/ws?netuid=31", headers={"bt_header_dendrite_hotkey": MINER})
    assert bench.refusals() == [RefusalCode.NOT_FOUND, RefusalCode.WRONG_NETUID]
    bench.request(headers={"bt_header_dendrite_hotkey": MINER})
    assert len(bench.all(PeerAuthenticated)) == 1
    assert bench.all(SynapseAsked) == []


def test_a_flood_of_queries_is_bounded_and_uses_up_no_budget_of_failures() -> None:
    bench = Bench(auth={"failure_burst": 3.0, "failures_per_second": 1.0})
    for _ in range(5):
        bench.request(**QUERIES[0])
    assert (len(bench.all(SynapseAsked)), bench.refusals()) == (3, [RefusalCode.RATE_LIMITED] * 2)
    bench.request()  # from the same address
    assert len(bench.all(PeerAuthenticated)) == 1
    bench.advance(1)
    bench.request(**QUERIES[0])
    assert len(bench.all(SynapseAsked)) == 4
    for number in range(MAX_REMOTES + 10):
        bench.request(remote=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", **QUERIES[0])
    assert len(bench.auth.state.queries) == MAX_REMOTES


def test_release_0_1_0_refused_a_query_like_any_other_request(bench: Bench) -> None:
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1=True))
    bench.request(**QUERIES[0])
    assert (bench.refusals(), bench.all(SynapseAsked)) == ([RefusalCode.NOT_FOUND], [])


@pytest.mark.parametrize(
    "wrong", [lambda: ConnectionSettings(burst=0.0), lambda: ValidatorAuthSettings(max_connections=0)]
)
def test_settings_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="should be greater than"):
        wrong()


def test_where_tls_is_required_plain_requests_are_refused_but_for_this_machines_question_for_health() -> None:
    only_tls = {"axon": {"tls": {"required": True}}}
    bench = Bench(only_tls, only_tls)
    bench.request()
    bench.request(target="/ws/health")
    assert bench.refusals() == [RefusalCode.TLS_REQUIRED] * 2
    assert bench.last(PeerRefused).code.status == 403
    for remote in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        bench.request(target="/ws/health", remote=remote)
    bench.request(target="/ws/health", tls_key="ab" * 32)
    assert len(bench.all(HttpAnswered)) == 4
    bench.request(remote="127.0.0.1")
    bench.request(tls_key="ab" * 32)
    assert len(bench.refusals()) == 3
    assert bench.last(PeerAuthenticated).tls_key == "ab" * 32
