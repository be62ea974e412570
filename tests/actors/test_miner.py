"""The miner's actors: the slate, the outbox, when the model is asked; and whom a miner believes."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from bettensor.actors.auth import AuthActor
from bettensor.actors.connection import Session, Stage
from bettensor.actors.miner.connection import MinerConnectionActor, MinerConnectionSettings
from bettensor.actors.miner.model import ModelActor, ModelSettings
from bettensor.actors.miner.outbox import Item, OutboxActor
from bettensor.actors.miner.slate import SlateActor
from bettensor.bus import codec
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    FallbackChosen,
    FrameReceived,
    FrameWritten,
    GamesUpdated,
    KnownSlate,
    LedgerRecognised,
    MessageAccepted,
    MetagraphSynced,
    ModelChanged,
    NeuronInfo,
    NeuronStarted,
    OutboxOpened,
    PeerMisbehaved,
    PostFailed,
    PostRequested,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    PredictionsRequested,
    SaveRequested,
    Scheme,
    SendFailed,
    SendRequested,
    SessionActivated,
    SettingsReloaded,
    TimerRequested,
    UpdateMissed,
    VerdictOverdue,
    VerdictReceived,
    VerificationRequested,
    WriteRequested,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import (
    SECOND,
    ConnectionId,
    Epoch,
    Hotkey,
    LedgerId,
    Micros,
    Netuid,
    Offset,
    SessionId,
    Uid,
)
from bettensor.bus.messages import (
    MAX_FRAME_BYTES,
    ConfirmationMessage,
    ErrorMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    Limits,
    PredictionMessage,
    PredictionResult,
    WebSocketMessage,
    WelcomeMessage,
    session_id,
)
from bettensor.neurons.simulation import SimulatedOutbox, SimulatedVerifier
from bettensor.neurons.simulation.keys import simulated_signature
from tests.support import HOUR, NETUID, NOW, Harness, frame_size, make_game, make_hotkey, make_prediction, stamp

ME, VALIDATOR, OTHER = make_hotkey("me"), make_hotkey("validator"), make_hotkey("other")
CONNECTION, SESSION = ConnectionId(1), SessionId("5" * 32)
EPOCH = Epoch("e" * 32)


def update(
    offset: int, previous: int | None, *games: TeamGame, epoch: Epoch = EPOCH, part: int = 1, parts: int = 1
) -> GameUpdateMessage:
    return GameUpdateMessage(
        netuid=NETUID,
        epoch=epoch,
        offset=Offset(offset),
        previous=None if previous is None else Offset(previous),
        updated_games={game.game_id: game for game in games},
        part=part,
        parts=parts,
    )


def welcome(**changes: Any) -> WelcomeMessage:
    challenge, salt = "1752076800000000000", "5a" * 16
    message = WelcomeMessage(
        session=session_id(NETUID, VALIDATOR, ME, challenge, salt),
        seq=1,
        receiver_hotkey=ME,
        challenge=challenge,
        salt=salt,
        netuid=NETUID,
        ledger_id=LedgerId("1" * 32),
        heartbeat_interval=60.0,
        connection_timeout=300.0,
        epoch=EPOCH,
        offset=Offset(3),
        recovered=False,
        limits=Limits(frame_bytes=65536, predictions_per_message=64, messages_per_second=1000.0, burst=2000.0),
    )
    return replace(message, **changes)


# --- the slate


class SlateBench(Harness):
    def __init__(self, session_epoch: Epoch | None = EPOCH) -> None:
        super().__init__(SlateActor())
        self.hear(welcome(epoch=session_epoch))

    def hear(self, message: WebSocketMessage) -> None:
        self.observe(MessageAccepted(CONNECTION, VALIDATOR, message))

    def positions(self) -> list[tuple[int, bool, int]]:
        return [(event.offset, event.snapshot, len(event.games)) for event in self.all(GamesUpdated)]


def test_a_snapshot_then_updates_that_fit() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a"), make_game("b")))
    bench.hear(update(4, 3, make_game("a", active=False)))
    bench.hear(update(7, 2, make_game("b")))  # merged: it follows something that we are past already
    assert bench.positions() == [(3, True, 2), (4, False, 1), (7, False, 1)]


@pytest.mark.parametrize(
    ("why", "message"),
    [
        ("an old broadcast replayed", update(3, 2, make_game())),
        ("a gap", update(5, 4, make_game())),
        ("another epoch", update(4, 3, make_game(), epoch=Epoch("f" * 32))),
        ("a snapshot of another epoch", update(9, None, make_game(), epoch=Epoch("f" * 32))),
    ],
)
def test_an_update_that_does_not_fit_is_not_applied(why: str, message: GameUpdateMessage) -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    bench.hear(message)
    assert (why, bench.positions()) == (why, [(3, True, 1)])
    assert bool(bench.all(PeerMisbehaved)) == ("another epoch" in why)


def test_an_older_snapshot_is_not_applied_and_on_one_session_it_is_a_lie() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    bench.observe(MessageAccepted(ConnectionId(-7), VALIDATOR, update(2, None, make_game())))  # overtaken, by HTTP
    assert not bench.all(PeerMisbehaved)
    bench.hear(update(4, 3, make_game("a")))
    bench.hear(update(1, None, make_game("b")))
    assert bench.positions() == [(3, True, 1), (4, False, 1)]
    assert [lie.fault for lie in bench.all(PeerMisbehaved)] == ["an update to offset 1 after one to 4"]


def test_an_update_without_a_snapshot_before_is_not_applied() -> None:
    bench = SlateBench()
    bench.hear(update(4, 3, make_game()))
    assert bench.positions() == []


def test_a_heartbeat_that_is_ahead_or_an_update_that_leaves_a_gap_shows_what_was_missed() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(3)))
    bench.hear(HeartbeatMessage(epoch=Epoch("f" * 32), offset=Offset(9)))
    bench.hear(HeartbeatMessage())
    bench.hear(update(3, 2, make_game("old")))
    assert bench.all(UpdateMissed) == []
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(5)))
    bench.hear(update(7, 6, make_game("b")))
    assert [(missed.known, missed.ahead) for missed in bench.all(UpdateMissed)] == [(3, 5), (3, 7)]


def test_parts_are_applied_together_after_the_last() -> None:
    bench = SlateBench()
    for part in (1, 2, 3):
        assert bench.positions() == []
        bench.hear(update(3, None, make_game(f"game-{part}"), part=part, parts=3))
    assert bench.positions() == [(3, True, 3)]


@pytest.mark.parametrize("order", [(1, 3), (2, 3), (2, 1, 3), (1, 1, 3), (3,)])
def test_parts_that_are_missing_or_out_of_order_void_the_update(order: tuple[int, ...]) -> None:
    bench = SlateBench()
    for part in order:
        bench.hear(update(3, None, make_game(f"game-{part}"), part=part, parts=3))
    assert bench.positions() == []
    for part in (1, 2, 3):
        bench.hear(update(3, None, make_game(f"game-{part}"), part=part, parts=3))
    assert bench.positions() == [(3, True, 3)]


def test_a_slate_has_only_so_many_games(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.miner.slate.MAX_SLATE", 3)
    games = [make_game(f"game-{number}") for number in range(6)]
    bench = SlateBench()
    bench.hear(update(3, None, *games[:2], part=1, parts=3))
    bench.hear(update(3, None, *games[2:4], part=2, parts=3))
    assert bench.last(PeerMisbehaved).fault == "a slate of more than 3 games"
    bench.hear(update(3, None, *games[4:], part=3, parts=3))
    bench.hear(update(4, None, *games[:3]))
    bench.hear(update(5, 4, games[3]))  # one more than there may be
    bench.hear(update(6, 4, replace(games[0], active=False)))
    bench.hear(update(7, 6, games[3]))  # in the place of that one
    assert bench.positions() == [(4, True, 3), (6, False, 1), (7, False, 1)]
    assert len(bench.all(PeerMisbehaved)) == 2


def test_the_games_of_a_slate_are_counted_after_a_restart_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bettensor.actors.miner.slate.MAX_SLATE", 1)
    bench = SlateBench()
    bench.observe(OutboxOpened((), (KnownSlate(VALIDATOR, EPOCH, Offset(3), (make_game("a"),)),)))
    bench.hear(update(4, 3, make_game("b")))
    assert bench.last(PeerMisbehaved).fault == "a slate of more than 1 games"


def test_parts_of_two_updates_are_not_mixed() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("old"), part=1, parts=2))
    bench.hear(update(4, None, make_game("new"), part=2, parts=2))
    assert bench.positions() == []


def test_an_http_exchange_between_two_parts_does_not_void_the_update() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a"), part=1, parts=2))
    bench.observe(MessageAccepted(ConnectionId(-1), VALIDATOR, welcome()))  # of a POST, whose answer has no games
    bench.hear(update(3, None, make_game("b"), part=2, parts=2))
    assert bench.positions() == [(3, True, 2)]


def test_parts_of_two_connections_are_not_mixed() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("old"), part=1, parts=2))
    bench.observe(MessageAccepted(ConnectionId(2), VALIDATOR, welcome()))
    bench.observe(MessageAccepted(ConnectionId(2), VALIDATOR, update(3, None, make_game("new"), part=2, parts=2)))
    assert bench.positions() == []


def test_a_new_session_begins_with_its_own_epoch() -> None:
    bench = SlateBench()
    bench.hear(update(3, None, make_game("a")))
    fresh = Epoch("f" * 32)
    bench.hear(welcome(epoch=fresh))
    bench.hear(update(1, None, make_game("b"), epoch=fresh))
    assert bench.positions() == [(3, True, 1), (1, True, 1)]


def test_before_the_validator_had_a_slate_any_first_epoch_will_do_and_no_second_one() -> None:
    bench = SlateBench(session_epoch=None)
    bench.hear(update(1, None, make_game("a")))
    assert bench.positions() == [(1, True, 1)]
    bench.hear(update(9, None, make_game("old"), epoch=Epoch("f" * 32)))  # an old broadcast replayed
    assert bench.positions() == [(1, True, 1)]


def test_a_gap_is_seen_though_the_validator_had_no_slate_at_its_welcome() -> None:
    bench = SlateBench(session_epoch=None)
    bench.hear(HeartbeatMessage())
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(2)))
    bench.hear(update(2, None, make_game("a")))
    bench.hear(HeartbeatMessage(epoch=EPOCH, offset=Offset(3)))
    assert [(missed.known, missed.ahead) for missed in bench.all(UpdateMissed)] == [(0, 2), (2, 3)]


# --- the outbox


class OutboxBench(Harness):
    def __init__(self, store: SimulatedOutbox | None = None) -> None:
        self.actor = OutboxActor()
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


def confirm(*ids: str, code: str = "accepted") -> ConfirmationMessage:
    results = tuple(
        PredictionResult(prediction_id=i, about="a" * 32, success=code == "accepted", code=code, message="")  # type: ignore[arg-type]
        for i in ids
    )
    return ConfirmationMessage(results=results)


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
    bench.hear(confirm("never", "unwritten"))
    assert bench.all(VerdictReceived) == []
    assert [(lie.hotkey, lie.fault.split()[4]) for lie in bench.all(PeerMisbehaved)] == [
        (OTHER, "p,"),
        (VALIDATOR, "never,"),
        (VALIDATOR, "unwritten,"),
    ]
    assert bench.waiting() == ["p", "unwritten"]


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
    assert "another verdict (game_started) on p" in bench.last(PeerMisbehaved).fault
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
    assert "another verdict (game_started) on p; the first one counts: accepted" in lie.fault
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
    assert "has its verdict from before" in after.last(PredictionDiscarded).reason


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
    assert bench.expired() == ["p"]
    bench.observe(PostFailed(ConnectionId(-2), VALIDATOR, "a question for games"))


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


# --- the model


def test_the_model_is_asked_when_the_slate_changes_and_every_interval() -> None:
    bench = Harness(ModelActor(ModelSettings(interval=10.0)))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (make_game("a"), make_game("b", active=False)), True))
    bench.advance(25)
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(2), (make_game("c"),), False))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(3), (make_game("a", active=False),), False))
    asked = [[game.game_id for game in event.games] for event in bench.all(PredictionsRequested)]
    assert asked == [["a"], ["a"], ["a"], ["a", "c"], ["c"]]


def test_about_an_empty_slate_the_model_is_not_asked() -> None:
    bench = Harness(ModelActor())
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (), snapshot=True))
    bench.advance(120)
    assert bench.all(PredictionsRequested) == []
    with pytest.raises(ValueError, match="should be greater than 0"):
        ModelSettings(interval=0.0)


def test_games_that_have_started_or_whose_start_cannot_be_read_are_not_asked_about() -> None:
    bench = Harness(ModelActor(ModelSettings(interval=600.0)))
    soon = make_game("soon", starts_at=Micros(NOW + 300 * SECOND))
    games = (soon, make_game("later"), make_game("never", event_start_date="some day"))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), games, snapshot=True))
    bench.advance(600)
    asked = [[game.game_id for game in event.games] for event in bench.all(PredictionsRequested)]
    assert asked == [["soon", "later"], ["later"]]


def test_a_slate_of_an_earlier_run_is_for_the_model_once_its_validator_has_confirmed_it() -> None:
    known = KnownSlate(VALIDATOR, EPOCH, Offset(3), (make_game("a"),))
    for greeting, asked in ((welcome(), [["a"]]), (welcome(offset=Offset(4)), []), (welcome(epoch=None), [])):
        bench = Harness(ModelActor())
        bench.observe(OutboxOpened((), (known,)))
        bench.advance(100)
        bench.observe(MessageAccepted(CONNECTION, OTHER, greeting))
        assert bench.all(PredictionsRequested) == []
        for _ in range(2):
            bench.observe(MessageAccepted(CONNECTION, VALIDATOR, greeting))
        assert [[game.game_id for game in event.games] for event in bench.all(PredictionsRequested)] == asked
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(4), (make_game("b"),), snapshot=False))
    assert [game.game_id for game in bench.last(PredictionsRequested).games] == ["a", "b"]


def test_the_model_is_not_asked_about_a_validator_that_has_left_until_it_is_back() -> None:
    bench = Harness(ModelActor(ModelSettings(interval=10.0)))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(3), (make_game("a"),), snapshot=True))
    bench.observe(MetagraphSynced((NeuronInfo(Uid(1), VALIDATOR),)))
    assert len(bench.during(lambda: bench.advance(10), PredictionsRequested)) == 1
    bench.observe(MetagraphSynced((NeuronInfo(Uid(1), OTHER),)))
    assert not bench.during(lambda: bench.advance(100), PredictionsRequested)
    bench.observe(MetagraphSynced((NeuronInfo(Uid(1), VALIDATOR),)), MessageAccepted(CONNECTION, VALIDATOR, welcome()))
    assert [game.game_id for game in bench.last(PredictionsRequested).games] == ["a"]
    assert len(bench.during(lambda: bench.advance(10), PredictionsRequested)) == 1


def test_a_model_that_has_changed_is_asked_about_every_slate() -> None:
    bench = Harness(ModelActor())
    bench.observe(ModelChanged(), OutboxOpened((), (KnownSlate(OTHER, EPOCH, Offset(3), (make_game("old"),)),)))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (make_game("a"),), snapshot=True), ModelChanged())
    assert [event.validator for event in bench.all(PredictionsRequested)] == [VALIDATOR, VALIDATOR]


def test_a_slate_of_an_earlier_run_takes_the_updates_that_follow_it() -> None:
    bench = Harness(SlateActor())
    bench.observe(OutboxOpened((), (KnownSlate(VALIDATOR, EPOCH, Offset(3), (make_game("a"),)),)))
    bench.observe(MessageAccepted(CONNECTION, VALIDATOR, welcome(offset=Offset(4), recovered=True)))
    bench.observe(MessageAccepted(CONNECTION, VALIDATOR, update(4, 3, make_game("b"))))
    assert [(event.offset, event.snapshot) for event in bench.all(GamesUpdated)] == [(4, False)]


# --- whom a miner believes


class SessionBench(Harness):
    def __init__(self, *before: Event, pins_schemes: bool = True, **settings: Any) -> None:
        self.actor = MinerConnectionActor(MinerConnectionSettings(**settings))
        super().__init__(self.actor, AuthActor())
        self.add(SimulatedVerifier())
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 0, pins_schemes), *before)
        self.observe(ConnectionOpened(CONNECTION, VALIDATOR, "1752076800000000000"))

    def hear(self, message: WebSocketMessage, sender: Hotkey = VALIDATOR, signer: Hotkey | None = None) -> None:
        payload = codec.encode(stamp(message, sender))
        signature = simulated_signature(signer or sender, payload)
        self.observe(FrameReceived(CONNECTION, codec.join(codec.Frame(payload, signature))))

    @property
    def closed(self) -> list[int]:
        return [close.code for close in self.all(CloseRequested)]

    @property
    def session(self) -> Session:
        return self.actor.state.sessions[CONNECTION]


def test_a_true_welcome_is_answered_with_a_heartbeat() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    write = bench.last(WriteRequested)
    assert isinstance(write.message, HeartbeatMessage)
    assert (write.message.session, write.message.seq) == (welcome().session, 1)
    assert bench.last(SessionActivated).hotkey == VALIDATOR
    assert bench.session.stage is Stage.ACTIVE


def other_session(**changes: Any) -> WelcomeMessage:
    """A welcome that is consistent with itself, and not with our request."""
    facts: dict[str, Any] = {"netuid": NETUID, "validator": VALIDATOR, "miner": ME, "challenge": "1752076800000000000"}
    return welcome(session=session_id(**(facts | changes), salt="5a" * 16))


@pytest.mark.parametrize(
    ("why", "message", "sender", "signer", "code"),
    [
        ("unsigned", welcome(), VALIDATOR, OTHER, CloseCode.BAD_SIGNATURE),
        ("by another hotkey", welcome(), OTHER, OTHER, CloseCode.PROTOCOL_VIOLATION),
        ("for another session", welcome(session=SESSION), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("for another miner", other_session(miner=OTHER), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("naming another miner", welcome(receiver_hotkey=OTHER), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("of another netuid", other_session(netuid=31), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("naming another netuid", welcome(netuid=Netuid(31)), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("for another request", other_session(challenge="1"), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("naming another request", welcome(challenge="1"), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("out of place", welcome(seq=2), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("no welcome at all", HeartbeatMessage(seq=1), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("a broadcast", update(1, None), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
    ],
)
def test_a_welcome_that_is_not_ours_is_refused(
    why: str, message: WebSocketMessage, sender: Hotkey, signer: Hotkey | None, code: CloseCode
) -> None:
    bench = SessionBench()
    bench.hear(message, sender, signer)
    assert (why, bench.closed) == (why, [code])
    assert bench.all(SessionActivated) == []
    assert bench.all(WriteRequested) == []


def listing(crypto: Scheme | None) -> MetagraphSynced:
    """The metagraph, with what it says of the validator's scheme."""
    return MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, crypto=crypto),))


@pytest.mark.parametrize(
    ("configured", "listed", "pinned", "named"),
    [
        (None, None, "sr25519", "ed25519"),
        (None, "ed25519", "ed25519", "sr25519"),
        ("ed25519", None, "ed25519", "sr25519"),
        ("sr25519", "ed25519", "sr25519", "ed25519"),
    ],
)
def test_a_validators_scheme_is_what_the_miner_knows_and_never_what_a_welcome_names(
    configured: Scheme | None, listed: Scheme | None, pinned: Scheme, named: Scheme
) -> None:
    settings: dict[str, Any] = {} if configured is None else {"auth": {"schemes": {VALIDATOR: configured}}}
    bench = SessionBench(listing(listed), **settings)
    bench.hear(welcome(crypto=named))
    reason = f"the welcome names {named}, and this validator's scheme is {pinned} here: see auth.schemes"
    assert bench.all(CloseRequested) == [CloseRequested(CONNECTION, CloseCode.PROTOCOL_VIOLATION, reason)]
    assert bench.all(VerificationRequested) == []
    bench = SessionBench(listing(listed), **settings)
    bench.hear(welcome(crypto=pinned))
    assert bench.last(VerificationRequested).scheme == pinned
    assert bench.last(SessionActivated).hotkey == VALIDATOR


@pytest.mark.parametrize(
    "change",
    [
        SettingsReloaded({"connection": {"auth": {"schemes": {VALIDATOR: "ed25519"}}}}, ("auth.schemes",), ()),
        listing("ed25519"),
    ],
)
def test_a_session_ends_if_the_scheme_of_its_validator_becomes_another(change: Event) -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.observe(listing(None), listing("sr25519"))
    assert bench.closed == []
    bench.observe(change, change)
    reason = "this validator's scheme is ed25519 from now on: see auth.schemes"
    assert bench.all(CloseRequested) == [CloseRequested(CONNECTION, CloseCode.PROTOCOL_VIOLATION, reason)]


def test_a_welcome_names_a_scheme_once() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.hear(welcome(crypto="ed25519", seq=2))
    assert bench.closed == []
    assert bench.last(VerificationRequested).scheme == "sr25519"


def test_a_miner_of_release_0_1_0_went_by_what_a_welcome_named() -> None:
    bench = SessionBench(pins_schemes=False)
    bench.hear(welcome(crypto="ed25519"))
    assert bench.last(VerificationRequested).scheme == "ed25519"
    bench.observe(listing("sr25519"))
    assert bench.closed == []


def test_without_a_welcome_it_does_not_wait_for_ever() -> None:
    bench = SessionBench()
    bench.advance(5.1)
    assert bench.closed == [CloseCode.PROTOCOL_VIOLATION]


def test_frames_that_do_not_verify_end_the_session() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.hear(replace(confirm("p"), session=welcome().session, seq=2), signer=OTHER)
    assert bench.closed == [CloseCode.BAD_SIGNATURE]
    bench.hear(replace(confirm("p"), session=welcome().session, seq=3))
    assert not any(isinstance(event.message, ConfirmationMessage) for event in bench.all(MessageAccepted))


def test_broadcasts_are_taken_in_a_session_and_only_of_its_subnet() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.hear(update(3, None))
    assert isinstance(bench.last(MessageAccepted).message, GameUpdateMessage)
    bench.hear(replace(update(3, None), netuid=Netuid(31)))
    assert bench.closed == [CloseCode.PROTOCOL_VIOLATION]


def test_a_broadcast_of_an_unknown_kind_is_passed_over() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    payload = codec.encode(stamp(update(3, None), VALIDATOR)).replace(b"game_update", b"injury_news")
    signature = simulated_signature(VALIDATOR, payload)
    bench.observe(FrameReceived(CONNECTION, codec.join(codec.Frame(payload, signature))))
    assert bench.closed == []


@pytest.mark.parametrize(
    "event",
    [
        GamesUpdated(VALIDATOR, EPOCH, Offset(3), (), snapshot=True),
        OutboxOpened((), (KnownSlate(VALIDATOR, EPOCH, Offset(3), ()),)),
    ],
)
def test_the_heartbeat_names_the_position(event: Event) -> None:
    bench = SessionBench()
    bench.observe(event)
    bench.hear(welcome())
    message = bench.last(WriteRequested).message
    assert isinstance(message, HeartbeatMessage)
    assert (message.epoch, message.offset) == (EPOCH, 3)


def test_after_its_end_a_session_hears_nothing_and_its_timer_is_gone() -> None:
    bench = SessionBench()
    bench.observe(ConnectionClosed(CONNECTION, 1006, ""))
    bench.hear(welcome())
    bench.advance(10)
    assert bench.closed == []
    assert bench.actor.state.sessions == {}
