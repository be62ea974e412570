"""A validator's sessions and HTTP exchanges, the health that it tells, and what a slow reader is sent."""

import pytest
from msgspec import UNSET

from bettensor.actors.stream import HISTORY
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    BroadcastRequested,
    BroadcastWriteRequested,
    CertificateLoaded,
    ClockStepped,
    CloseRequested,
    CommitFailed,
    CommitRequested,
    ConnectionClosed,
    ConnectionOpened,
    ExchangeCompleted,
    FrameReceived,
    GamesUpdated,
    HttpAnswered,
    MessageRefused,
    NeuronDraining,
    NeuronStopping,
    PeerRefused,
    PredictionsStored,
    PredictionSubmitted,
    SendQueueDrained,
    SendQueueFilled,
    SendRequested,
    SessionActivated,
    SettingsReloaded,
    SignatureChecked,
    SlateRequested,
    UpdateStored,
    UpdateStoreFailed,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Offset
from bettensor.bus.messages import ConfirmationMessage, GameUpdateMessage, HeartbeatMessage, WelcomeMessage
from tests.actors.validator.sessions import EPOCH, MINER, OTHER, VALIDATOR, Bench
from tests.support import HOUR, NETUID, make_hex32, make_prediction


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
    assert close.reason == "restarting or shutting down"
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


def test_actors_state_survives_a_snapshot(bench: Bench) -> None:
    bench.open()
    for actor in (bench.connection, bench.auth):
        before = actor.state
        actor.restore(actor.snapshot())
        assert actor.state == before


def test_exchanges_with_existing_miners_are_none_of_its_own(bench: Bench) -> None:
    bench.open()
    written = len(bench.all(WriteRequested))
    bench.observe(
        SendRequested(MINER, ConfirmationMessage(results=()), ConnectionId(-1)),
        SendRequested(OTHER, ConfirmationMessage(results=()), ConnectionId(-2)),
        MessageRefused(ConnectionId(-1), "a" * 32, "internal", "the disk is full"),
    )
    assert len(bench.all(WriteRequested)) == written
    assert bench.all(PeerRefused) == []
    bench.open(OTHER)  # nothing was kept for it
    assert not any(isinstance(write.message, ConfirmationMessage) for write in bench.all(WriteRequested))


OWN, SERVED, PROXYS = "ab" * 32, "cd" * 32, "ef" * 32


def key_in_welcome(bench: Bench, **request: str) -> object:
    connection = bench.open(MINER, **request)
    (welcome,) = [
        write.message
        for write in bench.all(WriteRequested)
        if write.connection == connection and isinstance(write.message, WelcomeMessage)
    ]
    return welcome.tls_key


def test_a_welcome_names_the_key_that_serves_the_connection_and_offers_the_present_one_on_a_plain_one(
    bench: Bench,
) -> None:
    assert key_in_welcome(bench) is UNSET
    bench.observe(CertificateLoaded(OWN))
    assert key_in_welcome(bench) == OWN
    assert key_in_welcome(bench, tls_key=SERVED) == SERVED  # by the certificate of before a reload


def test_behind_a_proxy_where_tls_ends_a_welcome_names_the_proxys_key(bench: Bench) -> None:
    bench.observe(CertificateLoaded(PROXYS, of_proxy=True))
    assert key_in_welcome(bench) == PROXYS
    bench.observe(CertificateLoaded(OWN))
    assert key_in_welcome(bench, tls_key=OWN) == PROXYS  # the proxy itself may come by TLS
