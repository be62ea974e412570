"""The HTTP fallback: what the WebSocket could not carry, in order, several at once, with back-off, until it is back."""

from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.miner.http_fallback import HttpFallbackActor, HttpFallbackSettings
from bettensor.actors.settings import WebSocketSettings
from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    DialFailed,
    Event,
    FallbackChosen,
    GamesRequested,
    GamesUpdated,
    MessageAccepted,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    Position,
    PostAnswered,
    PostFailed,
    PostRequested,
    ReconnectScheduled,
    SendFailed,
    SessionActivated,
    SettingsReloaded,
    Tls,
    TlsLearned,
    UpdateMissed,
    VerdictOverdue,
    VerdictReceived,
)
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, Micros, Offset, SessionId, Uid
from bettensor.bus.messages import MAX_FRAME_BYTES, ConfirmationMessage, HeartbeatMessage, PredictionMessage
from tests.support import NETUID, Harness, frame_size, make_hotkey, make_prediction

ME, VALIDATOR = make_hotkey("me"), make_hotkey("validator")
SESSION = ConnectionId(7)


class Bench(Harness):
    def __init__(self, learned: Tls | None = None, *, knows_tls: bool = True, **settings: Any) -> None:
        self.actor = HttpFallbackActor(HttpFallbackSettings(**settings))
        super().__init__(self.actor)
        self.outbox: list[str] = []
        self.bus.subscribe(FallbackChosen, self._give_all, "outbox")
        neuron = NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, axon="10.0.0.1:8091")
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 1), MetagraphSynced((neuron,)))
        if knows_tls:
            self.observe(TlsLearned(VALIDATOR, learned))

    def fail(self, *ids: str) -> None:
        """These could not be sent by WebSocket."""
        for prediction_id in ids:
            self.outbox.append(prediction_id)
            self.bus.publish(failed(prediction_id))

    def _give_all(self, _: FallbackChosen, __: Envelope) -> None:
        """As the outbox does where there is no session: all that it has, in its order."""
        if self.actor.state.roads[VALIDATOR].session is None:
            for prediction_id in self.outbox:
                self.bus.publish(failed(prediction_id))

    def posts(self) -> list[list[str]]:
        return [
            [p.prediction_id for p in post.message.predictions]
            for post in self.all(PostRequested)
            if isinstance(post.message, PredictionMessage)
        ]

    def answer(self, *ids: str) -> None:
        """The exchange that is under way brings verdicts on these."""
        for prediction in map(prediction_of, ids):
            self.outbox.remove(prediction.prediction_id)
            self.observe(VerdictReceived(VALIDATOR, prediction, True, "accepted", "", Micros(1)))
        self.observe(PostAnswered(self.last(PostRequested).connection, VALIDATOR))

    def refuse(self, **changes: Any) -> None:
        self.observe(PostFailed(self.last(PostRequested).connection, VALIDATOR, "503", **changes))

    def open(self) -> None:
        self.observe(SessionActivated(SESSION, VALIDATOR, Uid(0), SessionId("5" * 32)))


def prediction_of(prediction_id: str) -> TeamGamePrediction:
    return make_prediction(None, prediction_id=prediction_id)


def failed(prediction_id: str) -> SendFailed:
    message = PredictionMessage(predictions=(prediction_of(prediction_id),))
    return SendFailed(VALIDATOR, message, "there is no session")


def switched(*, on: bool) -> SettingsReloaded:
    return SettingsReloaded({"http_fallback": {"websocket": {"enabled": on}}}, ("websocket.enabled",), ())


def test_what_could_not_be_sent_is_posted_and_what_comes_meanwhile_goes_together_in_order() -> None:
    bench = Bench()
    bench.fail("a", "b", "c")
    assert bench.posts() == [["a"]]
    bench.answer("a")
    assert bench.posts() == [["a"], ["b", "c"]]
    bench.answer("b", "c")
    assert len(bench.posts()) == 2
    assert bench.last(PostRequested).endpoint == "10.0.0.1:8091"
    assert bench.last(PostRequested).connection < 0


def test_a_validator_that_is_none_any_more_is_left_alone_until_it_is_back() -> None:
    bench = Bench()
    bench.observe(DialFailed(ConnectionId(1), VALIDATOR, "down"))
    bench.advance(0)
    bench.observe(PostFailed(bench.last(GamesRequested).connection, VALIDATOR, "down"))
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR, axon="10.0.0.1:8091"),)))  # its permit is gone
    bench.fail("a")
    bench.advance(3600)
    assert bench.posts() == []
    assert len(bench.all(GamesRequested)) == 1
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, axon="10.0.0.2:8091"),)))
    assert bench.posts() == [["a"]]
    assert bench.last(PostRequested).endpoint == "10.0.0.2:8091"
    bench.advance(3600)
    assert len(bench.all(GamesRequested)) == 2


def test_at_most_64_go_in_one_message() -> None:
    bench = Bench()
    bench.fail(*(f"p{i}" for i in range(70)))
    bench.answer("p0")
    assert [len(post) for post in bench.posts()] == [1, 64]


def test_and_no_more_than_fit_in_a_body() -> None:
    bench = Bench()
    bench.open()
    long = tuple(replace(prediction_of(f"p{i}"), team_a="\x01" * 256, team_b="\x01" * 256) for i in range(64))
    bench.observe(VerdictOverdue(VALIDATOR, long))
    message = bench.last(PostRequested).message
    assert isinstance(message, PredictionMessage)
    assert 1 < len(message.predictions) < 64
    assert frame_size(message) <= MAX_FRAME_BYTES


@pytest.mark.parametrize("end", [ConnectionClosed(SESSION, 1006, ""), CloseRequested(SESSION, CloseCode.STALE, "")])
def test_what_was_pushed_before_the_session_ended_is_posted_first(end: Event) -> None:
    bench = Bench()
    bench.open()
    bench.outbox = ["pushed-1", "pushed-2"]
    bench.observe(end)
    bench.fail("made-later")
    assert bench.posts() == [["pushed-1"]]
    bench.answer("pushed-1")
    assert bench.posts() == [["pushed-1"], ["pushed-2", "made-later"]]


@pytest.mark.parametrize("overdue", [[], ["pushed-2"]])
def test_what_was_pushed_before_a_send_fails_is_posted_first_though_no_end_was_told(overdue: list[str]) -> None:
    bench = Bench()
    bench.open()
    bench.outbox = ["pushed-1", "pushed-2"]
    for prediction_id in overdue:
        bench.observe(VerdictOverdue(VALIDATOR, (prediction_of(prediction_id),)))
        bench.answer(prediction_id)
    bench.fail("made-later", "last")
    assert bench.posts()[len(overdue) :] == [["pushed-1"]]
    bench.observe(ConnectionClosed(SESSION, CloseCode.ABNORMAL, ""))
    bench.answer("pushed-1")
    assert [bench.posts()[-1][-2:], len(bench.all(FallbackChosen))] == [["made-later", "last"], 1 + len(overdue)]


def test_failures_of_one_moment_are_posted_in_the_order_of_the_outbox() -> None:
    bench = Bench()
    with bench.bus.together():
        bench.fail("a", "b")
    assert bench.posts() == [["a"]]
    bench.answer("a")
    assert bench.posts() == [["a"], ["b"]]


def test_games_are_polled_while_a_long_wait_for_the_next_session_lasts() -> None:
    bench = Bench()
    bench.open()
    bench.observe(ConnectionClosed(SESSION, CloseCode.POLICY_VIOLATION, ""))
    bench.observe(ReconnectScheduled(VALIDATOR, Micros(5 * SECOND), "closed with 1006"))
    bench.advance(5)
    assert bench.all(GamesRequested) == []
    bench.observe(ReconnectScheduled(VALIDATOR, Micros(300 * SECOND), "closed with 1008"))
    bench.advance(5)
    assert len(bench.all(GamesRequested)) == 1
    assert bench.last(FallbackChosen) == FallbackChosen(VALIDATOR, "no_connection", "closed with 1008")


@pytest.mark.parametrize("status", [400, 413])
def test_a_body_that_is_refused_is_cut_until_one_prediction_alone_is_at_fault(status: int) -> None:
    bench = Bench()
    bench.open()
    ids = [f"p{i}" for i in range(5)]
    bench.observe(VerdictOverdue(VALIDATOR, tuple(map(prediction_of, ids))))
    for _ in range(3):
        bench.refuse(status=status)
        bench.advance(400)
    assert bench.posts() == [ids, ids[:2], ids[:1], ["p1"]]  # what is refused by itself waits behind the others
    bench.outbox = list(ids)
    bench.answer("p1")
    assert bench.posts()[-1] == ["p2", "p3", "p4", "p0"]


def test_a_session_that_gives_no_verdict_is_helped_out_by_http_until_it_gives_one() -> None:
    bench = Bench()
    bench.open()
    bench.observe(VerdictOverdue(VALIDATOR, (prediction_of("late"),)))
    assert bench.posts() == [["late"]]
    assert bench.last(FallbackChosen).reason == "the WebSocket gives no verdict"
    bench.advance(0)
    bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    for connection in (SESSION, bench.last(PostRequested).connection):
        bench.observe(MessageAccepted(connection, VALIDATOR, HeartbeatMessage()))
    bench.observe(MessageAccepted(bench.last(PostRequested).connection, VALIDATOR, ConfirmationMessage(results=())))
    bench.advance(15)
    assert len(bench.all(GamesRequested)) == 2
    bench.observe(MessageAccepted(SESSION, VALIDATOR, ConfirmationMessage(results=())))
    bench.observe(MessageAccepted(SESSION, make_hotkey("unknown"), ConfirmationMessage(results=())))
    bench.advance(100)
    assert len(bench.all(GamesRequested)) == 2


def test_a_session_that_owes_no_verdict_any_more_is_helped_out_until_it_is_heard() -> None:
    bench = Bench()
    bench.open()
    bench.outbox = ["late"]
    bench.observe(VerdictOverdue(VALIDATOR, (prediction_of("late"),)))
    bench.advance(0)
    bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    bench.observe(MessageAccepted(SESSION, VALIDATOR, HeartbeatMessage()))  # it still owes one
    bench.answer("late")
    bench.advance(15)
    assert len(bench.all(GamesRequested)) == 2
    bench.observe(MessageAccepted(SESSION, VALIDATOR, HeartbeatMessage()))
    bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    bench.advance(100)
    assert len(bench.all(GamesRequested)) == 2


def test_a_send_that_fails_in_an_open_session_is_posted() -> None:
    bench = Bench()
    bench.open()
    bench.fail("a")
    assert bench.posts() == [["a"]]


def test_games_are_polled_when_a_session_that_gave_no_verdict_has_ended() -> None:
    bench = Bench()
    bench.open()
    bench.observe(VerdictOverdue(VALIDATOR, (prediction_of("late"),)))
    bench.observe(MessageAccepted(SESSION, VALIDATOR, ConfirmationMessage(results=())))
    bench.observe(ConnectionClosed(SESSION, 4100, ""), DialFailed(ConnectionId(8), VALIDATOR, "refused"))
    bench.advance(0)
    assert [chosen.cause for chosen in bench.all(FallbackChosen)] == ["no_verdict", "no_connection"]
    assert len(bench.all(GamesRequested)) == 1


def test_games_are_polled_once_a_websocket_that_was_switched_off_has_closed() -> None:
    bench = Bench()
    bench.open()
    bench.observe(switched(on=False))
    bench.advance(1)
    assert bench.all(FallbackChosen) == []
    bench.observe(ConnectionClosed(SESSION, 1000, ""))
    bench.advance(0)
    assert bench.last(FallbackChosen).cause == "disabled"
    assert len(bench.all(GamesRequested)) == 1


def test_a_poll_that_is_refused_is_not_repeated_before_retry_after() -> None:
    bench = Bench(poll_interval=15.0, max_poll_interval=15.0)
    bench.observe(DialFailed(ConnectionId(1), VALIDATOR, "refused"))
    for retry_after, pause in ((60, 60), (1, 15)):
        bench.advance(0)
        bench.observe(PostFailed(bench.last(GamesRequested).connection, VALIDATOR, "503", 503, retry_after))
        polls = len(bench.all(GamesRequested))
        bench.advance(pause - 0.001)
        assert len(bench.all(GamesRequested)) == polls
        bench.advance(0.001)
        assert len(bench.all(GamesRequested)) == polls + 1


def test_retry_after_is_obeyed_no_longer_than_a_miner_waits_by_itself() -> None:
    bench = Bench()
    bench.observe(DialFailed(ConnectionId(1), VALIDATOR, "refused"))
    bench.advance(0)
    bench.fail("a")
    bench.observe(PostFailed(bench.last(GamesRequested).connection, VALIDATOR, "503", 503, 99_999))
    bench.refuse(retry_after=99_999)
    bench.advance(299)
    assert (len(bench.posts()), len(bench.all(GamesRequested))) == (1, 1)
    bench.advance(2)
    assert (len(bench.posts()), len(bench.all(GamesRequested))) == (2, 2)


def test_after_a_failure_it_backs_off_and_obeys_retry_after() -> None:
    bench = Bench()
    bench.fail("a")
    bench.refuse()
    bench.fail("b")
    assert bench.posts() == [["a"]]
    bench.advance(5)
    assert bench.posts() == [["a"], ["a", "b"]]
    bench.refuse(retry_after=60)
    bench.advance(59)
    assert len(bench.posts()) == 2
    bench.advance(2)
    assert len(bench.posts()) == 3


def test_an_answer_without_all_verdicts_is_not_repeated_at_once() -> None:
    bench = Bench()
    bench.fail("a")
    bench.answer()
    assert bench.posts() == [["a"]]
    bench.advance(5)
    assert bench.posts() == [["a"], ["a"]]


def test_when_the_websocket_is_back_the_fallback_stops_by_itself() -> None:
    bench = Bench()
    bench.fail("a")
    bench.refuse()
    bench.open()
    bench.outbox.clear()  # the WebSocket brings its verdict
    bench.advance(1000)
    assert bench.posts() == [["a"]]
    polls = len(bench.all(GamesRequested))
    bench.advance(1000)
    assert len(bench.all(GamesRequested)) == polls
    bench.observe(ConnectionClosed(SESSION, 1006, ""), ConnectionClosed(ConnectionId(99), 1006, ""))
    bench.fail("b")
    assert bench.posts()[-1] == ["b"]


def test_without_a_session_games_are_polled_from_the_known_position() -> None:
    bench = Bench(poll_interval=15.0)
    bench.observe(DialFailed(ConnectionId(1), VALIDATOR, "refused"))
    bench.advance(0)
    first = bench.last(GamesRequested)
    assert first.position is None
    bench.observe(GamesUpdated(VALIDATOR, Epoch("e" * 32), Offset(3), (), snapshot=True))
    bench.advance(16)
    assert len(bench.all(GamesRequested)) == 1  # one at a time
    bench.observe(PostAnswered(first.connection, VALIDATOR))
    bench.advance(15)
    assert bench.last(GamesRequested).position == Position(Epoch("e" * 32), Offset(3))
    bench.observe(PostFailed(bench.last(GamesRequested).connection, VALIDATOR, "x"))
    bench.advance(30)
    assert len(bench.all(GamesRequested)) == 3


# --- validators that do not answer


def lose_polls(bench: Bench, seconds: float, **failure: Any) -> int:
    """Each poll fails for so long; returns how many there were."""
    before = len(bench.all(GamesRequested))
    for _ in range(round(seconds)):
        bench.advance(1)
        fail_poll(bench, **failure)
    return len(bench.all(GamesRequested)) - before


def fail_poll(bench: Bench, **failure: Any) -> None:
    road = bench.actor.state.roads[VALIDATOR]
    if road.polling is not None:
        bench.observe(PostFailed(road.polling, VALIDATOR, "no answer", **failure))


def test_polls_of_a_validator_that_does_not_answer_back_off() -> None:
    bench = Bench()
    bench.observe(DialFailed(ConnectionId(1), VALIDATOR, "refused"))
    assert 3 <= lose_polls(bench, 300) <= 10  # it was 21
    assert 10 <= lose_polls(bench, 3600) <= 30  # it was 240


def test_the_first_answer_ends_the_back_off_of_polls() -> None:
    bench = Bench()
    bench.observe(DialFailed(ConnectionId(1), VALIDATOR, "refused"))
    lose_polls(bench, 600)
    bench.advance(300)
    for _ in range(3):
        bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
        polls = len(bench.all(GamesRequested))
        bench.advance(15)
        assert len(bench.all(GamesRequested)) == polls + 1


def test_failed_polls_are_not_slowed_down_if_the_intervals_are_equal() -> None:
    bench = Bench(poll_interval=15.0, max_poll_interval=15.0)
    bench.observe(DialFailed(ConnectionId(1), VALIDATOR, "refused"))
    assert lose_polls(bench, 300) == 21


def test_an_answer_to_a_poll_lets_predictions_go_that_wait_because_nothing_answered() -> None:
    bench = Bench()
    bench.fail("a")
    for _ in range(9):
        bench.refuse()
        bench.advance(300)
    bench.refuse()
    bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    assert len(bench.posts()) == 11
    bench.refuse(status=503)  # it answers, and cannot judge: that is another trouble
    bench.advance(0)
    bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    assert len(bench.posts()) == 11


def test_an_answer_to_a_post_brings_the_games_without_delay() -> None:
    bench = Bench()
    bench.fail("a")
    lose_polls(bench, 900)
    polls = len(bench.all(GamesRequested))
    bench.answer("a")
    bench.advance(0)
    assert len(bench.all(GamesRequested)) == polls + 1


def test_a_validator_that_has_moved_is_tried_there_at_once() -> None:
    bench = Bench()
    bench.fail("a")
    for _ in range(9):
        bench.refuse()
        bench.advance(300)
    bench.refuse()
    fail_poll(bench)
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, axon="10.9.9.9:9"),)))
    bench.advance(0)
    assert bench.last(PostRequested).endpoint == bench.last(GamesRequested).endpoint == "10.9.9.9:9"
    assert len(bench.posts()) == 11


def test_a_clock_that_is_set_right_ends_both_back_offs() -> None:
    bench = Bench()
    bench.fail("a")
    bench.refuse(status=401, code=RefusalCode.STALE)
    assert lose_polls(bench, 600, status=401, code=RefusalCode.STALE) > 600 / 60
    polls, posts = len(bench.all(GamesRequested)), len(bench.posts())
    bench.refuse(status=401, code=RefusalCode.STALE)
    bench.clock.step_wall(Micros(60 * SECOND))
    bench.bus.look_at_clocks()
    bench.advance(0)
    assert (len(bench.all(GamesRequested)), len(bench.posts())) == (polls + 1, posts + 1)


def test_a_step_of_the_clock_means_nothing_to_other_troubles() -> None:
    bench = Bench()
    bench.fail("a")
    bench.refuse()
    bench.clock.step_wall(Micros(60 * SECOND))
    bench.bus.look_at_clocks()
    assert len(bench.posts()) == 1


def test_a_missed_update_is_fetched_once_even_with_a_session() -> None:
    bench = Bench()
    bench.open()
    for _ in range(3):
        bench.observe(UpdateMissed(VALIDATOR, Offset(3), Offset(5)))
    assert len(bench.all(GamesRequested)) == 1
    bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    bench.advance(100)
    assert len(bench.all(GamesRequested)) == 1
    bench.observe(UpdateMissed(make_hotkey("unknown"), Offset(3), Offset(5)))


def test_what_is_missed_while_a_poll_is_under_way_is_asked_for_after_it_and_once() -> None:
    bench = Bench()
    bench.open()
    bench.observe(UpdateMissed(VALIDATOR, Offset(3), Offset(5)))
    bench.observe(UpdateMissed(VALIDATOR, Offset(3), Offset(6)))
    for _ in range(2):  # who says more than it gives is not asked for ever
        bench.observe(GamesUpdated(VALIDATOR, Epoch("e" * 32), Offset(5), (), snapshot=False))
        bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
        bench.advance(100)
        assert len(bench.all(GamesRequested)) == 2


def lie_about_offsets(bench: Bench, seconds: int, after: int, *, gives: bool) -> int:
    """A validator claims a later offset twice a second, and brings each or none; returns the number of polls."""
    asked = bench.bus.counts[GamesRequested.topic]
    polls = asked
    for number in range(2 * seconds):
        ahead = Offset(after + number)
        bench.observe(UpdateMissed(VALIDATOR, Offset(0), ahead))
        bench.advance(0.5)
        if bench.bus.counts[GamesRequested.topic] > polls:
            polls += 1
            if gives:
                bench.observe(GamesUpdated(VALIDATOR, Epoch("e" * 32), ahead, (), snapshot=True))
            bench.observe(PostAnswered(ConnectionId(-polls), VALIDATOR))
    return polls - asked


def test_a_validator_that_claims_later_offsets_is_asked_once_a_second_and_less_often_if_it_brings_nothing() -> None:
    bench = Bench()
    bench.open()
    assert 55 <= lie_about_offsets(bench, 60, 1, gives=True) <= 61
    assert lie_about_offsets(bench, 1200, 10_000, gives=False) < 30
    assert lie_about_offsets(bench, 900, 100_000, gives=True) > 500  # what it brings ends the back-off


def test_a_run_of_0_1_0_asked_at_once_and_obeyed_any_retry_after() -> None:
    bench = Bench()
    bench.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 1, is_of_0_1=True))
    bench.open()
    for offset in (5, 6):
        bench.observe(UpdateMissed(VALIDATOR, Offset(3), Offset(offset)))
        bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    assert len(bench.all(GamesRequested)) == 2
    bench.observe(ConnectionClosed(SESSION, 1006, ""))
    bench.fail("a")
    bench.refuse(retry_after=99_999)
    bench.advance(99_998)
    assert len(bench.posts()) == 1


def test_of_what_is_missed_nothing_is_forgotten_while_it_waits() -> None:
    bench = Bench()
    bench.open()
    for offset in (5, 6):
        bench.observe(UpdateMissed(VALIDATOR, Offset(3), Offset(offset)))
        bench.observe(GamesUpdated(VALIDATOR, Epoch("e" * 32), Offset(offset), (), snapshot=True))
        bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    assert len(bench.all(GamesRequested)) == 1
    bench.advance(1)
    assert len(bench.all(GamesRequested)) == 2


def test_with_the_websocket_disabled_it_begins_at_once() -> None:
    bench = Bench(websocket=WebSocketSettings(enabled=False))
    bench.advance(0)
    assert bench.last(FallbackChosen).reason == "the WebSocket is disabled here"
    assert len(bench.all(GamesRequested)) == 1


def test_other_messages_and_other_validators_are_none_of_its_business() -> None:
    bench = Bench()
    bench.observe(SendFailed(VALIDATOR, HeartbeatMessage(), "x"))
    bench.observe(SendFailed(make_hotkey("unknown"), PredictionMessage(predictions=(make_prediction(),)), "x"))
    bench.observe(DialFailed(ConnectionId(1), make_hotkey("unknown"), "x"))
    bench.observe(GamesUpdated(make_hotkey("unknown"), Epoch("e" * 32), Offset(3), (), snapshot=True))
    bench.observe(VerdictReceived(make_hotkey("unknown"), make_prediction(), True, "accepted", "", Micros(0)))
    assert bench.all(PostRequested) == []
    assert bench.all(FallbackChosen) == []


def test_late_answers_change_nothing() -> None:
    bench = Bench()
    bench.fail("a")
    bench.observe(PostFailed(ConnectionId(-99), VALIDATOR, "x"), PostAnswered(ConnectionId(-99), VALIDATOR))
    assert bench.posts() == [["a"]]
    bench.answer("a")
    bench.fail("b")
    assert bench.posts() == [["a"], ["b"]]


def test_a_stopping_miner_begins_nothing() -> None:
    bench = Bench()
    bench.observe(NeuronStopping("SIGTERM"))
    bench.fail("a")
    bench.advance(60)
    assert bench.posts() == []
    assert bench.all(GamesRequested) == []


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"poll_interval\s+Input should be greater than or equal to 0.001"):
        HttpFallbackSettings(poll_interval=0.0)


KEY = "ab" * 32


def test_before_the_first_post_a_signed_welcome_has_to_say_whether_there_is_tls() -> None:
    bench = Bench(knows_tls=False)
    bench.fail("a")
    assert bench.posts() == []
    assert bench.last(GamesRequested).tls is None
    bench.observe(TlsLearned(VALIDATOR, Tls(KEY)))
    assert bench.posts() == [["a"]]
    assert bench.last(PostRequested).tls == Tls(KEY)


def test_by_tls_of_an_unknown_key_only_games_are_asked_for() -> None:
    bench = Bench(knows_tls=False, tls={"mode": "required"})
    bench.fail("a")
    assert bench.last(GamesRequested).tls == Tls()
    bench.observe(PostFailed(bench.last(GamesRequested).connection, VALIDATOR, "down"))
    bench.advance(60)
    assert bench.posts() == []
    bench.observe(TlsLearned(VALIDATOR, Tls(roots=True)))
    assert bench.last(PostRequested).tls == Tls(roots=True)


def test_a_pinned_key_needs_no_welcome_and_where_tls_is_off_there_is_none() -> None:
    pinned = Bench(knows_tls=False, tls={"keys": {VALIDATOR: KEY}})
    pinned.fail("a")
    assert pinned.last(PostRequested).tls == Tls(KEY)
    off = Bench(knows_tls=False, tls={"mode": "off"})
    off.fail("a")
    assert off.last(PostRequested).tls is None


def test_another_key_than_the_known_one_is_sent_no_prediction_until_a_welcome_names_it() -> None:
    bench = Bench(Tls(KEY))
    bench.fail("a")
    bench.observe(PostFailed(bench.last(PostRequested).connection, VALIDATOR, "another key", tls="other_key"))
    bench.advance(60)
    assert len(bench.posts()) == 1
    assert bench.last(GamesRequested).tls == Tls()
    bench.observe(TlsLearned(VALIDATOR, Tls("cd" * 32)))
    assert bench.last(PostRequested).tls == Tls("cd" * 32)


def test_a_poll_that_meets_what_may_expect_tls_is_made_by_tls_at_once() -> None:
    bench = Bench(knows_tls=False)
    bench.fail("a")
    bench.observe(PostFailed(bench.last(GamesRequested).connection, VALIDATOR, "400", 400, tls="wanted"))
    assert [request.tls for request in bench.all(GamesRequested)] == [None, Tls()]
    bench.observe(PostFailed(bench.last(GamesRequested).connection, VALIDATOR, "no", tls="handshake"))
    assert len(bench.all(GamesRequested)) == 2  # the next one is made in its time


def test_what_is_learned_of_a_validator_without_a_road_changes_nothing() -> None:
    bench = Bench()
    bench.observe(TlsLearned(make_hotkey("another"), Tls(KEY)))
    assert bench.posts() == []
