"""A validator's sessions and HTTP exchanges, the health that it tells, and what a slow reader is sent."""

from typing import Any

import pytest
from msgspec import UNSET

from bettensor.actors.stream import HISTORY
from bettensor.actors.validator.connection import ValidatorConnectionActor, ValidatorConnectionSettings
from bettensor.bus import codec
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
    MessageAccepted,
    MessageRefused,
    MetagraphSynced,
    NeuronDraining,
    NeuronStarted,
    NeuronStopping,
    PeerAuthenticated,
    PeerRefused,
    PredictionsStored,
    PredictionSubmitted,
    Purpose,
    ReadingPaused,
    ReadingResumed,
    RequestBodyReceived,
    SendQueueDrained,
    SendQueueFilled,
    SendRequested,
    SessionActivated,
    SettingsReloaded,
    SignatureChecked,
    SlateRequested,
    SlateWriteRequested,
    UnsignedReceived,
    UpdateStored,
    UpdateStoreFailed,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey, Offset, SessionId, Uid
from bettensor.bus.messages import (
    ConfirmationMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    PredictionMessage,
    WelcomeMessage,
)
from tests.actors.validator.sessions import EPOCH, EVERYBODY, MINER, OTHER, VALIDATOR, Bench
from tests.support import HOUR, NETUID, Harness, make_hex32, make_prediction, stamp


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


def test_results_for_a_miner_that_has_left_the_subnet_are_forgotten(bench: Bench) -> None:
    for hotkey in (MINER, OTHER):
        bench.observe(SendRequested(hotkey, ConfirmationMessage(results=())))
    bench.observe(MetagraphSynced(EVERYBODY[:2]))
    assert list(bench.connection.state.parcels) == [MINER]
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1=True), MetagraphSynced(()))
    assert list(bench.connection.state.parcels) == [MINER]


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


# --- the budget of slates


FEW = {"slate_frames_per_second": 2.0, "slate_burst": 10.0}


def written(connection: ConnectionId, frames: int, hotkey: Hotkey = MINER) -> SlateWriteRequested:
    return SlateWriteRequested(connection, hotkey, EPOCH, Offset(1), None, merged=False, frames=frames)


def test_who_has_had_its_share_of_slates_waits_for_the_next_one() -> None:
    bench = Bench(connection=FEW)
    bench.observe(stored(1))
    first = bench.open()
    bench.observe(written(first, 14))
    again = bench.open()
    bench.open(OTHER)
    assert [event.hotkey for event in bench.all(SlateRequested)] == [MINER, OTHER]
    bench.observe(stored(2), told(2))
    assert again not in bench.last(BroadcastWriteRequested).connections  # it has nothing that this would change
    bench.advance(1.9)
    assert len(bench.all(SlateRequested)) == 2
    bench.advance(0.2)
    assert bench.last(SlateRequested) == SlateRequested(again, MINER, None, merged=True)
    bench.observe(stored(3), told(3))
    assert again in bench.last(BroadcastWriteRequested).connections


def test_a_share_is_had_at_once_and_comes_back_with_time() -> None:
    bench = Bench(connection=FEW)
    bench.observe(stored(1))
    for _ in range(6):  # the last of them leaves it with a debt of two
        connection = bench.open()
        bench.observe(written(connection, 2), ConnectionClosed(connection, 1000, ""))
    bench.open()
    assert len(bench.all(SlateRequested)) == 6
    bench.advance(600)
    assert len(bench.all(SlateRequested)) == 7


def test_get_games_is_refused_to_who_has_had_its_share() -> None:
    bench = Bench(connection=FEW)
    bench.observe(stored(1))
    bench.observe(written(bench.request(target="/games?netuid=30"), 15))
    bench.request(target="/games?netuid=30")
    (refused,) = bench.all(PeerRefused)
    assert (refused.code, refused.hotkey, refused.retry_after) == (RefusalCode.RATE_LIMITED, MINER, 3)
    assert "was sent more of the slate than 2 frames a second; ask in 3 s" in refused.message
    bench.advance(3)
    bench.request(target="/games?netuid=30")
    assert len(bench.all(PeerRefused)) == 1


def test_at_the_lowest_rate_a_slate_is_had_after_days() -> None:
    bench = Bench(connection={"slate_frames_per_second": 0.001, "slate_burst": 1.0})
    bench.observe(stored(1))
    bench.observe(written(bench.open(), 131))
    bench.request(target="/games?netuid=30")
    assert bench.last(PeerRefused).retry_after == 130_000


def test_get_games_of_what_is_known_costs_nothing() -> None:
    bench = Bench(connection=FEW)
    bench.observe(stored(5))
    bench.observe(written(bench.open(), 100))
    bench.request(target=f"/games?netuid=30&epoch={EPOCH}&offset=5")
    assert bench.refusals() == []
    assert len(bench.all(ExchangeCompleted)) == 1


def test_an_answer_is_complete_when_its_slate_is_written(bench: Bench) -> None:
    bench.observe(stored(1))
    connection = bench.request(target="/games?netuid=30")
    assert bench.all(ExchangeCompleted) == []
    bench.observe(written(connection, 3))
    assert [event.connection for event in bench.all(ExchangeCompleted)] == [connection]
    bench.observe(written(connection, 3))
    assert len(bench.all(ExchangeCompleted)) == 1


@pytest.mark.parametrize("first", ["the queue", "the budget"])
def test_a_slow_reader_without_budget_waits_for_both(first: str) -> None:
    bench = Bench(connection=FEW)
    bench.observe(stored(1))
    slow = bench.open()
    bench.observe(written(slow, 20), SendQueueFilled(slow), stored(2), told(2))
    bench.observe(SendQueueDrained(slow), SendQueueFilled(slow), stored(3), told(3))
    before = len(bench.all(SlateRequested))
    if first == "the queue":
        bench.observe(SendQueueDrained(slow))
        assert len(bench.all(SlateRequested)) == before
        bench.advance(6)
    else:
        bench.advance(6)
        assert len(bench.all(SlateRequested)) == before
        bench.observe(SendQueueDrained(slow))
    assert bench.last(SlateRequested) == SlateRequested(slow, MINER, Offset(1), merged=True)
    assert len(bench.all(SlateRequested)) == before + 1
    assert not bench.connection.state.waiting
    assert not bench.connection.state.lagging


def test_a_session_that_ends_while_it_waits_leaves_nothing_behind() -> None:
    bench = Bench(connection=FEW)
    bench.observe(stored(1))
    bench.observe(written(bench.open(), 20))
    waiting = bench.open()
    assert waiting in bench.connection.state.waiting
    before = len(bench.all(SlateRequested))
    bench.observe(ConnectionClosed(waiting, 1006, ""))
    bench.advance(60)
    assert not bench.connection.state.waiting
    assert len(bench.all(SlateRequested)) == before


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


def test_a_request_that_was_refused_for_want_of_a_verdict_has_no_second_answer_when_its_commit_fails(
    bench: Bench,
) -> None:
    connection = bench.request(target="/predictions?netuid=30", body=body_of_a_prediction())
    bench.advance(10)
    bench.observe(ConnectionClosed(connection, 0, ""))
    bench.observe(MessageRefused(connection, "a" * 32, "internal", "disk full"))
    assert bench.refusals() == [RefusalCode.NO_VERDICT]


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


# --- work


class Busy(Harness):
    """A validator's sessions alone: it takes ten predictions, or 10,000 bytes, a second of each hotkey."""

    def __init__(self, **settings: Any) -> None:
        limits = {
            "predictions_per_second": 10.0,
            "prediction_burst": 20.0,
            "bytes_per_second": 10_000.0,
            "byte_burst": 20_000.0,
        }
        self.actor = ValidatorConnectionActor(ValidatorConnectionSettings(**(limits | settings)))
        super().__init__(self.actor)
        self.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0))
        self.connections = 0
        self.ids: dict[ConnectionId, SessionId] = {}

    def open(self, hotkey: Hotkey = MINER, purpose: Purpose = "session") -> ConnectionId:
        """A session without its first frame, or an exchange."""
        self.connections += 1
        connection = ConnectionId(self.connections)
        session = self.ids[connection] = SessionId(make_hex32())
        self.observe(PeerAuthenticated(connection, hotkey, Uid(1), "sr25519", purpose, session, "1", "a" * 32))
        if purpose == "session":
            self.observe(ConnectionOpened(connection, hotkey, "1"))
        return connection

    def active(self, hotkey: Hotkey = MINER) -> ConnectionId:
        """A session."""
        connection = self.open(hotkey)
        self.observe(MessageAccepted(connection, hotkey, HeartbeatMessage()))
        return connection

    def hear(self, connection: ConnectionId, size: int) -> None:
        """A frame of so many bytes."""
        beat = stamp(HeartbeatMessage(session=self.ids[connection], seq=1), MINER)
        spaces = b" " * (size - len(codec.join(codec.Frame(codec.encode(beat), bytes(64)))))
        self.observe(FrameReceived(connection, codec.join(codec.Frame(codec.encode(beat) + spaces, bytes(64)))))

    def submit(self, connection: ConnectionId, count: int, hotkey: Hotkey = MINER) -> None:
        """A message of so many predictions."""
        message = PredictionMessage(predictions=tuple(make_prediction() for _ in range(count)))
        self.observe(MessageAccepted(connection, hotkey, message))

    def paused(self) -> list[ConnectionId]:
        """Sessions that are not read now."""
        resumed = [event.connection for event in self.all(ReadingResumed)]
        paused = [event.connection for event in self.all(ReadingPaused)]
        return [session for session in dict.fromkeys(paused) if paused.count(session) > resumed.count(session)]


def test_a_hotkey_with_too_many_predictions_is_not_read_until_it_may_send_more() -> None:
    bench = Busy()
    session = bench.active()
    bench.submit(session, 19)
    assert bench.paused() == []
    bench.submit(session, 15)
    assert bench.all(ReadingPaused) == [ReadingPaused(session, "work")]
    bench.advance(1.4)
    assert bench.paused() == [session]
    bench.advance(0.2)
    assert bench.all(ReadingResumed) == [ReadingResumed(session, "work")]
    bench.submit(session, 2)
    assert bench.paused() == [session]
    bench.advance(60)
    assert bench.paused() == []


def test_a_message_of_another_kind_counts_as_one_prediction() -> None:
    bench = Busy()
    session = bench.active()
    for _ in range(20):
        bench.observe(MessageAccepted(session, MINER, HeartbeatMessage()))
    assert bench.paused() == [session]


def test_a_hotkey_with_too_many_bytes_is_not_read_until_it_may_send_more() -> None:
    bench = Busy()
    session = bench.active()
    bench.hear(session, size=25_000)
    assert bench.paused() == [session]
    bench.advance(0.4)
    assert bench.paused() == [session]
    bench.advance(0.2)
    assert bench.paused() == []


def test_a_new_session_of_a_hotkey_has_no_new_budget_and_its_time_for_a_first_frame_begins_when_it_is_read() -> None:
    bench = Busy()
    older = bench.active()
    bench.submit(older, 120)
    bench.observe(ConnectionClosed(older, 1000, ""))
    newer = bench.open()
    assert [paused.connection for paused in bench.all(ReadingPaused)] == [older, newer]
    bench.advance(9.9)
    assert bench.all(ReadingResumed) == []
    bench.advance(4.9)
    assert bench.all(ReadingResumed) == [ReadingResumed(newer, "work")]
    assert not [close for close in bench.all(CloseRequested) if close.connection == newer]
    bench.advance(0.5)
    assert [close.code for close in bench.all(CloseRequested) if close.connection == newer] == [4000]


def test_what_one_session_of_a_hotkey_sends_holds_back_its_other_one_for_longer() -> None:
    bench = Busy()
    first = bench.active()
    bench.submit(first, 30)
    second = bench.open()
    bench.submit(second, 20)
    bench.advance(1.5)
    assert bench.paused() == [first, second]
    bench.advance(2)
    assert bench.paused() == []


def test_another_hotkey_is_read_meanwhile() -> None:
    bench = Busy()
    session, other = bench.active(), bench.active(OTHER)
    bench.submit(session, 30)
    bench.submit(other, 19, OTHER)
    assert bench.paused() == [session]


def test_a_slowed_session_that_ends_has_no_timer_left() -> None:
    bench = Busy()
    session = bench.active()
    bench.submit(session, 30)
    bench.observe(ConnectionClosed(session, 1006, ""))
    assert bench.actor.state.slowed == {}
    bench.advance(10)
    assert bench.all(ReadingResumed) == []


def test_a_session_that_is_closing_is_not_paused() -> None:
    bench = Busy()
    session = bench.active()
    bench.observe(NeuronStopping("test"))
    bench.submit(session, 100)
    assert bench.all(ReadingPaused) == []


def test_predictions_over_http_are_charged_to_the_hotkey_too() -> None:
    bench = Busy()
    session, exchange = bench.active(), bench.open(purpose="predictions")
    bench.submit(exchange, 25)
    assert bench.all(ReadingPaused) == []
    bench.submit(session, 1)
    assert bench.paused() == [session]


def test_a_hotkey_with_too_many_predictions_posts_no_more_until_it_may() -> None:
    bench = Busy()
    bench.submit(bench.open(purpose="predictions"), 25)
    bench.open(purpose="predictions")
    (refused,) = bench.all(PeerRefused)
    assert (refused.code, refused.retry_after, refused.hotkey) == (RefusalCode.RATE_LIMITED, 1, MINER)
    bench.open(OTHER, "predictions")
    bench.open(purpose="games")
    bench.advance(0.6)
    bench.open(purpose="predictions")
    assert bench.all(PeerRefused) == [refused]


def test_the_bytes_of_a_body_count_as_those_of_frames() -> None:
    bench = Busy()
    bench.observe(RequestBodyReceived(bench.open(purpose="predictions"), b"x" * 25_000))
    bench.observe(RequestBodyReceived(ConnectionId(99), b"x" * 25_000))  # it has left
    bench.open(purpose="predictions")
    assert [refused.code for refused in bench.all(PeerRefused)] == [RefusalCode.RATE_LIMITED]


def test_the_work_of_so_many_hotkeys_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.validator.connection.MAX_WORKERS", 1)
    bench = Busy()
    session, other = bench.active(), bench.active(OTHER)
    bench.submit(session, 1)
    bench.submit(other, 1, OTHER)
    assert list(bench.actor.state.work) == [OTHER]


def test_a_hotkey_of_which_too_much_is_refused_loses_its_session_and_its_next_one() -> None:
    bench = Busy(refusal_burst=3.0, refusals_per_second=0.1)
    session = bench.active()
    for code in ("malformed", "unknown_type", "malformed", "internal", "overloaded"):
        bench.observe(MessageRefused(session, "a" * 32, code, "wrong"))
    assert bench.all(CloseRequested) == []
    bench.observe(MessageRefused(session, "a" * 32, "malformed", "wrong"))
    assert [(close.connection, close.code) for close in bench.all(CloseRequested)] == [(session, 4103)]
    bench.observe(ConnectionClosed(session, 4103, ""))
    again = bench.active()
    bench.observe(MessageRefused(again, "a" * 32, "malformed", "wrong"))
    assert [(close.connection, close.code) for close in bench.all(CloseRequested)][1:] == [(again, 4103)]
    bench.advance(20)
    patient = bench.active()
    bench.observe(MessageRefused(patient, "a" * 32, "malformed", "wrong"))
    assert len(bench.all(CloseRequested)) == 2


def test_frames_that_end_their_session_count_as_refused_too() -> None:
    bench = Busy(refusal_burst=2.0, refusals_per_second=0.1)
    for _ in range(2):
        session = bench.active()
        bench.observe(UnsignedReceived(session, 60_000, b"x"), ConnectionClosed(session, 4001, ""))
    last = bench.active()
    bench.observe(MessageRefused(last, "a" * 32, "malformed", "wrong"))
    assert [close.code for close in bench.all(CloseRequested)] == [4001, 4001, 4103]


def test_at_the_lowest_rates_a_hotkey_of_which_too_much_came_is_not_read_for_long() -> None:
    bench = Busy(predictions_per_second=0.001, bytes_per_second=0.001)
    session = bench.active()
    bench.submit(session, 100)
    bench.advance(80_000)
    assert bench.paused() == [session]
    bench.advance(1000)
    assert bench.paused() == []


def test_release_0_1_0_charged_no_work() -> None:
    bench = Busy(refusal_burst=1.0)
    bench.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0, is_of_0_1=True))
    session = bench.active()
    bench.submit(session, 100)
    for _ in range(3):
        bench.observe(MessageRefused(session, "a" * 32, "malformed", "wrong"))
    assert bench.all(ReadingPaused) == []
    assert bench.all(CloseRequested) == []


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
