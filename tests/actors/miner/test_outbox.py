"""Predictions without a verdict: saved, sent, sent again, and closed by nobody but their validator."""

from functools import partial
from typing import Any

import pytest

from bettensor.actors.miner.outbox import Item, OutboxActor, OutboxSettings
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    FallbackChosen,
    FrameWritten,
    GamesUpdated,
    LedgerRecognised,
    MessageAccepted,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    PeerMisbehaved,
    PendingRequested,
    PostAnswered,
    PostFailed,
    PostRequested,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    QueryAnswered,
    QueryEnded,
    SaveRequested,
    SendFailed,
    SendRequested,
    SessionActivated,
    TimerRequested,
    VerdictOverdue,
    VerdictReceived,
    VerdictsConfirmed,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import ConnectionId, Hotkey, LedgerId, Micros, Offset, PredictionId, Uid
from bettensor.bus.messages import MAX_FRAME_BYTES, ErrorMessage, HeartbeatMessage, PredictionMessage, WebSocketMessage
from bettensor.bus.synapse import MAX_ANSWERED, Result
from bettensor.neurons.simulation import SimulatedOutbox
from tests.actors.miner.messages import CONNECTION, EPOCH, ME, OTHER, SESSION, VALIDATOR, confirm, welcome
from tests.support import HOUR, NETUID, NOW, Harness, frame_size, make_game, make_prediction


class OutboxBench(Harness):
    def __init__(self, store: SimulatedOutbox | None = None, **settings: int) -> None:
        self.actor = OutboxActor(OutboxSettings(**settings))
        super().__init__(self.actor)
        self.store = store or SimulatedOutbox()
        self.add(self.store)

    def write(self, event: PredictionMade, connection: ConnectionId = CONNECTION) -> None:
        """It reaches a transport."""
        message = PredictionMessage(predictions=(event.prediction,))
        self.observe(FrameWritten(connection, event.validator, message, 100, "websocket"))

    def push(self, *events: PredictionMade) -> None:
        """Each is made, and at once written."""
        for event in events:
            self.observe(event)
            self.write(event)

    def ask(self, connection: int = 1, validator: Hotkey = VALIDATOR) -> None:
        """Over Synapse."""
        self.observe(PendingRequested(ConnectionId((1 << 40) + connection), validator))

    def write_answer(self) -> None:
        """What was answered last reaches the existing validator."""
        answer = self.last(QueryAnswered)
        message = PredictionMessage(predictions=answer.predictions or ())
        self.observe(FrameWritten(answer.connection, answer.hotkey, message, 100, "synapse"))

    def be_told(self, *verdicts: tuple[str, bool, str], validator: Hotkey = VALIDATOR) -> None:
        results = tuple(Result(PredictionId(i), success, text) for i, success, text in verdicts)
        self.observe(VerdictsConfirmed(ConnectionId(1 << 40), validator, results, {}))

    def answers(self) -> list[list[str]]:
        return [[p.prediction_id for p in event.predictions or ()] for event in self.all(QueryAnswered)]

    def waiting(self, validator: Hotkey = VALIDATOR) -> list[str]:
        return list(self.actor.state.trays[validator].items)

    def open(self, validator: Hotkey = VALIDATOR, connection: ConnectionId = CONNECTION) -> None:
        self.observe(SessionActivated(connection, validator, Uid(0), SESSION))

    def hear(self, message: WebSocketMessage, validator: Hotkey = VALIDATOR) -> None:
        self.observe(MessageAccepted(CONNECTION, validator, message))

    def sent(self) -> list[list[str]]:
        return [
            [prediction.prediction_id for prediction in send.message.predictions]
            for send in self.all(SendRequested)
            if isinstance(send.message, PredictionMessage)
        ]


def made(prediction_id: str = "p", validator: Hotkey = VALIDATOR, **changes: Any) -> PredictionMade:
    return PredictionMade(validator, make_prediction(prediction_id=prediction_id, **changes))


def test_a_prediction_is_pushed_at_once_where_there_is_a_session() -> None:
    bench = OutboxBench()
    bench.open()
    bench.observe(made("p"))
    assert bench.sent() == [["p"]]


def test_what_has_no_verdict_goes_to_a_new_session_in_portions_of_64() -> None:
    bench = OutboxBench()
    bench.observe(*(made(f"p{i}") for i in range(70)), made("for-another", OTHER))
    before = bench.sent()
    assert [len(ids) for ids in before] == [1] * 71  # each is tried at once: without a session it falls back to HTTP
    bench.open()
    first, second = bench.sent()[71:]
    assert (len(first), len(second), first[:2]) == (64, 6, ["p0", "p1"])


def test_long_predictions_go_in_portions_that_fit_in_a_frame() -> None:
    bench = OutboxBench()
    long: dict[str, Any] = dict.fromkeys(("team_a", "team_b", "model_name", "predicted_outcome"), "\x01" * 256)
    bench.observe(*(made(f"p{i}", **long) for i in range(20)))
    bench.open()
    sent = [send.message for send in bench.all(SendRequested)[20:]]
    messages = [message for message in sent if isinstance(message, PredictionMessage)]
    assert [p.prediction_id for message in messages for p in message.predictions] == [f"p{i}" for i in range(20)]
    assert max(map(frame_size, messages)) <= MAX_FRAME_BYTES


def test_overdue_verdicts_are_searched_for_once_a_second_at_most() -> None:
    bench = OutboxBench()
    bench.open()
    for name, after in (("p", 0.0), ("q", 0.3), ("r", 0.3)):
        bench.advance(after)
        bench.push(made(name))
    found = []
    for after in (9.3, 0.2, 0.6, 0.4):
        bench.advance(after)
        found.append([[p.prediction_id for p in event.predictions] for event in bench.all(VerdictOverdue)])
    assert found == [[], [["p"]], [["p"]], [["p"], ["p", "q", "r"]]]


def test_what_was_written_and_has_no_verdict_in_10_s_is_overdue_again_and_again() -> None:
    bench = OutboxBench()
    bench.open()
    for name, after in (("p", 0.0), ("q", 4.0)):
        bench.advance(after)
        bench.push(made(name))
    bench.advance(5.9)
    assert bench.all(VerdictOverdue) == []
    bench.advance(0.2)
    assert [[p.prediction_id for p in event.predictions] for event in bench.all(VerdictOverdue)] == [["p"]]
    bench.hear(confirm("p"))
    bench.advance(4)
    assert [p.prediction_id for p in bench.last(VerdictOverdue).predictions] == ["q"]
    bench.hear(confirm("q"))
    before = len(bench.all(VerdictOverdue))
    bench.advance(60)
    assert len(bench.all(VerdictOverdue)) == before
    assert not bench.actor.state.trays[VALIDATOR].watched


def test_what_has_its_verdict_is_not_sent_again() -> None:
    bench = OutboxBench()
    bench.open()
    bench.push(made("p"), made("q"))
    bench.hear(confirm("p"))
    bench.observe(ConnectionClosed(CONNECTION, 1006, ""))
    bench.observe(made("r"))
    bench.open(connection=ConnectionId(2))
    assert bench.sent() == [["p"], ["q"], ["r"], ["q", "r"]]


def test_a_verdict_is_told_once_with_its_latency_from_the_first_write() -> None:
    bench = OutboxBench()
    bench.open()
    event = made("p")
    bench.push(event)
    bench.advance(0.25)
    bench.write(event)
    bench.advance(0.5)
    bench.hear(confirm("p"))
    bench.hear(confirm("p", code="odds_mismatch"))
    (verdict,) = bench.all(VerdictReceived)
    assert (verdict.code, verdict.success, verdict.latency) == ("accepted", True, 750_000)


def test_verdicts_on_what_was_never_sent_to_that_validator_are_ignored() -> None:
    bench = OutboxBench()
    bench.open()
    bench.push(made("p"))
    bench.observe(made("unwritten"))
    bench.hear(confirm("p"), validator=OTHER)
    bench.hear(confirm("never"))
    bench.hear(confirm("unwritten"))
    assert bench.all(VerdictReceived) == []
    assert [(lie.hotkey, lie.fault.split()[4]) for lie in bench.all(PeerMisbehaved)] == [
        (OTHER, "p,"),
        (VALIDATOR, "never,"),
        (VALIDATOR, "unwritten,"),
    ]
    assert bench.waiting() == ["p", "unwritten"]


def test_only_so_many_predictions_wait_for_a_validator_and_others_are_not_affected() -> None:
    bench = OutboxBench(max_waiting=2)
    bench.open()
    bench.push(made("a"), made("b"))
    bench.observe(made("c"), made("d", OTHER))
    (discarded,) = bench.all(PredictionDiscarded)
    assert (discarded.prediction_id, discarded.reason) == ("c", "2 predictions wait for this validator's verdict")
    bench.hear(confirm("a"))
    bench.observe(made("c"))
    assert len(bench.all(PredictionDiscarded)) == 1


def test_a_message_full_of_odd_verdicts_is_told_of_once_and_its_good_ones_count() -> None:
    bench = OutboxBench()
    bench.open()
    bench.push(made("p"))
    bench.hear(confirm("never", "p", "neither", "nor"))
    assert [verdict.prediction.prediction_id for verdict in bench.all(VerdictReceived)] == ["p"]
    (told,) = bench.all(PeerMisbehaved)
    assert told.fault.startswith("a verdict (accepted) on never, which it was never sent")
    assert told.fault.endswith("; and 2 more verdicts in the same message like it")


def test_a_run_of_0_1_0_told_of_each_odd_verdict() -> None:
    bench = OutboxBench()
    bench.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 0, is_of_0_1=True))
    bench.open()
    bench.hear(confirm("never", "neither"))
    assert len(bench.all(PeerMisbehaved)) == 2


def test_confirmations_of_nothing_do_not_end_the_back_off_of_repetitions() -> None:
    """Otherwise a validator that mixes them with errors is sent everything each second."""
    bench = OutboxBench()
    bench.open()
    bench.push(made("p"))
    for _ in range(200):
        bench.hear(ErrorMessage(code="overloaded", message=""))
        bench.hear(confirm("never"))
        bench.advance(1)
    assert len(bench.sent()) < 15


def test_a_verdict_of_an_earlier_run_may_be_repeated_and_is_no_lie_unless_it_changes() -> None:
    store = SimulatedOutbox()
    bench = OutboxBench(store)
    bench.open()
    bench.push(made("p"))
    bench.hear(confirm("p"))
    bench = OutboxBench(store)
    bench.open()
    bench.hear(confirm("p"))  # its validator kept it while we were away, and we had it by the other road
    assert not bench.all(PeerMisbehaved)
    bench.hear(confirm("p", code="game_started"))
    assert "a second verdict (game_started) on p" in bench.last(PeerMisbehaved).fault
    assert not bench.all(VerdictReceived)


def test_a_verdict_that_changes_is_told_and_the_first_one_counts() -> None:
    bench = OutboxBench()
    bench.open()
    bench.push(made("p"), made("q"))
    bench.hear(confirm("p", "q"))
    bench.hear(confirm("p"))  # a repetition is no lie
    bench.hear(confirm("q", code="conflict"))  # nor is what an attempt of another process with our hotkey was told
    assert not bench.all(PeerMisbehaved)
    bench.hear(confirm("p", code="game_started"))
    (lie,) = bench.all(PeerMisbehaved)
    assert "a second verdict (game_started) on p; the first counts: accepted" in lie.fault
    assert [verdict.code for verdict in bench.all(VerdictReceived)] == ["accepted", "accepted"]


def test_only_so_many_verdicts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.miner.outbox.MAX_SETTLED", 2)
    bench = OutboxBench()
    bench.open()
    for name in ("a", "b", "c"):
        bench.push(made(name))
        bench.hear(confirm(name))
    assert list(bench.actor.state.trays[VALIDATOR].settled) == ["b", "c"]


def test_a_validator_with_another_ledger_than_before_is_told_of() -> None:
    bench = OutboxBench()
    bench.open()
    bench.push(made("p"))
    bench.hear(confirm("p"))
    bench.hear(welcome())
    bench.hear(welcome())
    again = OutboxBench(bench.store)  # another run of the miner
    again.hear(welcome(ledger_id=LedgerId("2" * 32)))
    again.hear(welcome(ledger_id=LedgerId("2" * 32)))
    first, second = LedgerId("1" * 32), LedgerId("2" * 32)
    assert bench.all(LedgerRecognised) == [LedgerRecognised(VALIDATOR, first, None)]
    assert again.all(LedgerRecognised) == [LedgerRecognised(VALIDATOR, second, first)]


def test_after_an_answer_that_is_no_verdict_it_sends_again_with_back_off() -> None:
    bench = OutboxBench()
    bench.open()
    bench.push(made("p"))
    for delay in (1, 2, 4, 8, 16, 32, 60, 60):
        bench.hear(ErrorMessage(code="internal", message="disk full"))
        before = len(bench.sent())
        bench.advance(delay - 0.001)
        assert len(bench.sent()) == before
        bench.advance(0.002)
        assert bench.sent()[before:] == [["p"]]
    bench.push(made("q"))
    before = len(bench.sent())
    bench.hear(confirm("p"))
    bench.hear(ErrorMessage(code="internal", message="again"))
    bench.advance(1.001)
    assert bench.sent()[before:] == [["q"]]


def test_one_trouble_that_is_told_for_each_message_lengthens_the_wait_once() -> None:
    bench = OutboxBench()
    bench.open()
    bench.push(*(made(f"p{i}") for i in range(20)))
    for _ in range(20):
        bench.hear(ErrorMessage(code="internal", message="disk full"))
        bench.advance(0.01)
    before = len(bench.sent())
    bench.advance(1)
    assert [len(ids) for ids in bench.sent()[before:]] == [20]
    bench.hear(ErrorMessage(code="internal", message="disk full"))
    bench.advance(1.999)
    assert len(bench.sent()) == before + 1
    bench.advance(0.002)
    assert len(bench.sent()) == before + 2


def test_what_is_overdue_is_found_without_comparing_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def compare(_: Item, __: object) -> bool:
        nonlocal looks
        looks += 1
        return False

    bench = OutboxBench()
    bench.open()
    bench.push(*(made(f"p{i}") for i in range(50)))
    monkeypatch.setattr(Item, "__eq__", compare)
    bench.advance(10)
    assert len(bench.last(VerdictOverdue).predictions) == 50
    assert looks == 0


def test_an_unknown_type_is_no_reason_to_send_again() -> None:
    bench = OutboxBench()
    bench.open()
    bench.observe(made("p"))
    bench.hear(ErrorMessage(code="unknown_type", message=""))
    bench.hear(HeartbeatMessage())
    bench.advance(100)
    assert bench.sent() == [["p"]]


def test_without_its_session_nothing_is_sent_again() -> None:
    bench = OutboxBench()
    bench.open()
    bench.observe(made("p"))
    bench.hear(ErrorMessage(code="overloaded", message=""))
    bench.observe(ConnectionClosed(CONNECTION, 1006, ""), ConnectionClosed(ConnectionId(9), 1006, ""))
    bench.advance(100)
    assert bench.sent() == [["p"]]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"wager": float("nan")}, "wager"),
        ({"predicted_odds": float("inf")}, "predicted_odds"),
        ({"prediction_id": "not an id"}, "regex"),
        ({"model_name": "x" * 300}, "length"),
        ({"model_name": "\ud800"}, "surrogates"),
    ],
)
def test_what_no_validator_could_read_is_discarded_with_its_reason(changes: dict[str, Any], fault: str) -> None:
    bench = OutboxBench()
    bench.open()
    bench.observe(PredictionMade(VALIDATOR, make_prediction(None, **changes)))
    assert fault in bench.last(PredictionDiscarded).reason
    assert bench.sent() == []


def test_an_id_that_still_waits_is_not_used_twice() -> None:
    bench = OutboxBench()
    bench.observe(made("p"), made("p", wager=3.0))
    assert "waits for its verdict" in bench.last(PredictionDiscarded).reason


def test_nothing_is_sent_before_it_is_saved_and_one_save_travels_in_one_message() -> None:
    bench = OutboxBench()
    bench.open()
    bench.store.held = True
    bench.observe(made("a"), *(made(f"b{i}") for i in range(70)), made("c", OTHER))
    assert bench.sent() == []
    assert [len(event.entries) for event in bench.all(SaveRequested)] == [1]
    bench.store.release()
    assert [len(event.entries) for event in bench.all(SaveRequested)] == [1, 71]
    assert bench.sent() == [["a"], [f"b{i}" for i in range(64)], [f"b{i}" for i in range(64, 70)], ["c"]]
    assert bench.all(SendRequested)[-1].hotkey == OTHER


def test_a_disk_that_fails_is_tried_again_with_back_off_and_nothing_is_sent_meanwhile() -> None:
    bench = OutboxBench()
    bench.open()
    bench.store.failing = "disk full"
    bench.observe(made("p"), made("q"))
    for delay in (1, 2, 4, 8, 16, 32, 60, 60):
        before = len(bench.all(SaveRequested))
        bench.advance(delay - 0.001)
        assert len(bench.all(SaveRequested)) == before
        bench.advance(0.001)
        assert len(bench.all(SaveRequested)) == before + 1
    assert bench.sent() == []
    bench.store.failing = None
    bench.observe(made("r"))
    bench.advance(60)
    assert bench.sent() == [["p", "q", "r"]]


def test_after_a_restart_what_has_no_verdict_is_sent_again_same_id_same_content() -> None:
    before = OutboxBench()
    before.open()
    one, two = made("p"), made("q")
    before.push(one, two, made("settled"))
    before.observe(made("for-another", OTHER))
    before.hear(confirm("settled"))
    after = OutboxBench(before.store)
    assert after.sent() == []
    after.open()
    (send,) = after.all(SendRequested)
    assert isinstance(send.message, PredictionMessage)
    assert send.message.predictions == (one.prediction, two.prediction)
    after.hear(confirm("q"))
    assert after.last(VerdictReceived).prediction == two.prediction
    assert after.waiting() == ["p"]
    assert after.waiting(OTHER) == ["for-another"]


def test_the_http_fallback_is_given_all_that_waits_unless_there_is_a_session() -> None:
    store = SimulatedOutbox()
    OutboxBench(store).observe(made("p"), made("q"))
    bench = OutboxBench(store)
    bench.observe(FallbackChosen(VALIDATOR, "no_session", "refused"))
    assert bench.sent() == [["p", "q"]]
    bench.open()
    bench.observe(FallbackChosen(VALIDATOR, "no_session", "no verdict"))
    assert bench.sent() == [["p", "q"], ["p", "q"]]
    bench.observe(CloseRequested(CONNECTION, CloseCode.STALE, ""))  # it carries nothing any more
    bench.observe(FallbackChosen(VALIDATOR, "no_session", "there is no session"))
    assert bench.sent()[2:] == [["p", "q"]]


def test_a_send_that_fails_is_the_end_of_its_session_though_that_is_told_later() -> None:
    bench = OutboxBench()
    bench.open()
    bench.observe(made("p"), made("q"))
    message = bench.last(SendRequested).message
    bench.observe(SendFailed(VALIDATOR, message, "the connection has ended"))
    bench.observe(FallbackChosen(VALIDATOR, "no_session", "the connection has ended"))
    assert bench.sent() == [["p"], ["q"], ["p", "q"]]


def test_what_has_its_verdict_from_an_earlier_run_is_not_sent_again() -> None:
    before = OutboxBench()
    before.open()
    event = made("p")
    before.push(event)
    before.hear(confirm("p"))
    after = OutboxBench(before.store)
    after.open()
    after.observe(event, made("q"))
    assert after.sent() == [["q"]]
    assert "already has a verdict" in after.last(PredictionDiscarded).reason


# --- what nobody will judge


class ExpiryBench(OutboxBench):
    """A game that starts in an hour, and no session."""

    def __init__(self) -> None:
        super().__init__()
        self.game = make_game("g", starts_at=Micros(NOW + HOUR))
        self.say(self.game)
        self.event = PredictionMade(VALIDATOR, make_prediction(self.game, prediction_id="p"))

    def say(self, *games: TeamGame, snapshot: bool = False) -> None:
        self.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), games, snapshot))

    def fail(self) -> None:
        message = PredictionMessage(predictions=(self.event.prediction,))
        self.observe(SendFailed(VALIDATOR, message, "there is no session"))

    def expired(self) -> list[str]:
        return [event.prediction.prediction_id for event in self.all(PredictionExpired)]


def test_what_was_never_written_expires_when_its_game_starts() -> None:
    bench = ExpiryBench()
    bench.observe(bench.event)
    bench.fail()
    bench.advance(3599)
    assert bench.expired() == []
    bench.advance(2)
    assert bench.expired() == ["p"]
    bench.open()
    assert bench.sent() == [["p"]]  # and not again
    assert bench.store.entries == {}


def test_what_may_have_been_written_is_closed_by_its_validator_alone() -> None:
    bench = ExpiryBench()
    bench.observe(bench.event)
    bench.fail()
    bench.write(bench.event)
    bench.fail()
    bench.advance(8000)
    assert bench.expired() == []
    restarted = OutboxBench(bench.store)
    restarted.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (bench.game,), snapshot=False))
    restarted.observe(SendFailed(VALIDATOR, PredictionMessage(predictions=(bench.event.prediction,)), ""))
    restarted.advance(8000)
    assert restarted.all(PredictionExpired) == []
    assert restarted.waiting() == ["p"]


def test_what_an_http_exchange_may_be_writing_waits_for_its_end() -> None:
    bench = ExpiryBench()
    bench.observe(bench.event)
    bench.fail()
    message = PredictionMessage(predictions=(bench.event.prediction,))
    bench.advance(3599)
    bench.observe(PostRequested(ConnectionId(-1), VALIDATOR, "127.0.0.1:1", message))
    bench.advance(10)
    assert bench.expired() == []
    bench.observe(PostFailed(ConnectionId(-1), VALIDATOR, "refused"))
    bench.advance(0)
    assert bench.expired() == ["p"]
    bench.observe(PostFailed(ConnectionId(-2), VALIDATOR, "a question for games"))


def test_what_the_next_http_exchange_takes_over_does_not_expire_between_the_two() -> None:
    bench = ExpiryBench()
    bench.observe(bench.event)
    first, second = (
        PostRequested(ConnectionId(-number), VALIDATOR, "127.0.0.1:1", PredictionMessage(predictions=(prediction,)))
        for number, prediction in enumerate((make_prediction(bench.game), bench.event.prediction), 1)
    )
    bench.observe(first)
    bench.advance(3601)
    with bench.bus.together():  # the fallback decides on the second when it hears that the first is over
        bench.observe(PostAnswered(first.connection, VALIDATOR), second)
    bench.advance(0)
    assert bench.expired() == []
    bench.observe(PostFailed(second.connection, VALIDATOR, "refused"))
    bench.advance(0)
    assert bench.expired() == ["p"]


def test_a_game_has_one_timer_however_many_predictions_wait_for_its_start() -> None:
    bench = ExpiryBench()
    waiting = [make_prediction(bench.game) for _ in range(10)]
    bench.observe(*(PredictionMade(VALIDATOR, prediction) for prediction in waiting))
    message = PredictionMessage(predictions=tuple(waiting))
    bench.observe(PostRequested(ConnectionId(-1), VALIDATOR, "127.0.0.1:1", message))
    for failure in (SendFailed(VALIDATOR, message, ""), PostFailed(ConnectionId(-1), VALIDATOR, "refused")):
        assert len(bench.during(partial(bench.observe, failure), TimerRequested)) == 1
    bench.store.failing = "disk full"
    bench.observe(PredictionMade(VALIDATOR, make_prediction(bench.game)))
    bench.advance(3601)
    assert len(bench.expired()) == 11


def test_a_game_that_is_put_off_keeps_its_predictions_and_one_that_left_the_slate_too() -> None:
    bench = ExpiryBench()
    bench.observe(bench.event)
    bench.fail()
    later = make_game("g", starts_at=Micros(NOW + 2 * HOUR))
    bench.say(later)
    bench.say(make_game("g", starts_at=Micros(NOW + 2 * HOUR), active=False), make_game("other", active=False))
    bench.say(make_game("another"), snapshot=True)
    bench.advance(3700)
    assert bench.expired() == []
    bench.advance(3600)
    assert bench.expired() == ["p"]
    assert list(bench.actor.state.trays[VALIDATOR].starts) == ["g", "another"]


def test_without_a_readable_start_nothing_expires() -> None:
    bench = ExpiryBench()
    bench.say(make_game("g", event_start_date="some day"), snapshot=True)
    bench.observe(bench.event)
    bench.fail()
    bench.advance(90_000)
    assert bench.expired() == []


def test_what_could_not_even_be_saved_expires_too() -> None:
    bench = ExpiryBench()
    bench.store.failing = "disk full"
    bench.observe(bench.event)
    bench.advance(3601)
    assert bench.expired() == ["p"]
    bench.store.failing = None
    bench.open()
    bench.advance(60)
    assert bench.sent() == []
    assert bench.store.entries == {}  # or the next run would send it


def test_what_expires_while_a_save_of_it_fails_is_not_saved_later() -> None:
    bench = ExpiryBench()
    bench.store.failing = "disk full"
    bench.observe(bench.event)
    bench.store.held = True
    bench.advance(3601)
    assert bench.expired() == ["p"]
    bench.store.release()
    bench.store.held, bench.store.failing = False, None
    bench.advance(60)
    assert bench.store.entries == {}
    bench.observe(bench.event)
    assert [discarded.reason for discarded in bench.all(PredictionDiscarded)] == []


# --- existing validators, which ask


def test_an_existing_validator_gets_the_oldest_saved_predictions_in_their_order() -> None:
    bench = OutboxBench()
    bench.observe(NeuronStarted("miner", NETUID, ME, "sr25519", seed=1))
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR), NeuronInfo(Uid(7), ME))))
    bench.observe(*(made(f"p{i}") for i in range(MAX_ANSWERED + 5)), made("for-another", OTHER))
    bench.ask()
    assert bench.answers() == [[f"p{i}" for i in range(MAX_ANSWERED)]]
    assert bench.last(QueryAnswered).uid == 7
    bench.ask(2, OTHER)
    bench.ask(3, ME)
    assert bench.answers()[1:] == [["for-another"], []]


def test_if_there_are_too_many_those_of_open_games_are_offered_first() -> None:
    """A validator that confirms nothing would be sent the same ones for ever."""
    bench = OutboxBench()
    later = make_game("later", starts_at=Micros(NOW + 10_000_000))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (later,), snapshot=True))
    bench.observe(*(made(f"of-an-old-game-{i}") for i in range(MAX_ANSWERED)), made("new", game=later))
    bench.ask()
    (answer,) = bench.answers()
    assert answer == ["new", *(f"of-an-old-game-{i}" for i in range(MAX_ANSWERED - 1))]


def test_an_answer_waits_for_the_save_that_is_under_way() -> None:
    bench = OutboxBench()
    bench.store.held = True
    bench.observe(made("p"))
    bench.ask(1)
    bench.ask(2, OTHER)
    assert bench.answers() == [[]]  # of the other one nothing is being saved
    bench.ask(3)
    bench.observe(QueryEnded(ConnectionId((1 << 40) + 3)))
    bench.store.release()
    assert bench.answers() == [[], ["p"]]


def test_an_answer_waits_for_no_disk_that_takes_nothing() -> None:
    bench = OutboxBench()
    bench.observe(made("p"))
    bench.store.failing = "the disk is full"
    bench.observe(made("q"))
    bench.ask()
    assert bench.answers() == [["p"]]


def test_an_answer_does_not_outlast_a_save_that_fails() -> None:
    bench = OutboxBench()
    bench.store.held = True
    bench.observe(made("p"))
    bench.ask()
    bench.store.failing = "the disk is full"
    bench.store.release()
    assert bench.answers() == [[]]


def test_a_confirmation_settles_what_was_written_to_that_validator_alone() -> None:
    bench = OutboxBench()
    bench.observe(*(made(name) for name in ("a", "b", "c", "unwritten")))
    bench.observe(made("a", OTHER))
    bench.ask()
    message = PredictionMessage(predictions=(bench.last(QueryAnswered).predictions or ())[:3])
    bench.observe(FrameWritten(ConnectionId(1 << 40), VALIDATOR, message, 100, "synapse"))
    bench.advance(2)
    text = "Prediction b already exists in database"
    bench.be_told(("a", True, ""), ("b", False, text), ("c", False, "Wager"), ("unwritten", True, ""), ("x", True, ""))
    verdicts = [(e.prediction.prediction_id, e.success, e.code, e.message) for e in bench.all(VerdictReceived)]
    assert verdicts == [("a", True, "accepted", ""), ("b", True, "accepted", text), ("c", False, "rejected", "Wager")]
    assert bench.last(VerdictReceived).latency == 2_000_000
    assert (bench.waiting(), bench.waiting(OTHER)) == (["unwritten"], ["a"])
    bench.be_told(("a", False, "second thoughts"))
    assert len(bench.all(VerdictReceived)) == 3
    assert bench.all(PeerMisbehaved) == []


def test_nobody_has_signed_a_confirmation_so_it_counts_for_nothing_beside_a_session() -> None:
    bench = OutboxBench()
    bench.observe(made("p"))
    bench.ask()
    bench.write_answer()
    bench.open()
    bench.be_told(("p", True, ""))
    assert bench.all(VerdictReceived) == []
    bench.observe(ConnectionClosed(CONNECTION, CloseCode.ABNORMAL, ""))
    bench.be_told(("p", True, ""))
    assert len(bench.all(VerdictReceived)) == 1


def test_a_rejection_over_synapse_has_no_code_so_the_code_that_comes_by_another_road_is_no_second_verdict() -> None:
    bench = OutboxBench()
    bench.observe(made("p"))
    bench.ask()
    bench.write_answer()
    bench.be_told(("p", False, "odds_mismatch: the odds have changed"))
    bench.open()
    bench.hear(confirm("p", code="odds_mismatch"))
    assert bench.all(PeerMisbehaved) == []
    bench.hear(confirm("p"))
    assert "a second verdict (accepted) on p; the first counts: rejected" in bench.last(PeerMisbehaved).fault
    assert len(bench.all(VerdictReceived)) == 1


def test_what_went_over_synapse_is_not_overdue_before_it_has_gone_by_another_road() -> None:
    bench = OutboxBench()
    bench.observe(made("p"))
    bench.ask()
    bench.write_answer()
    bench.open()
    bench.push(made("q"))
    bench.advance(11)
    assert [[p.prediction_id for p in event.predictions] for event in bench.all(VerdictOverdue)] == [["q"]]
    bench.write(made("p"))
    bench.ask()
    bench.write_answer()  # once more, and that changes nothing
    bench.advance(11)
    assert [p.prediction_id for p in bench.last(VerdictOverdue).predictions] == ["p", "q"]


def test_what_was_never_written_expires_before_it_is_answered() -> None:
    bench = OutboxBench()
    soon = make_game("soon", starts_at=Micros(NOW + 60_000_000))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (soon,), snapshot=True))
    bench.observe(made("written", game_id="soon"), made("late", game_id="soon"))
    bench.write(made("written", game_id="soon"))
    bench.advance(60)
    bench.ask()
    assert bench.answers() == [["written"]]
    assert bench.last(PredictionExpired).prediction.prediction_id == "late"
