"""The HTTP fallback: what the WebSocket could not carry, in order, several at once, with back-off, until it is back."""

from dataclasses import replace
from typing import Any

import pytest

from actors.http_fallback import HttpFallbackActor, HttpFallbackSettings
from bus.events import (
    ConnectionClosed,
    DialFailed,
    FallbackChosen,
    GamesRequested,
    GamesUpdated,
    MetagraphSynced,
    Neuron,
    NeuronStarted,
    NeuronStopping,
    Position,
    PostAnswered,
    PostFailed,
    PostRequested,
    SendFailed,
    SessionActivated,
    UpdateMissed,
    VerdictOverdue,
    VerdictReceived,
)
from bus.games import TeamGamePrediction
from bus.identifiers import ConnectionId, Epoch, Micros, Offset, SessionId, Uid
from bus.messages import MAX_FRAME_BYTES, HeartbeatMessage, PredictionMessage
from tests.support import NETUID, Harness, frame_size, make_hotkey, make_prediction

ME, VALIDATOR = make_hotkey("me"), make_hotkey("validator")
SESSION = ConnectionId(7)


class Bench(Harness):
    def __init__(self, **settings: Any) -> None:
        self.actor = HttpFallbackActor(HttpFallbackSettings(**settings))
        super().__init__(self.actor)
        neuron = Neuron(Uid(0), VALIDATOR, validator_permit=True, axon="10.0.0.1:8091")
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 1), MetagraphSynced((neuron,)))

    def fail(self, *ids: str) -> None:
        """These could not be sent by WebSocket."""
        for prediction in map(prediction_of, ids):
            self.observe(SendFailed(VALIDATOR, PredictionMessage(predictions=(prediction,)), "there is no session"))

    def posts(self) -> list[list[str]]:
        return [
            [p.prediction_id for p in post.message.predictions]
            for post in self.all(PostRequested)
            if isinstance(post.message, PredictionMessage)
        ]

    def answer(self, *ids: str) -> None:
        """The exchange that is under way brings verdicts on these."""
        for prediction in map(prediction_of, ids):
            self.observe(VerdictReceived(VALIDATOR, prediction, True, "accepted", "", Micros(1)))
        self.observe(PostAnswered(self.last(PostRequested).connection, VALIDATOR))

    def refuse(self, **changes: Any) -> None:
        self.observe(PostFailed(self.last(PostRequested).connection, VALIDATOR, "503", **changes))

    def open(self) -> None:
        self.observe(SessionActivated(SESSION, VALIDATOR, Uid(0), SessionId("5" * 32)))


def prediction_of(prediction_id: str) -> TeamGamePrediction:
    return make_prediction(None, prediction_id=prediction_id)


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


def test_at_most_64_go_in_one_message() -> None:
    bench = Bench()
    bench.fail(*(f"p{i}" for i in range(70)))
    bench.answer("p0")
    assert [len(post) for post in bench.posts()] == [1, 64]


def test_and_no_more_than_fit_in_a_body() -> None:
    bench = Bench()
    long = tuple(replace(prediction_of(f"p{i}"), team_a="\x01" * 256, team_b="\x01" * 256) for i in range(64))
    bench.observe(VerdictOverdue(VALIDATOR, long))
    message = bench.last(PostRequested).message
    assert isinstance(message, PredictionMessage)
    assert 1 < len(message.predictions) < 64
    assert frame_size(message) <= MAX_FRAME_BYTES


def test_a_session_that_gives_no_verdict_is_helped_out_by_http() -> None:
    bench = Bench()
    bench.open()
    bench.observe(VerdictOverdue(VALIDATOR, (prediction_of("late"),)))
    assert bench.posts() == [["late"]]
    assert bench.last(FallbackChosen).reason == "the WebSocket gives no verdict"
    assert bench.all(GamesRequested) == []


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
    bench.advance(15)
    assert len(bench.all(GamesRequested)) == 3


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


def test_with_the_websocket_disabled_it_begins_at_once() -> None:
    bench = Bench(websocket_enabled=False)
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
    with pytest.raises(ValueError, match="poll_interval must be above 0"):
        HttpFallbackSettings(poll_interval=0.0)
