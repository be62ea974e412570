"""Whom a validator admits, by which scheme, and what strangers can use up: nothing of anybody else's."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from bettensor.actors.auth import Unverified
from bettensor.actors.budget import MAX_REMOTES
from bettensor.actors.connection import ConnectionSettings
from bettensor.actors.validator.auth import Credentials, UnverifiedRequest, ValidatorAuthSettings
from bettensor.bus import codec
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    BlacklistLoaded,
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    HotkeyBarred,
    HttpAnswered,
    HttpRequestReceived,
    MessageAccepted,
    MetagraphSynced,
    NetworkBarred,
    NeuronInfo,
    NeuronStarted,
    PeerAuthenticated,
    PeerRefused,
    PredictionSubmitted,
    RequestBodyReceived,
    RequestVerificationRequested,
    Scheme,
    SettingsReloaded,
    SignatureChecked,
    SynapseAsked,
    VerificationRequested,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, Uid
from bettensor.bus.messages import HeartbeatMessage, PointToPoint, PredictionMessage
from bettensor.bus.redaction import HIDDEN
from tests.actors.validator.sessions import MINER, OTHER, VALIDATOR, Bench
from tests.support import HOUR, NETUID, NOW, as_json, make_prediction, stamp


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
    assert len(bench.auth.state.nonces[MINER].accepted) < 20


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
    assert bench.auth.state.failures.keys() <= {str(ip_address(10 << 24 | n)) for n in range(MAX_REMOTES + 50)}
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
    bench = Bench({"failure_burst": 3.0, "failures_per_second": 0.5})
    for _ in range(2):
        bench.request(named={"crypto": "ed25519"})
    assert bench.all(NetworkBarred) == []
    bench.request(named={"crypto": "ed25519"})
    reason = "too many failed requests from 10.0.0.1"
    assert bench.all(NetworkBarred) == [NetworkBarred("10.0.0.1", Micros(bench.clock.mono() + 2 * SECOND), reason)]
    assert bench.refusals() == [RefusalCode.WRONG_SCHEME] * 3


# --- who is barred at the door


def test_who_has_signed_is_not_refused_for_what_others_of_its_address_did() -> None:
    bench = Bench({"failure_burst": 1.0, "failures_per_second": 0.01})
    for _ in range(9):
        bench.request(nonce=1)
    bench.request()
    assert bench.last(PeerAuthenticated).hotkey == MINER


@pytest.mark.parametrize(
    ("remotes", "network"),
    [
        (["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1:1:2:3:4"], "2001:db8:0:1::/64"),
        (["::ffff:10.0.0.9", "10.0.0.9", "::ffff:a00:9"], "10.0.0.9"),
        (["a socket"] * 3, "a socket"),
    ],
)
def test_failures_are_counted_by_network(remotes: list[str], network: str) -> None:
    bench = Bench({"failure_burst": 3.0})
    for remote in remotes:
        bench.request(nonce=1, remote=remote)
    assert [event.network for event in bench.all(NetworkBarred)] == [network]
    bench.request(nonce=1, remote="2001:db8:0:2::1")
    assert len(bench.all(NetworkBarred)) == 1


def test_the_lowest_rates_bar_whoever_spends_all() -> None:
    rates = dict.fromkeys(("failures_per_second", "all_failures_per_second", "requests_per_second"), 0.001)
    bench = Bench(rates | dict.fromkeys(("failure_burst", "all_failure_burst", "request_burst"), 1.0))
    for _ in range(2):
        bench.request(nonce=1)
        bench.request()
    assert {event.network for event in bench.all(NetworkBarred)} == {"10.0.0.1", None}
    assert {event.hotkey for event in bench.all(HotkeyBarred)} == {MINER}


@pytest.mark.parametrize(("rate", "seconds"), [(1000.0, 1), (0.25, 4), (0.001, 10)])
def test_a_bar_is_neither_so_short_that_it_bars_nothing_nor_so_long_that_it_outlives_its_cause(
    rate: float, seconds: int
) -> None:
    bench = Bench({"failure_burst": 1.0, "failures_per_second": rate})
    bench.request(nonce=1)
    assert bench.last(NetworkBarred).until == bench.clock.mono() + seconds * SECOND


def test_networks_that_each_fail_a_little_are_barred_together() -> None:
    bench = Bench({"all_failure_burst": 5.0, "all_failures_per_second": 1.0})
    for number in range(4):
        bench.request(nonce=1, remote=f"10.0.0.{number}")
    assert bench.all(NetworkBarred) == []
    bench.request(**QUERIES[0])
    bench.request(nonce=1, remote="10.0.1.1")
    assert [event.network for event in bench.all(NetworkBarred)] == [None, None]
    assert "from everywhere" in bench.last(NetworkBarred).reason
    bench.advance(1)
    bench.request(remote="10.0.1.2")
    assert bench.last(PeerAuthenticated).hotkey == MINER


def test_a_request_that_fails_for_want_of_something_here_is_no_fault_of_its_network() -> None:
    bench = Bench({"failure_burst": 2.0, "all_failure_burst": 4.0}, neurons=None)
    for _ in range(3):
        bench.request()
    assert set(bench.refusals()) == {RefusalCode.NO_METAGRAPH}
    assert bench.all(NetworkBarred) == []
    bench.request()
    assert [event.network for event in bench.all(NetworkBarred)] == [None]


def test_a_hotkey_that_asks_too_often_is_barred_itself() -> None:
    bench = Bench({"request_burst": 2.0, "requests_per_second": 0.5})
    for _ in range(3):
        bench.request()
    assert bench.refusals() == [RefusalCode.RATE_LIMITED]
    until = Micros(bench.clock.mono() + 2 * SECOND)
    assert bench.all(HotkeyBarred) == [HotkeyBarred(MINER, until, "more than 0.5 requests a second from this hotkey")]
    bench.request(OTHER)
    assert bench.last(PeerAuthenticated).hotkey == OTHER


def test_release_0_1_0_refused_what_came_from_an_address_that_failed_too_often() -> None:
    bench = Bench({"failure_burst": 2.0, "failures_per_second": 0.1, "request_burst": 1.0, "requests_per_second": 0.1})
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1=True))
    for _ in range(2):
        bench.request(nonce=1)
    bench.request()
    for _ in range(2):
        bench.request(remote="10.0.0.2", target="/games?netuid=30")
    assert bench.refusals() == [*[RefusalCode.STALE] * 2, *[RefusalCode.RATE_LIMITED] * 2]
    assert bench.all(NetworkBarred) + bench.all(HotkeyBarred) == []


# --- bodies


def prediction_body(hotkey: Hotkey = MINER) -> bytes:
    return body_of(PredictionMessage(predictions=(make_prediction(),)), hotkey)


def body_of(message: PointToPoint, hotkey: Hotkey = MINER) -> bytes:
    said = stamp(message, hotkey)
    assert isinstance(said, PointToPoint)
    return codec.encode_body(said)


def test_a_body_is_read_when_its_sender_is_proven_and_counts_from_when_it_came(bench: Bench) -> None:
    connection = bench.request(target="/predictions?netuid=30", body=prediction_body())
    topics = [envelope.event.topic for envelope in bench.envelopes]
    assert topics.index("peer_authenticated") < topics.index("request_body_received") < topics.index("message_accepted")
    submitted = bench.last(PredictionSubmitted)
    assert (submitted.connection, submitted.hotkey, submitted.received_at) == (connection, MINER, bench.clock.wall())
    assert bench.auth.state.bodies == {}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (body_of(HeartbeatMessage()), "must be a prediction message"),
        (prediction_body(OTHER), f"sender_hotkey is not {MINER}, which signed the request"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_and_charged(bench: Bench, body: bytes, fault: str) -> None:
    connection = bench.request(target="/predictions?netuid=30", body=body)
    refused = bench.last(PeerRefused)
    assert (refused.connection, refused.code, refused.hotkey) == (connection, RefusalCode.MALFORMED, MINER)
    assert fault in refused.message
    assert bench.all(PredictionSubmitted) == []
    assert bench.auth.state.failures["10.0.0.1"].tokens < 100


def test_a_body_that_nobody_waits_for_is_nobodys(bench: Bench) -> None:
    connection = bench.request(nonce=1, target="/predictions?netuid=30", body=prediction_body())
    bench.observe(RequestBodyReceived(connection, prediction_body()))
    gone = bench.request(target="/predictions?netuid=30", body=prediction_body())
    bench.observe(ConnectionClosed(gone, 0, ""), RequestBodyReceived(gone, prediction_body()))
    assert len(bench.all(PredictionSubmitted)) == 1


def test_release_0_1_0_had_the_body_in_the_request(bench: Bench) -> None:
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1=True))
    bench.request(target="/predictions?netuid=30", headers={}, of_0_1_0=prediction_body())
    assert bench.last(PredictionSubmitted).hotkey == MINER
    bench.request(target="/predictions?netuid=30", of_0_1_0=b"")
    assert bench.refusals() == [RefusalCode.MALFORMED]
    assert len(bench.all(PeerAuthenticated)) == 1


def test_a_request_whose_sender_has_left_is_not_admitted(bench: Bench) -> None:
    request = HttpRequestReceived(ConnectionId(7), "GET", "/ws?netuid=30", (), "10.0.0.1", True, "5" * 32)
    claims = Credentials("session", MINER, VALIDATOR, "1", "sr25519", None, None)
    bench.auth.state.requests[12345] = UnverifiedRequest(request, claims, NOW)
    bench.observe(ConnectionClosed(ConnectionId(7), 1006, ""), SignatureChecked(ConnectionId(7), 12345, valid=True))
    assert bench.all(PeerAuthenticated) == []


# --- what one hotkey can have


def test_one_hotkey_has_a_few_sessions_and_a_newcomer_takes_the_place_of_the_oldest_that_is_silent() -> None:
    bench = Bench({"sessions_per_hotkey": 3})
    active, *silent = bench.open(), bench.request(), bench.request()
    assert bench.all(CloseRequested) == []
    newest = bench.request()
    reason = "a newer session of the same hotkey took its place"
    assert bench.all(CloseRequested) == [CloseRequested(silent[0], 4104, reason)]
    bench.request()  # before the socket of that one is gone
    refused = bench.last(PeerRefused)
    assert (refused.code, refused.retry_after) == (RefusalCode.OVER_CAPACITY, 5)
    assert refused.message == "this hotkey has 4 sessions, and 3 is the limit"
    bench.observe(ConnectionClosed(silent[0], 4104, ""))
    bench.request()
    assert [close.connection for close in bench.all(CloseRequested)] == silent
    assert list(bench.auth.state.sessions[MINER]) == [active, silent[1], newest, newest + 2]
    assert bench.health()[1]["connections"] == 1
    bench.request(OTHER)
    assert bench.last(PeerAuthenticated).hotkey == OTHER


def test_a_hotkey_that_may_have_one_session_can_replace_it_by_its_first_word() -> None:
    bench = Bench({"sessions_per_hotkey": 1})
    first = bench.open()
    second = bench.request()
    assert bench.all(CloseRequested) == []
    bench.observe(ConnectionOpened(second, MINER, "1"))
    bench.say(second)
    assert [close.connection for close in bench.all(CloseRequested)] == [first]
    bench.observe(ConnectionClosed(first, 4104, ""))
    bench.request()
    assert bench.refusals() == []


def test_sessions_that_are_closing_count_until_their_sockets_are_gone() -> None:
    bench = Bench({"sessions_per_hotkey": 2})
    for _ in range(2):
        bench.observe(CloseRequested(bench.request(), 4000, ""))
    bench.request()
    assert bench.refusals() == [RefusalCode.OVER_CAPACITY]


def test_of_silent_sessions_there_are_only_so_many_and_the_oldest_goes_first() -> None:
    bench = Bench({"silent_sessions": 2})
    bench.open()
    first, second = bench.request(OTHER), bench.request()
    bench.request()
    reason = "a newer session took the place of this one, which had not said anything"
    assert bench.all(CloseRequested) == [CloseRequested(first, 4102, reason)]
    bench.request(OTHER)
    assert [close.connection for close in bench.all(CloseRequested)] == [first, second]


def test_in_a_full_validator_a_newcomer_takes_the_place_of_a_silent_session_and_of_no_other() -> None:
    bench = Bench({"max_connections": 2})
    active, silent = bench.open(), bench.request()
    newcomer = bench.open(OTHER)
    assert [(close.connection, close.code) for close in bench.all(CloseRequested)] == [(silent, 4102)]
    bench.observe(ConnectionClosed(silent, 4102, ""))
    bench.request()
    assert bench.refusals() == [RefusalCode.OVER_CAPACITY]
    assert bench.last(PeerRefused).message == "all 2 connections are in use"
    assert set(bench.auth.state.peers) == {active, newcomer}


def test_silent_sessions_whose_end_was_asked_for_are_no_room_without_end() -> None:
    bench = Bench({"max_connections": 1, "silent_sessions": 2, "sessions_per_hotkey": 99})
    for _ in range(5):
        bench.request()
    assert bench.refusals() == [RefusalCode.OVER_CAPACITY] * 2
    assert len(bench.auth.state.peers) == 3


def test_a_hotkey_that_displaces_its_own_session_adds_none_to_those_that_do_not_answer_their_close() -> None:
    bench = Bench({"max_connections": 1, "silent_sessions": 1, "sessions_per_hotkey": 1})
    closing, silent = bench.request(), bench.request(OTHER)
    assert [(close.connection, close.code) for close in bench.all(CloseRequested)] == [(closing, 4102)]
    bench.request(OTHER)
    assert bench.refusals() == [RefusalCode.OVER_CAPACITY]
    assert set(bench.auth.state.peers) == {closing, silent}


def test_a_handshake_that_is_not_signed_displaces_nobody() -> None:
    bench = Bench({"max_connections": 1})
    silent = bench.request()
    bench.keys.trusts_requests = False
    bench.request(OTHER)
    assert bench.refusals() == [RefusalCode.BAD_SIGNATURE]
    assert bench.all(CloseRequested) == []
    assert silent in bench.auth.state.peers


def test_nothing_is_kept_of_sessions_and_hotkeys_that_are_gone(bench: Bench) -> None:
    connection = bench.open()
    bench.observe(ConnectionClosed(connection, 1000, ""))
    bench.advance(3600)
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR),)))
    state = bench.auth.state
    assert (state.peers, state.silent, state.sessions, state.budgets, state.nonces) == ({}, {}, {}, {}, {})


def test_release_0_1_0_took_any_number_of_sessions_of_a_hotkey() -> None:
    bench = Bench({"max_connections": 9, "sessions_per_hotkey": 1})
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1=True))
    for _ in range(10):
        bench.request()
    assert bench.refusals() == [RefusalCode.OVER_CAPACITY]
    assert bench.all(CloseRequested) == []


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
    connection = bench.request(method="POST", size=3_000_000, **query)
    assert bench.last(SynapseAsked) == SynapseAsked(connection, MINER, "10.0.0.1")
    answer = bench.last(HttpAnswered)
    assert (answer.connection, answer.status, list(as_json(answer.body))) == (connection, 404, ["message"])
    assert (bench.all(PeerRefused), bench.all(RequestVerificationRequested)) == ([], [])


def test_a_query_without_a_sender_is_turned_away_too(bench: Bench) -> None:
    connection = bench.request(target="/GameData", method="POST")
    assert bench.last(SynapseAsked) == SynapseAsked(connection, None, "10.0.0.1")
    bench.request(target="/GameData", headers={"bt_header_dendrite_hotkey": "x" * 999})
    assert bench.last(SynapseAsked).hotkey == "x" * 64
    bench.request(target="/GameData", headers={"bt_header_dendrite_hotkey": HIDDEN})
    assert bench.last(SynapseAsked).hotkey is None
    bench.request(target="/nothing", headers={"x-bittensor-hotkey": HIDDEN})
    assert bench.last(PeerRefused).hotkey is None


def test_a_request_to_a_path_of_ours_is_judged_as_always_whatever_else_it_says(bench: Bench) -> None:
    bench.request(target="/nothing")
    bench.request(target="/ws?netuid=31", headers={"bt_header_dendrite_hotkey": MINER})
    assert bench.refusals() == [RefusalCode.NOT_FOUND, RefusalCode.WRONG_NETUID]
    bench.request(headers={"bt_header_dendrite_hotkey": MINER})
    assert len(bench.all(PeerAuthenticated)) == 1
    assert bench.all(SynapseAsked) == []


def test_a_flood_of_queries_is_bounded_and_uses_up_no_budget_of_failures() -> None:
    bench = Bench(auth={"failure_burst": 3.0, "failures_per_second": 1.0})
    for _ in range(3):
        bench.request(**QUERIES[0])
    reason = "too many requests over Synapse from 10.0.0.1"
    assert bench.all(NetworkBarred) == [NetworkBarred("10.0.0.1", Micros(bench.clock.mono() + SECOND), reason)]
    assert bench.auth.state.failures == {}
    bench.request()  # from the same address
    assert len(bench.all(PeerAuthenticated)) == 1
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


@pytest.mark.parametrize(
    ("query", "encoding"),
    [
        ("", ""),
        ("&encoding=deflate", "deflate"),
        ("&encoding=zstd,deflate", "deflate"),
        ("&encoding=zstd%2Cdeflate", "deflate"),
        ("&encoding=", ""),
        ("&encoding=br", ""),
        (f"&encoding={'x,' * 1000}", ""),
    ],
)
def test_the_encoding_that_a_handshake_asks_for_is_known_and_others_are_ignored(
    bench: Bench, query: str, encoding: str
) -> None:
    bench.request(target=f"/ws?netuid=30{query}")
    assert bench.last(PeerAuthenticated).encoding == encoding


def test_an_encoding_that_is_named_twice_is_malformed(bench: Bench) -> None:
    bench.request(target="/ws?netuid=30&encoding=deflate&encoding=deflate")
    assert bench.refusals() == [RefusalCode.MALFORMED]


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
