"""What only a manual clock can show of a validator's sessions, and what no peer should ever cause."""

from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.auth import AuthActor, Unverified
from bettensor.actors.budget import Budget
from bettensor.actors.connection import ConnectionSettings, Session, Stage
from bettensor.actors.stream import HISTORY
from bettensor.actors.validator.auth import MAX_REMOTES, ValidatorAuthActor, ValidatorAuthSettings
from bettensor.actors.validator.connection import ValidatorConnectionActor, ValidatorConnectionSettings
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    BlacklistLoaded,
    BroadcastRequested,
    BroadcastWriteRequested,
    ClockStepped,
    CloseRequested,
    CommitFailed,
    CommitRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    ExchangeCompleted,
    FrameReceived,
    GamesUpdated,
    HttpAnswered,
    HttpRequestReceived,
    LedgerOpened,
    MessageAccepted,
    MessageRefused,
    MetagraphSynced,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    PeerAuthenticated,
    PeerRefused,
    PredictionsStored,
    PredictionSubmitted,
    RequestVerificationRequested,
    Scheme,
    SendQueueDrained,
    SendQueueFilled,
    SendRequested,
    SessionActivated,
    SettingsReloaded,
    SignatureChecked,
    SlateRequested,
    UpdateStored,
    UpdateStoreFailed,
    VerificationRequested,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Hotkey, LedgerId, Micros, Offset, SessionId, Uid
from bettensor.bus.messages import (
    ConfirmationMessage,
    ErrorMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    WelcomeMessage,
)
from bettensor.neurons.simulation import SimulatedKeys, SimulatedVerifier
from tests.support import HOUR, NETUID, NOW, Harness, as_json, make_hex32, make_hotkey, make_identity, make_prediction

EPOCH = Epoch("e" * 32)
VALIDATOR, MINER, OTHER = make_hotkey("validator"), make_hotkey(), make_hotkey("other")


class Bench(Harness):
    def __init__(self, auth: dict[str, Any] | None = None, connection: dict[str, Any] | None = None) -> None:
        self.connection = ValidatorConnectionActor(ValidatorConnectionSettings(**(connection or {})))
        self.auth = ValidatorAuthActor(ValidatorAuthSettings(**(auth or {})))
        super().__init__(self.connection, self.auth)
        self.add(SimulatedKeys(make_identity(VALIDATOR)))
        self.add(SimulatedVerifier())
        self.ids = iter(range(1, 1_000_000))
        neurons = tuple(NeuronInfo(Uid(i), hotkey) for i, hotkey in enumerate((VALIDATOR, MINER, OTHER)))
        self.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0), MetagraphSynced(neurons))
        self.observe(LedgerOpened(LedgerId("1" * 32), ()))

    def request(self, hotkey: Hotkey = MINER, target: str = "/ws?netuid=30", **changes: Any) -> ConnectionId:
        connection = ConnectionId(next(self.ids))
        nonce = changes.pop("nonce", self.clock.wall() * 1000 + connection)
        headers = {
            "x-bittensor-version": "1",
            "x-bittensor-hotkey": hotkey,
            "x-bittensor-receiver": VALIDATOR,
            "x-bittensor-nonce": str(nonce),
            "x-bittensor-signature": "0x" + "00" * 64,
            "sec-websocket-protocol": "bettensor.v1",
        } | {f"x-bittensor-{name}": value for name, value in changes.pop("named", {}).items()}
        facts: dict[str, Any] = {
            "method": "GET" if "/predictions" not in target else "POST",
            "body": b"",
            "remote": "10.0.0.1",
            "upgrade": target.startswith("/ws?"),
            "salt": make_hex32(),
        }
        self.observe(
            HttpRequestReceived(connection, target=target, headers=tuple(headers.items()), **(facts | changes))
        )
        return connection

    def open(self, hotkey: Hotkey = MINER) -> ConnectionId:
        """A session that has been welcomed and activated."""
        connection = self.request(hotkey)
        self.observe(ConnectionOpened(connection, hotkey, "1"))
        self.say(connection, hotkey)
        return connection

    def say(self, connection: ConnectionId, hotkey: Hotkey = MINER) -> None:
        """A verified heartbeat comes."""
        self.observe(MessageAccepted(connection, hotkey, HeartbeatMessage()))

    def refusals(self) -> list[RefusalCode]:
        return [refused.code for refused in self.all(PeerRefused)]

    def health(self) -> tuple[int, dict[str, Any]]:
        self.request(target="/ws/health")
        answer = self.last(HttpAnswered)
        return answer.status, as_json(answer.body)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_session_is_active_after_both_have_spoken(bench: Bench) -> None:
    connection = bench.open()
    assert isinstance(bench.all(WriteRequested)[0].message, WelcomeMessage)
    assert bench.last(SessionActivated).connection == connection


def test_the_end_of_an_old_session_does_not_touch_the_newer_one_of_the_same_hotkey(bench: Bench) -> None:
    older, newer = bench.open(), bench.open()
    bench.observe(ConnectionClosed(older, 4104, ""))
    bench.observe(SendRequested(MINER, HeartbeatMessage()))
    assert bench.last(WriteRequested).connection == newer


def test_results_for_a_miner_that_is_away_wait_for_its_next_session(bench: Bench) -> None:
    bench.observe(SendRequested(MINER, ConfirmationMessage(results=())))
    assert not bench.all(WriteRequested)
    bench.open(OTHER)
    connection = bench.open()
    parcels = [write for write in bench.all(WriteRequested) if isinstance(write.message, ConfirmationMessage)]
    assert [write.connection for write in parcels] == [connection]


def test_what_is_said_to_nobody_fails_at_the_writer(bench: Bench) -> None:
    bench.observe(SendRequested(MINER, HeartbeatMessage()))
    assert bench.last(WriteRequested).connection is None


def test_a_session_keeps_the_rhythm_of_its_welcome_when_the_settings_change(bench: Bench) -> None:
    bench.open()
    bench.observe(
        SettingsReloaded(
            {"connection": {"websocket": {"heartbeat_interval": 5.0}}}, ("websocket.heartbeat_interval",), ()
        )
    )
    bench.advance(60)
    assert bench.health()[1]["active_connections"] == 1
    other = bench.open(OTHER)
    welcome = next(write.message for write in bench.all(WriteRequested) if write.connection == other)
    assert isinstance(welcome, WelcomeMessage)
    assert welcome.heartbeat_interval == 5
    bench.advance(8)
    assert bench.health()[1] == {"status": "online", "connections": 2, "active_connections": 1}


def test_health_counts_sessions_and_those_heard_of_late(bench: Bench) -> None:
    silent, lively = bench.open(), bench.open(OTHER)
    bench.advance(89)
    bench.say(lively, OTHER)
    bench.advance(2)
    assert bench.health() == (200, {"status": "online", "connections": 2, "active_connections": 1})
    bench.observe(ConnectionClosed(silent, 1006, ""))
    assert bench.health()[1]["connections"] == 1


@pytest.mark.parametrize("target", ["/ws/health", "/ws/health?from=monitoring"])
def test_health_is_answered_to_get_and_head_and_refused_to_other_methods(bench: Bench, target: str) -> None:
    for method in ("GET", "HEAD"):
        connection = bench.request(target=target, method=method)
        assert (bench.last(HttpAnswered).connection, bench.refusals()) == (connection, [])
    bench.request(target=target, method="POST")
    assert bench.refusals() == [RefusalCode.METHOD_NOT_ALLOWED]
    assert len(bench.all(HttpAnswered)) == 2


def test_health_is_degraded_for_a_minute_after_a_step_of_the_clock(bench: Bench) -> None:
    bench.clock.step_wall(HOUR)
    status, health = bench.health()
    assert (status, health["status"]) == (503, "degraded")
    assert bench.all(ClockStepped)
    bench.advance(61)
    assert bench.health()[0] == 200


def test_a_stopping_validator_is_offline_closes_and_refuses(bench: Bench) -> None:
    connection = bench.open()
    bench.observe(NeuronDraining(), NeuronStopping("SIGTERM"))
    (close,) = bench.all(CloseRequested)
    assert (close.connection, close.code) == (connection, 4200)
    assert close.reason == "this neuron stops, for now or for good"
    assert bench.health()[1]["status"] == "offline"
    bench.request(OTHER)
    assert bench.refusals() == [RefusalCode.RESTARTING]


def test_a_validator_that_drains_hears_no_more_and_still_answers(bench: Bench) -> None:
    connection = bench.open()
    bench.observe(NeuronDraining())
    frame = b'{"message_type":"heartbeat"}\n0x' + b"0" * 128
    assert not bench.during(lambda: bench.observe(FrameReceived(connection, frame)), CloseRequested)
    bench.observe(SendRequested(MINER, ConfirmationMessage(results=()), connection))
    assert isinstance(bench.last(WriteRequested).message, ConfirmationMessage)
    bench.request(OTHER)
    assert bench.refusals() == [RefusalCode.RESTARTING]


# --- slow readers


def told(offset: int, part: int = 1, parts: int = 1) -> BroadcastRequested:
    update = GameUpdateMessage(
        netuid=NETUID,
        epoch=EPOCH,
        offset=Offset(offset),
        previous=Offset(offset - 1),
        updated_games={},
        part=part,
        parts=parts,
    )
    return BroadcastRequested(update)


def stored(offset: int) -> GamesUpdated:
    return GamesUpdated(VALIDATOR, EPOCH, Offset(offset), (), snapshot=offset == 1)


def test_updates_are_held_back_from_a_slow_reader_and_told_in_one(bench: Bench) -> None:
    bench.observe(stored(1))
    slow, quick = bench.open(), bench.open(OTHER)
    bench.observe(stored(2), told(2), SendQueueFilled(slow))
    for offset in (3, 4):
        bench.observe(stored(offset), told(offset))
    assert [event.connections for event in bench.all(BroadcastWriteRequested)] == [(slow, quick), (quick,), (quick,)]
    bench.observe(SendQueueDrained(slow))
    assert bench.last(SlateRequested) == SlateRequested(slow, MINER, Offset(2), merged=True)
    bench.observe(stored(5), told(5))
    assert bench.last(BroadcastWriteRequested).connections == (slow, quick)


def test_an_update_whose_parts_did_not_all_go_out_is_told_again(bench: Bench) -> None:
    bench.observe(stored(1))
    slow = bench.open()
    bench.observe(stored(2), told(2, part=1, parts=2), SendQueueFilled(slow), told(2, part=2, parts=2))
    bench.observe(SendQueueDrained(slow))
    assert bench.last(SlateRequested).known == 1


def test_a_reader_that_is_too_far_behind_gets_the_whole_slate(bench: Bench) -> None:
    bench.observe(stored(1))
    slow = bench.open()
    bench.observe(SendQueueFilled(slow), stored(HISTORY + 2), SendQueueDrained(slow))
    assert bench.last(SlateRequested) == SlateRequested(slow, MINER, None, merged=True)


def test_a_slow_reader_that_missed_nothing_or_is_gone_is_sent_nothing(bench: Bench) -> None:
    bench.observe(stored(1))
    slow = bench.open()
    before = len(bench.all(SlateRequested))
    bench.observe(SendQueueFilled(slow), SendQueueDrained(slow), SendQueueDrained(ConnectionId(99)))
    bench.observe(SendQueueFilled(slow), stored(2), ConnectionClosed(slow, 4101, ""), SendQueueDrained(slow))
    assert len(bench.all(SlateRequested)) == before
    assert bench.connection.state.lagging == {}


def test_health_is_degraded_while_the_disk_fails(bench: Bench) -> None:
    for failure, success in (
        (CommitFailed(1, "disk full"), PredictionsStored(2, ())),
        (UpdateStoreFailed("disk full"), UpdateStored((told(2).message,))),  # type: ignore[arg-type]
    ):
        bench.observe(failure)
        assert bench.health() == (503, {"status": "degraded", "connections": 0, "active_connections": 0})
        bench.observe(success)
        assert bench.health()[0] == 200


def test_health_is_degraded_while_the_disk_is_slow(bench: Bench) -> None:
    bench.observe(CommitRequested(()))
    assert bench.health()[0] == 200
    bench.advance(1.0)
    assert bench.health() == (503, {"status": "degraded", "connections": 0, "active_connections": 0})
    bench.observe(PredictionsStored(1, ()))
    assert bench.health()[0] == 503  # the next one may be as slow
    bench.advance(10.0)
    assert bench.health()[0] == 200


def body_of_a_prediction() -> bytes:
    return b'{"message_type":"prediction","message_id":"%s","sender_hotkey":"%s","timestamp":"","predictions":[%s]}' % (
        make_hex32().encode(),
        MINER.encode(),
        make_prediction().to_json().encode(),
    )


def test_an_exchange_without_a_verdict_in_time_fails(bench: Bench) -> None:
    bench.request(target="/predictions?netuid=30", body=body_of_a_prediction())
    assert len(bench.all(PredictionSubmitted)) == 1
    bench.advance(10.1)
    assert bench.refusals() == [RefusalCode.NO_VERDICT]
    assert not bench.all(ExchangeCompleted)


def test_an_exchange_whose_commit_failed_is_a_failure_and_no_verdict(bench: Bench) -> None:
    connection = bench.request(target="/predictions?netuid=30", body=b"{}")
    assert bench.refusals() == [RefusalCode.MALFORMED]
    session = bench.request(target="/predictions?netuid=30", body=body_of_a_prediction())
    bench.observe(MessageRefused(session, None, "internal", "disk full"))
    assert bench.refusals()[-1] is RefusalCode.INTERNAL
    assert connection != session


def test_before_there_is_a_slate_it_is_asked_for_and_the_welcome_alone_is_the_answer(bench: Bench) -> None:
    connection = bench.request(target="/games?netuid=30")
    assert [done.connection for done in bench.all(ExchangeCompleted)] == [connection]
    assert bench.refusals() == []


def test_a_failure_before_the_sender_is_known_is_internal(bench: Bench) -> None:
    bench.observe(MessageRefused(ConnectionId(77), None, "internal", "a bug"))
    assert bench.refusals() == [RefusalCode.INTERNAL]


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
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, pins_schemes=False))
    bench.request(named={"crypto": "ed25519"})
    assert bench.last(RequestVerificationRequested).scheme == "ed25519"
    bench.observe(members("sr25519"))
    assert bench.all(CloseRequested) == []


def test_late_events_of_a_session_that_is_gone_change_nothing(bench: Bench) -> None:
    connection = bench.open()
    bench.observe(ConnectionClosed(connection, 1006, ""))
    before = len(bench.all(WriteRequested))
    bench.say(connection)
    bench.observe(
        ConnectionOpened(connection, MINER, "1"),
        CloseRequested(connection, 4100, ""),
        SignatureChecked(connection, 12345, valid=True),
        MessageRefused(connection, None, "malformed", ""),
    )
    assert len(bench.all(WriteRequested)) == before


def test_an_unanswered_verification_is_forgotten_with_its_connection() -> None:
    actor = AuthActor()
    bench = Harness(actor)
    request = VerificationRequested(ConnectionId(1), MINER, "sr25519", b"", b"", ErrorMessage(code="x", message=""))
    bench.observe(request, ConnectionClosed(ConnectionId(2), 1006, ""))
    assert len(actor.state.unverified) == 1
    bench.observe(ConnectionClosed(ConnectionId(1), 1006, ""))
    assert actor.state.unverified == {}


def test_a_session_does_not_go_backwards() -> None:
    session = Session(
        connection=ConnectionId(1),
        hotkey=MINER,
        purpose="session",
        challenge="",
        heard_at=Micros(0),
        budget=Budget(1, Micros(0)),
        session=SessionId(""),
    )
    session.become(Stage.ACTIVE)
    for stage in (Stage.GREETING, Stage.ACTIVE):
        with pytest.raises(AssertionError, match="does not go from active"):
            session.become(stage)


def test_actors_state_survives_a_snapshot(bench: Bench) -> None:
    bench.open()
    for actor in (bench.connection, bench.auth):
        before = actor.state
        actor.restore(actor.snapshot())
        assert actor.state == before


@pytest.mark.parametrize(
    "wrong", [lambda: ConnectionSettings(burst=0.0), lambda: ValidatorAuthSettings(max_connections=0)]
)
def test_settings_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="should be greater than"):
        wrong()
