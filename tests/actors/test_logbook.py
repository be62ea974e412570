"""The log is an interface: its lines, and how many of them there are under load."""

from pathlib import Path
from typing import Literal

import pytest

from bettensor.actors.logbook import LINES_PER_SECOND, LogbookActor
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    ActorFailed,
    Announced,
    AnnounceFailed,
    AnnouncePlanned,
    BroadcastWritten,
    ChainFailed,
    ClockStepped,
    CloseRequested,
    CommitFailed,
    CommitRequested,
    ConnectionClosed,
    DialFailed,
    EndpointDoubted,
    Event,
    FeedFailed,
    FrameWritten,
    GamesFetched,
    GamesUpdated,
    HandlerFailed,
    HandlerOverflowed,
    LedgerRecognised,
    LineLogged,
    ListeningBegun,
    MessageRefused,
    MetagraphDoubted,
    MetagraphSynced,
    ModelNoted,
    NeuronFailed,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    OddsDoubted,
    OutboxEntry,
    OutboxOpened,
    PeerAuthenticated,
    PeerMisbehaved,
    PeerRefused,
    PredictionConflicted,
    PredictionDiscarded,
    PredictionExpired,
    PredictionsStored,
    ReconnectScheduled,
    RecordingFailed,
    RecordingResumed,
    ReloadFailed,
    Road,
    Role,
    RowsSkipped,
    SaveFailed,
    SendFailed,
    SessionActivated,
    SettingsReloaded,
    UpdateStoreFailed,
    UpgradeBegun,
    VerdictReceived,
    WithheldGame,
)
from bettensor.bus.identifiers import (
    SECOND,
    ConnectionId,
    Epoch,
    GameId,
    LedgerId,
    Micros,
    Offset,
    PredictionId,
    SessionId,
    Uid,
)
from bettensor.bus.messages import (
    Broadcast,
    ConfirmationMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    PredictionMessage,
    PredictionResult,
)
from tests.support import NETUID, NOW, Harness, make_game, make_hotkey, make_prediction

ME, PEER, STRANGER = make_hotkey("me"), make_hotkey("peer"), make_hotkey("stranger")
CONNECTION = ConnectionId(1)
KNOWN = f"{PEER} (UID: 12)"


class Bench(Harness):
    def __init__(self, role: Role = "validator") -> None:
        super().__init__(LogbookActor())
        self.observe(NeuronStarted(role, NETUID, ME, "sr25519", 0), MetagraphSynced((NeuronInfo(Uid(12), PEER),)))

    def lines(self, *events: Event) -> list[str]:
        return [line.text for line in self.during(lambda: self.observe(*events), LineLogged)]


def confirmation(*ids: str) -> ConfirmationMessage:
    return ConfirmationMessage(
        results=tuple(
            PredictionResult(prediction_id=PredictionId(i), about="a" * 32, success=True, code="accepted", message="")
            for i in ids
        )
    )


ACTIVATED = SessionActivated(CONNECTION, PEER, Uid(12), SessionId("5" * 32))
PREDICTION = make_prediction(prediction_id="p1")

LINES: list[tuple[Event, str]] = [
    (ListeningBegun("127.0.0.1:8091"), "Listening on 127.0.0.1:8091"),
    (NeuronStopping("SIGTERM"), "Stopping: SIGTERM"),
    (NeuronFailed("no way on"), "no way on"),
    (
        ActorFailed("games", 7, "games_fetched", None, "Traceback"),
        "games failed while it handled games_fetched (event 7)",
    ),
    (HandlerFailed("m:f", "prediction_accepted", "Traceback"), "The handler m:f failed on prediction_accepted"),
    (HandlerOverflowed("m:f", "frame_written", 4), "m:f is too slow for frame_written: 4 events were dropped"),
    (ClockStepped(Micros(-3_600_000_000)), "The wall clock stepped by -3600.0 s"),
    (CommitFailed(3, "disk I/O error"), "A commit failed: disk I/O error"),
    (ACTIVATED, f"WebSocket connection established with miner {KNOWN}"),
    (CloseRequested(CONNECTION, 4104, "newer"), "Closing the connection with a peer: 4104 newer"),
    (
        PeerRefused(CONNECTION, RefusalCode.STALE, "too old", "10.0.0.9", PEER),
        f"Refused a request from 10.0.0.9 ({KNOWN}): 401 stale: too old",
    ),
    (
        PeerRefused(CONNECTION, RefusalCode.MALFORMED, "bad", "10.0.0.9"),
        "Refused a request from 10.0.0.9: 400 malformed: bad",
    ),
    (
        DialFailed(CONNECTION, STRANGER, "refused"),
        f"No WebSocket connection with validator {STRANGER}: refused",
    ),
    (ReconnectScheduled(PEER, Micros(2_500_000), "x"), f"Reconnecting to validator {KNOWN} in 2.5 s"),
    (MessageRefused(CONNECTION, None, "malformed", "nonsense"), "Not accepted from a peer: nonsense"),
    (ModelNoted('bets.csv: line 2: no slate has the game "g" so far'), "bets.csv: line 2: no slate has the game"),
    (
        FeedFailed("file", "games.json: not JSON"),
        "The games cannot be read, so no game is offered until they can: games.json: not JSON",
    ),
    (
        FrameWritten(CONNECTION, PEER, confirmation("p1"), 1, "websocket"),
        "Sent confirmation for prediction p1 via WebSocket",
    ),
    (FrameWritten(CONNECTION, PEER, confirmation("p1"), 1, "http"), "Sent confirmation for prediction p1 via HTTP"),
    (
        FrameWritten(CONNECTION, PEER, PredictionMessage(predictions=(PREDICTION,)), 1, "websocket"),
        "Pushed prediction p1 via WebSocket",
    ),
    (
        EndpointDoubted("miners look elsewhere"),
        "Miners look elsewhere (correct axon.port, axon.external_ip, axon.external_port, or the metagraph",
    ),
    (SettingsReloaded({}, (), ()), "Configuration reloaded: no key changed"),
    (ReloadFailed("a.yaml: b: no\na.yaml: c: no"), "the old one stays in force: a.yaml: b: no; a.yaml: c: no"),
    (EndpointDoubted(""), "The metagraph has the right endpoint for this validator again"),
    (SendFailed(PEER, HeartbeatMessage(), "there is no session"), f"Not sent to {KNOWN}: there is no session"),
    (VerdictReceived(PEER, PREDICTION, True, "accepted", "", Micros(1500)), "Prediction p1 accepted in 1.5 ms"),
    (VerdictReceived(PEER, PREDICTION, False, "game_started", "late", Micros(1)), "p1 rejected: game_started: late"),
    (MetagraphSynced((), (PEER,), "chain", 7), "Metagraph: 0 neurons at block 7, 1 changed"),
    (MetagraphSynced((), (), "chain", 7), "Metagraph: 0 neurons at block 7, 0 changed"),
    (
        MetagraphSynced((), (), "disk", 7, Micros(NOW - 60 * SECOND)),
        "Metagraph: 0 neurons, from disk; read from the chain 60 s ago at block 7",
    ),
    (MetagraphDoubted("gone"), "The metagraph looks wrong and must be read a second time before it is used: gone"),
    (
        ChainFailed("silent", Micros(12 * SECOND)),
        "The chain cannot be read, so the last metagraph stays in force: silent; next try in 12 s",
    ),
    (AnnouncePlanned("1.2.3.4:5", "fee 1"), "Announcing 1.2.3.4:5 on the chain: fee 1"),
    (Announced("1.2.3.4:5"), "Announced 1.2.3.4:5 on the chain"),
    (
        AnnounceFailed("1.2.3.4:5", "no"),
        "The chain rejected the announcement of 1.2.3.4:5: no; retrying",
    ),
    (
        RecordingResumed(),
        "The event log continues in a new file; the events in between are lost",
    ),
    (
        UpgradeBegun("ledger.sqlite3", 2, 3, 728_068_096),
        "Upgrading ledger.sqlite3 (728 MB) from schema 2 to 3; the neuron starts when this is done",
    ),
    (RecordingFailed("no room"), "The event log cannot be written and has stopped: no room"),
    (PredictionDiscarded(PEER, PredictionId("p1"), GameId("g"), "NaN"), "Prediction p1 on game g is not sent: NaN"),
    (PredictionConflicted(PEER, Uid(12), PREDICTION, ""), f"{KNOWN} reused the id of prediction p1: other content"),
    (PredictionExpired(PEER, PREDICTION), f"started before it could be sent to {KNOWN}"),
    (SaveFailed(1, "disk full"), "The outbox cannot be written, so predictions wait: disk full"),
    (
        OutboxOpened((OutboxEntry(PEER, PREDICTION),), ()),
        "1 prediction of earlier runs without a verdict will be sent again",
    ),
    (PeerMisbehaved(PEER, "two verdicts"), f"{KNOWN} sent something no honest neuron sends: two verdicts"),
    (LedgerRecognised(PEER, LedgerId("2" * 32), LedgerId("1" * 32)), f"{KNOWN} has a different ledger than before"),
    (UpdateStoreFailed("disk full"), "cannot be stored, so the last slate stays in force: disk full"),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=[type(event).__name__ for event, _ in LINES])
def test_what_an_event_writes(event: Event, line: str) -> None:
    (text,) = Bench().lines(event)
    assert line in text


ANOTHER_KIND = Broadcast(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(3))


def game_update(part: int) -> GameUpdateMessage:
    return GameUpdateMessage(
        netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(2), previous=Offset(1), updated_games={}, part=part, parts=2
    )


@pytest.mark.parametrize("road", ["websocket", "http"])
def test_the_lines_that_operators_look_for_are_to_the_letter_what_is_documented(road: Road) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    documented = documented.replace("HOTKEY (UID: N)", KNOWN).replace("prediction ID", "prediction p1")
    push = PredictionMessage(predictions=(PREDICTION,))
    validator = Bench("validator").lines(
        ACTIVATED,
        FrameWritten(CONNECTION, PEER, confirmation("p1"), 1, road),
        *(BroadcastWritten(game_update(part), 1, 3) for part in (1, 2)),
        BroadcastWritten(ANOTHER_KIND, 1, 3),
    )
    miner = Bench("miner").lines(ACTIVATED, FrameWritten(CONNECTION, PEER, push, 1, road))
    assert len(validator + miner) == 5
    for line in validator + miner:
        assert f"\n{line.replace('via HTTP', 'via WebSocket')}\n" in documented


def test_a_commit_that_takes_long_is_told() -> None:
    bench = Bench()
    bench.observe(CommitRequested(()))
    bench.clock.advance(Micros(1_300_000))
    assert bench.lines(PredictionsStored(1, ()))[-1] == "A commit took 1.3 s: the disk is slow, and verdicts come late"
    bench.observe(CommitRequested(()))
    before = len(bench.all(LineLogged))
    bench.observe(PredictionsStored(2, ()))
    assert len(bench.all(LineLogged)) == before


def test_a_miner_tells_of_validators_and_slates() -> None:
    bench = Bench("miner")
    games = (make_game("a"), make_game("b"))
    assert bench.lines(ACTIVATED) == [f"WebSocket connection established with validator {KNOWN}"]
    assert bench.lines(GamesUpdated(PEER, Epoch("e" * 32), Offset(1), games, snapshot=True)) == [
        f"Received the whole slate of 2 games from validator {KNOWN}"
    ]
    assert (
        "an update of 1 game from" in bench.lines(GamesUpdated(PEER, Epoch("e" * 32), Offset(2), games[:1], False))[0]
    )


def test_a_miner_that_is_replaced_tells_that_two_processes_share_its_hotkey() -> None:
    assert "Another process uses this hotkey" in Bench("miner").lines(ConnectionClosed(CONNECTION, 4104, ""))[0]
    assert Bench("validator").lines(ConnectionClosed(CONNECTION, 4104, "")) == []


def test_that_the_chain_can_be_read_again_is_news_once() -> None:
    bench = Bench()
    synced = MetagraphSynced((), (), "chain", 7)
    events = (synced, ChainFailed("down", Micros(0)), synced, synced, MetagraphSynced((), (), "disk", 7), synced)
    levels = bench.during(lambda: bench.observe(*events), LineLogged)
    assert [line.level for line in levels] == ["DEBUG", "WARNING", "INFO", "DEBUG", "WARNING", "INFO"]


def test_an_empty_outbox_is_no_news() -> None:
    assert Bench("miner").lines(OutboxOpened((), ())) == []


def test_withheld_games_are_named_with_their_reason() -> None:
    withheld = (WithheldGame("g1", "it started"), WithheldGame("g2", "odds of 1.0"))
    lines = Bench().lines(GamesFetched("games.json", (make_game(),), withheld, Epoch("e" * 32)))
    assert lines == [
        "Read 1 game from games.json; 2 not offered, for the reasons below",
        "Game 'g1' is not offered: it started",
        "Game 'g2' is not offered: odds of 1.0",
    ]


def fetched(*withheld: WithheldGame) -> GamesFetched:
    return GamesFetched("games.json", (make_game(),), withheld, Epoch("e" * 32))


def test_a_game_that_stays_withheld_is_counted_and_not_told_again() -> None:
    lines = Bench().lines(fetched(WithheldGame("g1", "odds of 1.0", is_new=False)))
    assert lines == ["Read 1 game from games.json; 1 not offered, as `bettensor top` shows"]


def test_a_game_that_has_started_is_no_warning() -> None:
    bench = Bench()
    event = fetched(WithheldGame("g1", "it started at noon", started=True), WithheldGame("", "games.1: no game"))
    lines = bench.during(lambda: bench.observe(event), LineLogged)
    assert [(line.level, line.text) for line in lines] == [
        ("INFO", "Read 1 game from games.json; 1 not offered, for the reasons below; 1 already started"),
        ("DEBUG", "Game 'g1' is not offered: it started at noon"),
        ("WARNING", "A game without an id is not offered: games.1: no game"),
    ]


def test_implausible_odds_are_told_and_that_they_are_gone() -> None:
    bench = Bench()
    known = WithheldGame("g2", "old", is_new=False)
    assert bench.lines(OddsDoubted((WithheldGame("g1", "the odds (American odds?)"), known))) == [
        "Game 'g1' is not offered: the odds (American odds?)"
    ]
    assert bench.lines(OddsDoubted(())) == ["The odds of all games are plausible again"]


def test_with_a_slate_in_force_a_feed_that_fails_leaves_it_so_and_its_return_is_told() -> None:
    bench = Bench()
    bench.observe(GamesUpdated(ME, Epoch("e" * 32), Offset(1), (), snapshot=True))
    failed = FeedFailed("games.json", "games.json: not JSON")
    assert bench.lines(failed) == [
        "The games cannot be read, so the last good slate stays in force: games.json: not JSON"
    ]
    assert bench.lines(fetched()) == ["The games can be read again", "Read 1 game from games.json"]
    assert bench.lines(fetched()) == ["Read 1 game from games.json"]


def test_a_wrong_row_of_a_file_is_told_once_and_again_when_it_comes_back() -> None:
    bench = Bench()
    first, both = ("hotkeys.0: x",), ("hotkeys.0: x", "hotkeys.3: y")
    told = "A row of the blacklist is wrong, so it blocks nobody: blacklist.yaml: "
    assert bench.lines(RowsSkipped("blacklist", "blacklist.yaml", first)) == [f"{told}hotkeys.0: x"]
    assert bench.lines(RowsSkipped("blacklist", "blacklist.yaml", both)) == [f"{told}hotkeys.3: y"]
    assert bench.lines(RowsSkipped("blacklist", "blacklist.yaml", ())) == [
        "All rows of the blacklist can be used again"
    ]
    assert bench.lines(RowsSkipped("blacklist", "blacklist.yaml", first)) == [f"{told}hotkeys.0: x"]


@pytest.mark.parametrize(("what", "level"), [("metagraph", "WARNING"), ("blacklist", "ERROR")])
def test_who_is_not_blocked_for_a_mistake_is_told_louder(what: Literal["metagraph", "blacklist"], level: str) -> None:
    bench = Bench()
    (line,) = bench.during(lambda: bench.observe(RowsSkipped(what, "f.yaml", ("x",))), LineLogged)
    assert line.level == level


def test_faults_of_a_model_that_are_one_line_are_all_told() -> None:
    bench = Bench("miner")
    faults = [HandlerFailed("the model", "predictions_requested", f"line {n}: wager") for n in range(3)]
    assert len(bench.during(lambda: bench.observe(*faults), LineLogged)) == 3


def test_the_end_of_a_session_is_told_and_that_of_an_exchange_is_not() -> None:
    bench = Bench()
    authenticated = PeerAuthenticated(
        CONNECTION, PEER, Uid(12), "sr25519", "session", SessionId("5" * 32), "1", "a" * 32
    )
    bench.observe(authenticated)
    assert bench.lines(CloseRequested(CONNECTION, 4100, "silent")) == [
        f"Closing the connection with {KNOWN}: 4100 silent"
    ]
    assert bench.lines(MessageRefused(CONNECTION, None, "internal", "x")) == [f"Not accepted from {KNOWN}: x"]
    assert bench.lines(ConnectionClosed(CONNECTION, 4100, "silent")) == [
        f"WebSocket connection with {KNOWN} closed: 4100 silent"
    ]
    assert bench.lines(ConnectionClosed(ConnectionId(2), 0, "")) == []


def test_above_20_a_second_of_a_kind_the_rest_is_summed_up() -> None:
    bench = Bench()
    write = FrameWritten(CONNECTION, PEER, confirmation(*(f"p{i}" for i in range(50))), 1, "websocket")
    assert len(bench.lines(write, write)) == LINES_PER_SECOND
    other_kind = bench.lines(ACTIVATED)
    assert len(other_kind) == 1
    late = bench.during(lambda: bench.advance(1.0), LineLogged)
    assert [line.text for line in late] == ["... and 80 more lines within a second (confirmations sent)"]
    assert len(bench.lines(write)) == LINES_PER_SECOND


def test_a_timer_that_is_late_does_not_cut_the_next_second_short() -> None:
    bench = Harness(LogbookActor())
    discarded = PredictionDiscarded(PEER, PredictionId("p"), GameId("g"), "why")
    bench.observe(*[discarded] * (LINES_PER_SECOND + 1))
    bench.clock.advance(SECOND)
    bench.observe(discarded)
    bench.advance(0)
    bench.observe(*[discarded] * LINES_PER_SECOND)
    assert len(bench.all(LineLogged)) == LINES_PER_SECOND + 1 + LINES_PER_SECOND


def test_refusals_of_a_kind_are_one_line_a_second_whoever_makes_them() -> None:
    bench = Bench()
    floods = [PeerRefused(ConnectionId(i), RefusalCode.STALE, "old", f"10.0.0.{i}") for i in range(100)]
    assert len(bench.lines(*floods)) == 1
    late = bench.during(lambda: bench.advance(1.0), LineLogged)
    assert [line.text for line in late] == ["... and 99 more lines within a second (refusals: stale)"]


def test_a_peers_words_neither_end_the_line_nor_speak_to_the_terminal() -> None:
    reason = "fine\n2026-01-01 | INFO | all is well \x1b[2J\u2028"
    (line,) = Bench().lines(DialFailed(CONNECTION, PEER, reason))
    assert line.isprintable()
    assert "fine\\n2026-01-01" in line
    (traceback,) = Bench().lines(NeuronFailed("one\ntwo"))
    assert traceback == "one\ntwo"


def test_a_quiet_second_has_no_summary() -> None:
    bench = Bench()
    bench.observe(ACTIVATED)
    assert bench.during(lambda: bench.advance(5.0), LineLogged) == []
    assert len(bench.lines(ACTIVATED)) == 1


def test_a_neuron_that_is_not_registered_says_so_until_it_is() -> None:
    bench = Bench()
    missing, here = MetagraphSynced((NeuronInfo(Uid(12), PEER),)), MetagraphSynced((NeuronInfo(Uid(1), ME),))
    said = [
        any("is not in the metagraph, so no peer" in line for line in bench.lines(e)) for e in (missing, here, missing)
    ]
    assert said == [False, False, True]  # the first time it was said before
