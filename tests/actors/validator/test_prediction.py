"""PredictionActor: what is stored is what is said, commits are grouped, and the daily limit holds whatever happens."""

from collections.abc import Callable
from typing import Any

import pytest

from bettensor.actors.validator.prediction import MAX_COMMIT, MAX_FORMER_CLOCKS, PredictionActor, PredictionSettings
from bettensor.bus.codes import ErrorCode, VerdictCode
from bettensor.bus.events import (
    ClockStepped,
    CommitRequested,
    ConnectionClosed,
    DayTotal,
    GamesUpdated,
    LedgerOpened,
    MessageRefused,
    NeuronStopping,
    PredictionAccepted,
    PredictionConflicted,
    PredictionRejected,
    PredictionsStored,
    PredictionSubmitted,
    ReadingPaused,
    ReadingResumed,
    SendRequested,
    VerdictRepeated,
)
from bettensor.bus.games import Prediction, TeamGame
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, Hotkey, LedgerId, Micros, Millionths, Offset, Uid
from bettensor.bus.messages import MAX_FRAME_BYTES, MAX_MESSAGE, MAX_PREDICTIONS, ConfirmationMessage, PredictionResult
from bettensor.bus.timestamps import DAY, parse_rfc3339, utc_day
from bettensor.neurons.simulation import SimulatedLedger
from tests.support import HOUR, NOW, Harness, frame_size, make_game, make_hex32, make_hotkey, make_prediction

MINER = make_hotkey()
CONNECTION = ConnectionId(1)


class Bench(Harness):
    """A PredictionActor with a slate and a ledger."""

    def __init__(
        self,
        *games: TeamGame,
        limit: float = 1000.0,
        grace: float = 0.0,
        settings: PredictionSettings | None = None,
    ) -> None:
        self.actor = PredictionActor(settings or PredictionSettings(daily_wager_limit=limit, odds_grace=grace))
        super().__init__(self.actor)
        self.ledger = SimulatedLedger(self.clock)
        self.add(self.ledger)
        self.offer(*(games or (make_game(),)))

    def offer(self, *games: TeamGame, snapshot: bool = True) -> None:
        self.observe(GamesUpdated(make_hotkey("validator"), Epoch("e" * 32), Offset(1), games, snapshot))

    def submit(
        self,
        *predictions: Prediction,
        hotkey: Hotkey = MINER,
        connection: ConnectionId = CONNECTION,
        at: Micros | None = None,
    ) -> list[PredictionResult]:
        """The results that these predictions, in one message, lead to at once."""
        before, about = len(self.envelopes), make_hex32()
        received_at = self.clock.wall() if at is None else at
        for prediction in predictions:
            self.observe(PredictionSubmitted(connection, hotkey, Uid(7), about, prediction, received_at))
        return [
            result
            for envelope in self.envelopes[before:]
            if isinstance(envelope.event, SendRequested)
            for result in confirmation(envelope.event).results
        ]

    def codes(self) -> list[str]:
        """Of all results so far."""
        return [result.code for sent in self.all(SendRequested) for result in confirmation(sent).results]


def confirmation(sent: SendRequested) -> ConfirmationMessage:
    assert isinstance(sent.message, ConfirmationMessage)
    return sent.message


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_good_prediction_is_stored_and_then_confirmed(bench: Bench) -> None:
    prediction = make_prediction()
    (result,) = bench.submit(prediction)
    assert (result.prediction_id, result.success, result.code) == (prediction.prediction_id, True, "accepted")
    assert bench.last(PredictionAccepted) == PredictionAccepted(MINER, Uid(7), prediction, NOW)
    kinds = [type(envelope.event) for envelope in bench.envelopes]
    assert kinds.index(CommitRequested) < kinds.index(PredictionsStored) < kinds.index(SendRequested)


def test_nothing_is_said_before_the_ledger_has_answered(bench: Bench) -> None:
    bench.ledger.held = True
    assert bench.submit(make_prediction()) == []
    assert bench.all(PredictionAccepted) == []
    bench.ledger.release()
    assert bench.codes() == ["accepted"]


def test_a_rejection_is_stored_and_confirmed_too(bench: Bench) -> None:
    prediction = make_prediction(team_a="Boston")
    (result,) = bench.submit(prediction)
    assert (result.success, result.code) == (False, "team_mismatch")
    assert len(bench.ledger.rows) == 1
    assert bench.last(PredictionRejected).code is VerdictCode.TEAM_MISMATCH


def test_the_same_prediction_gets_the_same_answer_for_ever_and_is_announced_once(bench: Bench) -> None:
    prediction = make_prediction()
    bench.submit(prediction)
    bench.offer()  # the game is gone
    (again,) = bench.submit(prediction, at=Micros(NOW + 5 * DAY))
    assert (again.success, again.code) == (True, "accepted")
    assert len(bench.all(PredictionAccepted)) == 1
    assert bench.last(VerdictRepeated).code is VerdictCode.ACCEPTED


def test_a_game_that_left_the_slate_is_remembered_for_a_day_after_its_start(bench: Bench) -> None:
    starts_at = parse_rfc3339(make_game().event_start_date)
    bench.offer(make_game(active=False), snapshot=False)
    assert bench.submit(make_prediction())[0].code == "game_started"
    bench.advance((starts_at + DAY - NOW) / SECOND)
    bench.offer(make_game("another"), snapshot=False)
    assert "another" in bench.actor.state.offers
    assert bench.submit(make_prediction())[0].code == "game_started"
    bench.advance(1)
    bench.offer(make_game("another"), snapshot=False)
    assert bench.submit(make_prediction())[0].code == "game_not_found"


def test_a_rejection_stays_when_its_reason_has_gone(bench: Bench) -> None:
    prediction = make_prediction(game_id="later")
    assert bench.submit(prediction)[0].code == "game_not_found"
    bench.offer(make_game("later"))
    assert bench.submit(prediction)[0].code == "game_not_found"


def test_other_content_under_the_same_id_is_a_conflict_and_replaces_nothing(bench: Bench) -> None:
    prediction = make_prediction(prediction_id="mine")
    bench.submit(prediction)
    (result,) = bench.submit(make_prediction(prediction_id="mine", wager=11.0))
    assert (result.success, result.code) == (False, "conflict")
    assert "accepted" in result.message
    assert isinstance(bench.last(PredictionConflicted), PredictionConflicted)
    assert bench.submit(prediction)[0].code == "accepted"


def test_two_miners_may_use_the_same_id(bench: Bench) -> None:
    for hotkey in (MINER, make_hotkey("other")):
        assert bench.submit(make_prediction(prediction_id="same", wager=len(hotkey)), hotkey=hotkey)[0].success


def test_what_arrives_while_a_commit_runs_goes_into_the_next(bench: Bench) -> None:
    bench.ledger.held = True
    bench.submit(*(make_prediction() for _ in range(5)))
    assert [len(commit.proposals) for commit in bench.all(CommitRequested)] == [1]
    bench.ledger.release()
    assert [len(commit.proposals) for commit in bench.all(CommitRequested)] == [1, 4]
    assert bench.codes() == ["accepted"] * 5


def test_a_commit_names_all_its_causes(bench: Bench) -> None:
    bench.ledger.held = True
    bench.submit(*(make_prediction() for _ in range(3)))
    bench.ledger.release()
    submitted = [e.seq for e in bench.envelopes if isinstance(e.event, PredictionSubmitted)]
    commits = [e.causes for e in bench.envelopes if isinstance(e.event, CommitRequested)]
    assert commits == [(submitted[0],), (submitted[1], submitted[2])]


def test_a_commit_has_its_greatest_size() -> None:
    bench = Bench(limit=1e9)
    bench.ledger.held = True
    bench.submit(*(make_prediction() for _ in range(MAX_COMMIT + 2)))
    bench.ledger.release()
    assert [len(commit.proposals) for commit in bench.all(CommitRequested)] == [1, MAX_COMMIT, 1]


def test_results_of_one_commit_for_one_connection_travel_together_in_portions_of_64() -> None:
    bench = Bench(limit=1e9)
    bench.ledger.held = True
    bench.submit(make_prediction(), connection=ConnectionId(9))
    first = [make_prediction() for _ in range(70)]
    bench.submit(*first)
    bench.submit(make_prediction(), connection=ConnectionId(2), hotkey=make_hotkey("other"))
    bench.ledger.release()
    sent = [(send.connection, len(confirmation(send).results)) for send in bench.all(SendRequested)]
    assert sent == [(9, 1), (1, 64), (1, 6), (2, 1)]
    ids = [r.prediction_id for s in bench.all(SendRequested)[1:3] for r in confirmation(s).results]
    assert ids == [prediction.prediction_id for prediction in first]


def test_long_verdicts_are_cut_to_what_a_miner_reads_and_travel_in_frames_that_it_takes() -> None:
    bench = Bench(make_game(team_a="A" * 256, team_b="B" * 256))
    strange: dict[str, Any] = {
        "team_a": "\u0378" * 256,
        "team_b": "\N{GRINNING FACE}" * 256,
    }  # the first is shown as \u0378
    bench.ledger.held = True
    bench.submit(make_prediction())
    bench.submit(*(make_prediction(**strange) for _ in range(MAX_PREDICTIONS)))
    bench.ledger.release()
    sent = [confirmation(send) for send in bench.all(SendRequested)[1:]]
    assert sum(len(message.results) for message in sent) == MAX_PREDICTIONS
    assert {len(result.message) for message in sent for result in message.results} == {MAX_MESSAGE}
    assert max(map(frame_size, sent)) <= MAX_FRAME_BYTES


def test_the_day_of_a_miner_comes_with_its_results(bench: Bench) -> None:
    bench.submit(make_prediction(wager=12.5))
    bench.submit(make_prediction(team_a="Boston"))
    stats = confirmation(bench.last(SendRequested)).miner_stats
    assert stats is not None
    assert (stats.accepted_today, stats.rejected_today, stats.wagered_today, stats.daily_limit) == (1, 1, 12.5, 1000)


def test_a_failed_commit_is_no_verdict_and_gives_its_reservation_back(bench: Bench) -> None:
    bench.ledger.failing = "disk I/O error"
    prediction = make_prediction(wager=900.0)
    assert bench.submit(prediction, make_prediction(wager=1.0)) == []
    refused = bench.last(MessageRefused)
    assert refused.code == ErrorCode.INTERNAL
    assert "disk I/O error" in refused.message
    bench.ledger.failing = None
    assert bench.submit(prediction)[0].code == "accepted"


def test_what_the_ledger_cannot_keep_up_with_is_overloaded_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.validator.prediction.MAX_WAITING", 3)
    bench = Bench()
    bench.ledger.held = True
    predictions = [make_prediction(wager=1.0) for _ in range(6)]
    for prediction in predictions:
        bench.submit(prediction)
    assert [refused.code for refused in bench.all(MessageRefused)] == [ErrorCode.OVERLOADED] * 2
    bench.ledger.held = False
    bench.ledger.release()
    assert bench.codes() == ["accepted"] * 4
    assert [result.code for result in bench.submit(*predictions[4:])] == ["accepted"] * 2


def test_what_waits_for_the_daily_limit_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.validator.prediction.MAX_WAITING", 3)
    bench = Bench()
    bench.ledger.held = True
    bench.submit(*(make_prediction(wager=600.0) for _ in range(6)))  # one is committed, and the others depend on it
    assert bench.last(MessageRefused).code == ErrorCode.OVERLOADED
    bench.ledger.release()
    assert bench.codes() == ["accepted", *["daily_limit_exceeded"] * 3]


def test_a_message_that_is_not_taken_is_told_so_once(bench: Bench) -> None:
    """A miner backs off once for each answer."""
    bench.clock.step_wall(HOUR)
    bench.submit(*(make_prediction() for _ in range(64)))
    assert len(bench.all(MessageRefused)) == 1
    bench.submit(*(make_prediction() for _ in range(64)))
    assert len(bench.all(MessageRefused)) == 2
    bench.observe(ConnectionClosed(ConnectionId(1), 1000, ""))
    assert bench.actor.state.refused is None


def test_what_waits_when_the_neuron_stops_has_no_verdict(bench: Bench) -> None:
    bench.ledger.held = True
    bench.submit(make_prediction(wager=600.0), make_prediction(wager=600.0), make_prediction(wager=1.0))
    bench.submit(make_prediction(wager=1.0), hotkey=make_hotkey("other"))
    bench.observe(NeuronStopping("SIGTERM"))
    bench.submit(make_prediction(), hotkey=make_hotkey("late"))  # its signature was still being checked
    bench.ledger.release()
    assert bench.codes() == ["accepted"]
    assert len(bench.ledger.rows) == 1


def test_a_failed_commit_is_told_once_for_each_message(bench: Bench) -> None:
    bench.ledger.held = True
    bench.ledger.failing = "locked"
    bench.submit(make_prediction())
    bench.submit(make_prediction(), make_prediction())
    bench.submit(make_prediction(), connection=ConnectionId(2))
    bench.ledger.release()
    assert [refused.connection for refused in bench.all(MessageRefused)] == [1, 1, 2]


# --- the daily limit


def test_wagers_of_a_day_are_accepted_up_to_the_limit(bench: Bench) -> None:
    assert bench.submit(make_prediction(wager=999.0))[0].success
    (over,) = bench.submit(make_prediction(wager=1.01))
    assert over.code == "daily_limit_exceeded"
    assert over.message == "wagered today 999, attempted 1.01, and the limit is 1000"
    assert bench.submit(make_prediction(wager=1.0))[0].success


def test_each_miner_has_its_own_limit(bench: Bench) -> None:
    for name in ("a", "b"):
        assert bench.submit(make_prediction(wager=1000.0), hotkey=make_hotkey(name))[0].success


def test_a_day_ends_at_midnight_utc_of_receipt(bench: Bench) -> None:
    game = make_game(starts_at=Micros(NOW + 3 * DAY))
    bench.offer(game)
    midnight = Micros((utc_day(NOW) + 1) * DAY)
    assert bench.submit(make_prediction(game, wager=1000.0), at=Micros(midnight - 1))[0].success
    assert not bench.submit(make_prediction(game, wager=1.0), at=Micros(midnight - 1))[0].success
    assert bench.submit(make_prediction(game, wager=1000.0), at=midnight)[0].success


def test_the_days_before_yesterday_are_forgotten(bench: Bench) -> None:
    game = make_game(starts_at=Micros(NOW + 30 * DAY))
    bench.offer(game)
    for _ in range(10):
        bench.submit(make_prediction(game))
        bench.clock.advance(DAY)
    assert list(bench.actor.state.days) == [utc_day(NOW) + 8, utc_day(NOW) + 9]


def test_a_thousand_predictions_of_one_miner_in_one_batch_keep_the_limit(bench: Bench) -> None:
    bench.ledger.held = True
    bench.submit(*(make_prediction(wager=3.0) for _ in range(1000)))
    bench.ledger.release()
    assert bench.codes().count("accepted") == 333
    assert bench.codes().count("daily_limit_exceeded") == 667


def test_a_repeated_prediction_is_counted_once(bench: Bench) -> None:
    prediction = make_prediction(wager=600.0)
    bench.ledger.held = True
    bench.submit(prediction, prediction, make_prediction(wager=400.0))
    bench.ledger.release()
    assert bench.codes() == ["accepted"] * 3


def test_no_verdict_rests_on_a_reservation_that_is_given_back(bench: Bench) -> None:
    """After a restart of the miner a known prediction comes again: what comes behind it must not suffer."""
    known = make_prediction(wager=600.0)
    bench.submit(known)
    bench.ledger.held = True
    bench.submit(known, make_prediction(wager=400.0), make_prediction(wager=0.5))
    bench.ledger.release()
    assert bench.codes()[1:] == ["accepted", "accepted", "daily_limit_exceeded"]


def test_a_miners_predictions_are_judged_in_order_while_one_is_undecided(bench: Bench) -> None:
    bench.ledger.held = True
    big, bigger, small = (make_prediction(wager=wager) for wager in (600.0, 700.0, 300.0))
    bench.submit(big, bigger, small)
    assert bench.submit(make_prediction(wager=1.0), hotkey=make_hotkey("other")) == []
    bench.ledger.release()
    codes = {result.prediction_id: result.code for s in bench.all(SendRequested) for result in confirmation(s).results}
    assert codes[big.prediction_id] == codes[small.prediction_id] == "accepted"
    assert codes[bigger.prediction_id] == "daily_limit_exceeded"


def test_an_undecided_prediction_is_judged_by_its_receipt(bench: Bench) -> None:
    game = make_game(starts_at=Micros(NOW + HOUR))
    bench.offer(game)
    bench.ledger.held = True
    bench.submit(make_prediction(game, wager=600.0), make_prediction(game, wager=500.0))
    bench.ledger.failing = "disk full"
    bench.clock.advance(Micros(2 * HOUR))
    bench.ledger.release()
    bench.ledger.failing = None
    assert bench.all(MessageRefused)


def test_what_the_ledger_knew_at_start_counts(bench: Bench) -> None:
    total = DayTotal(utc_day(NOW), MINER, accepted=3, rejected=1, wagered=Millionths(995_000_000))
    bench.observe(LedgerOpened(LedgerId("1" * 32), (total,)))
    assert bench.submit(make_prediction(wager=5.01))[0].code == "daily_limit_exceeded"
    assert bench.submit(make_prediction(wager=5.0))[0].code == "accepted"


# --- games and clocks


def test_an_update_changes_only_its_games(bench: Bench) -> None:
    bench.offer(make_game("a"), make_game("b"))
    bench.offer(make_game("b", team_a_odds=1.5), snapshot=False)
    assert bench.submit(make_prediction(make_game("a")))[0].success
    assert bench.submit(make_prediction(make_game("b")))[0].code == "odds_mismatch"
    assert bench.submit(make_prediction(make_game("b", team_a_odds=1.5)))[0].success


def test_odds_within_their_grace_are_accepted() -> None:
    bench = Bench(make_game(), grace=10.0)
    bench.offer(make_game(team_a_odds=1.5), snapshot=False)
    bench.clock.advance(Micros(9 * SECOND))
    assert bench.submit(make_prediction())[0].success
    bench.clock.advance(Micros(SECOND))
    bench.observe(LedgerOpened(LedgerId("1" * 32), ()))  # time passes by what is observed
    assert bench.submit(make_prediction())[0].code == "odds_mismatch"


def test_while_the_clock_cannot_be_trusted_nothing_is_judged(bench: Bench) -> None:
    bench.clock.step_wall(HOUR)
    assert bench.submit(make_prediction()) == []
    assert bench.all(ClockStepped)
    assert bench.last(MessageRefused).code == ErrorCode.INTERNAL
    assert bench.ledger.rows == {}
    bench.clock.advance(Micros(61 * SECOND))
    assert bench.submit(make_prediction())[0].success


@pytest.mark.parametrize("by", [HOUR, -HOUR, DAY, -DAY])
@pytest.mark.parametrize("corrected", [True, False], ids=["set right again", "stays"])
def test_a_wrong_clock_accepts_no_game_that_has_started_and_refuses_none_that_has_not(by: int, corrected: bool) -> None:
    """A bet each second on a game that starts after two minutes; the clock goes wrong for half of that time."""
    start = 120
    bench = Bench(make_game(starts_at=Micros(NOW + start * SECOND)))
    for second in range(400):
        if second == 30:
            bench.clock.step_wall(Micros(by))
        if second == 75 and corrected:
            bench.clock.step_wall(Micros(-by))
        for result in bench.submit(make_prediction(wager=0.1)):
            expected = "accepted" if second < start else "game_started"
            assert result.code == expected, f"at {second} s"
        bench.clock.advance(SECOND)
    accepted = bench.all(PredictionAccepted)
    assert len(accepted) >= 30  # before the step
    if corrected:
        assert bench.all(PredictionRejected)  # 60 s after the clock is right again, verdicts are given again
    assert len(bench.all(ClockStepped)) == 1 + corrected
    assert {refused.code for refused in bench.all(MessageRefused)} == {ErrorCode.INTERNAL}


def test_other_games_are_judged_a_minute_after_the_clock_was_set(bench: Bench) -> None:
    soon = make_game("soon", starts_at=Micros(NOW + HOUR // 2))
    bench.offer(make_game(), soon)
    bench.clock.step_wall(HOUR)
    bench.submit(make_prediction())
    bench.clock.advance(Micros(61 * SECOND))
    assert bench.submit(make_prediction())[0].success
    assert bench.submit(make_prediction(soon)) == []  # by the clock as it was, it has not started
    assert "by one the game has started" in bench.last(MessageRefused).message
    bench.clock.advance(HOUR)
    bench.observe(LedgerOpened(LedgerId("1" * 32), ()))
    assert bench.submit(make_prediction(soon))[0].code == "game_started"


def test_a_clock_that_was_days_ahead_does_not_forget_the_day(bench: Bench) -> None:
    game = make_game(starts_at=Micros(NOW + 30 * DAY))
    bench.offer(game)
    assert bench.submit(make_prediction(game, wager=1000.0))[0].success
    bench.clock.step_wall(Micros(3 * DAY))
    bench.submit(make_prediction(game))
    bench.clock.advance(Micros(61 * SECOND))
    assert bench.submit(make_prediction(game))[0].success
    bench.clock.step_wall(Micros(-3 * DAY))
    bench.submit(make_prediction(game))
    bench.clock.advance(Micros(61 * SECOND))
    assert bench.submit(make_prediction(game))[0].code == "daily_limit_exceeded"


def test_no_limit_of_another_day_refuses_while_the_clock_is_in_dispute(bench: Bench) -> None:
    """Yesterday is used up; then the clock says that it is yesterday."""
    game = make_game(starts_at=Micros(NOW + 30 * DAY))
    bench.offer(game)
    assert bench.submit(make_prediction(game, wager=900.0))[0].success
    bench.clock.advance(DAY)
    assert bench.submit(make_prediction(game, wager=1.0))[0].success
    bench.clock.step_wall(Micros(-DAY))
    bench.submit(make_prediction(game))
    bench.clock.advance(Micros(61 * SECOND))
    assert bench.submit(make_prediction(game, wager=200.0)) == []
    assert "a day whose limit is used up" in bench.last(MessageRefused).message
    assert bench.submit(make_prediction(game, wager=1.0))[0].success
    bench.clock.advance(Micros(2 * DAY))
    assert bench.submit(make_prediction(game, wager=1000.0))[0].success  # the dispute is over
    assert bench.submit(make_prediction(game, wager=1.0))[0].code == "daily_limit_exceeded"


def test_a_clock_that_is_set_again_and_again_is_remembered_within_bounds(bench: Bench) -> None:
    for _ in range(20):
        bench.clock.step_wall(HOUR)
        bench.submit(make_prediction())
    assert len(bench.actor.state.former_clocks) == MAX_FORMER_CLOCKS
    assert [clock.ahead // HOUR for clock in bench.actor.state.former_clocks] == list(range(-MAX_FORMER_CLOCKS, 0))


# --- how much may wait


def pressed(limit: int = 4) -> Bench:
    bench = Bench(settings=PredictionSettings(max_unanswered=limit))
    bench.ledger.held = True
    return bench


def test_a_session_with_too_much_unanswered_is_not_read_until_half_of_it_is_answered() -> None:
    bench = pressed(limit=4)
    bench.submit(*(make_prediction(wager=0.1) for _ in range(3)))
    assert not bench.all(ReadingPaused)
    bench.submit(*(make_prediction(wager=0.1) for _ in range(3)))  # what is in the pipe is still taken
    bench.submit(make_prediction(wager=0.1), connection=ConnectionId(2), hotkey=make_hotkey("other"))
    assert bench.all(ReadingPaused) == [ReadingPaused(CONNECTION)]
    bench.ledger.release(1)  # the first one
    assert not bench.all(ReadingResumed)
    bench.ledger.release()
    assert bench.all(ReadingResumed) == [ReadingResumed(CONNECTION)]
    assert bench.codes() == ["accepted"] * 7
    assert (bench.actor.state.total, bench.actor.state.unanswered) == (0, {})


def test_an_exchange_with_an_existing_miner_has_nothing_that_could_be_paused() -> None:
    bench = pressed(limit=1)
    bench.submit(make_prediction(wager=0.1), make_prediction(wager=0.1), connection=ConnectionId(-1))
    bench.ledger.release()
    assert not bench.all(ReadingPaused)
    assert not bench.all(ReadingResumed)


def test_a_rule_that_fails_leaves_nothing_to_wait_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(PredictionActor, "judge", None)
        bench.submit(make_prediction())
    assert (bench.actor.state.total, bench.actor.state.unanswered) == (0, {})


def test_a_failed_commit_answers_too() -> None:
    bench = pressed(limit=1)
    bench.ledger.failing = "disk full"
    bench.submit(make_prediction())
    assert bench.all(ReadingPaused)
    bench.ledger.release()
    assert bench.all(ReadingResumed)


def test_when_all_sessions_together_are_too_much_whoever_sends_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.validator.prediction.PAUSE_ALL", 10)
    bench = pressed(limit=100)
    for number in range(12):
        bench.submit(make_prediction(wager=0.1), connection=ConnectionId(number), hotkey=make_hotkey(f"m{number}"))
    assert [paused.connection for paused in bench.all(ReadingPaused)] == [9, 10, 11]
    bench.ledger.release()
    assert [resumed.connection for resumed in bench.all(ReadingResumed)] == [9, 10, 11]


def test_a_paused_session_that_ends_is_forgotten_and_its_predictions_are_stored() -> None:
    bench = pressed(limit=1)
    bench.submit(make_prediction())
    bench.observe(ConnectionClosed(CONNECTION, 1006, ""))
    bench.ledger.release()
    assert not bench.all(ReadingResumed)
    assert bench.codes() == ["accepted"]
    assert bench.actor.state.unanswered == {}


def test_a_verdict_is_kept_for_30_days_after_the_start_of_its_game(bench: Bench) -> None:
    bench.submit(make_prediction(), make_prediction(game_id="nowhere"))
    known, unknown = bench.ledger.rows.values()
    assert known.expires_at == NOW + 31 * DAY
    assert unknown.expires_at == NOW + 30 * DAY


def test_a_snapshot_of_the_actor_decides_the_same(bench: Bench) -> None:
    bench.ledger.held = True
    bench.submit(make_prediction(wager=600.0), make_prediction(wager=500.0), make_prediction(wager=2.0))
    before = bench.actor.state
    bench.actor.restore(bench.actor.snapshot())
    assert bench.actor.state == before
    assert bench.actor.state is not before
    bench.ledger.release()
    assert sorted(bench.codes()) == ["accepted", "accepted", "daily_limit_exceeded"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: PredictionSettings(daily_wager_limit=0.0),
        lambda: PredictionSettings(daily_wager_limit=float("nan")),
        lambda: PredictionSettings(odds_grace=-1.0),
        lambda: PredictionSettings(max_unanswered=0),
    ],
)
def test_settings_out_of_range_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="should be"):
        wrong()
