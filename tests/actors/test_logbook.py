"""The log is an interface: its lines, and how many of them there are under load."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from bettensor.actors.cures import DIALLED_BY_TLS, FOREIGN_CERTIFICATE, OTHER_KEY, TLS_DEMANDED
from bettensor.actors.logbook import LINES_PER_SECOND, LogbookActor, LogbookSettings
from bettensor.bus.codes import (
    CloseCode,
    RefusalCode,
    VerdictCode,
)
from bettensor.bus.events import (
    AcceptingFailed,
    AcceptingResumed,
    ActorFailed,
    Announced,
    AnnounceFailed,
    AnnouncementContested,
    AnnouncementSettled,
    AnnouncePlanned,
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonPassedOver,
    AxonQueryRequested,
    BroadcastWritten,
    CertificateDoubted,
    CertificateLoaded,
    CertificateRefused,
    ChainFailed,
    ClockStepped,
    CloseRequested,
    CommitFailed,
    CommitRequested,
    ConnectionClosed,
    ConnectionsShed,
    DialFailed,
    EndpointDoubted,
    Event,
    FallbackCause,
    FallbackChosen,
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
    NeuronStopped,
    NeuronStopping,
    OddsDoubted,
    OutboxEntry,
    OutboxOpened,
    PeerAuthenticated,
    PeerMisbehaved,
    PeerRefused,
    PostAnswered,
    PostFailed,
    PredictionAccepted,
    PredictionConflicted,
    PredictionDiscarded,
    PredictionExpired,
    PredictionRejected,
    PredictionsStored,
    QueryRefused,
    ReconnectScheduled,
    RecordingFailed,
    RecordingResumed,
    ReloadFailed,
    RequestsTurnedAway,
    Road,
    Role,
    RowsSkipped,
    SaveFailed,
    SendFailed,
    SessionActivated,
    SettingsReloaded,
    SlateQueried,
    StateDirTightened,
    SynapseAsked,
    Tls,
    TlsLearned,
    TlsTrouble,
    UpdateStoreFailed,
    UpgradeBegun,
    ValidatorsMissed,
    VerdictReceived,
    VerifierLost,
    VerifiersFailed,
    VerifiersResumed,
    WatchRefused,
    WithheldGame,
)
from bettensor.bus.games import UnreadablePrediction
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
from bettensor.bus.synapse import REJECTED, LeftOut, Result
from bettensor.bus.text import short
from bettensor.bus.timestamps import DAY, rfc3339
from tests.support import HOUR, NETUID, NOW, Harness, make_game, make_hotkey, make_prediction

ME, PEER, STRANGER = make_hotkey("me"), make_hotkey("peer"), make_hotkey("stranger")
CONNECTION = ConnectionId(1)
KNOWN = f"{PEER} (UID: 12)"
NAMED = f"{short(PEER)} (UID: 12)"


class Bench(Harness):
    def __init__(self, role: Role = "validator", **settings: Any) -> None:
        self.actor = LogbookActor(LogbookSettings(**settings))
        super().__init__(self.actor)
        self.observe(NeuronStarted(role, NETUID, ME, "sr25519", 0), MetagraphSynced((NeuronInfo(Uid(12), PEER),)))

    def lines(self, *events: Event) -> list[str]:
        return [line.text for line in self.during(lambda: self.observe(*events), LineLogged)]

    def news(self, *events: Event) -> list[str]:
        """The lines that an operator sees at level INFO, each after its level."""
        told = self.during(lambda: self.observe(*events), LineLogged)
        return [f"{line.level} {line.text}" for line in told if line.level != "DEBUG"]

    def later(self, seconds: float) -> list[str]:
        """What time alone brings."""
        told = self.during(lambda: self.advance(seconds), LineLogged)
        return [f"{line.level} {line.text}" for line in told]


def confirmation(*ids: str) -> ConfirmationMessage:
    return ConfirmationMessage(
        results=tuple(
            PredictionResult(prediction_id=PredictionId(i), about="a" * 32, success=True, code="accepted", message="")
            for i in ids
        )
    )


ACTIVATED = SessionActivated(CONNECTION, PEER, Uid(12), SessionId("5" * 32))
PREDICTION = make_prediction(prediction_id="p1")
UNREADABLE = UnreadablePrediction(prediction_id=PredictionId("p1"), fault="wager: no number", content={"wager": "ten"})
ACCEPTED = PredictionAccepted(PEER, Uid(12), PREDICTION, NOW)

LINES: list[tuple[Event, str]] = [
    (ListeningBegun("127.0.0.1:8091"), "Listening on 127.0.0.1:8091"),
    (NeuronStopping("SIGTERM"), "Stopping: SIGTERM"),
    (NeuronStopped("SIGTERM"), "Stopped after 0.0 s: SIGTERM"),
    (NeuronFailed("no way on"), "no way on"),
    (
        ActorFailed("games", 7, "games_fetched", None, "Traceback"),
        "games failed while it handled games_fetched (event 7)",
    ),
    (HandlerFailed("m:f", "prediction_accepted", "Traceback"), "The handler m:f failed on prediction_accepted"),
    (
        ConnectionsShed("strangers", 512, 1, "203.0.113.7"),
        "More than 512 connections without a proven hotkey (limits.strangers): closed 1 connection to make room",
    ),
    (AcceptingFailed("Too many open files"), "gets no further connections: Too many open files; it tries again"),
    (AcceptingResumed(), "The public port gets all connections again"),
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
        PeerRefused(CONNECTION, RefusalCode.RATE_LIMITED, "too many", "", PEER),
        f"Refused a request from {KNOWN}: 429 rate_limited: too many",
    ),
    (
        QueryRefused(CONNECTION, 401, "used already", "10.0.0.9", PEER),
        f"Refused a request from 10.0.0.9 ({KNOWN}) via Synapse: 401: used already",
    ),
    (QueryRefused(CONNECTION, 404, "no", "10.0.0.9"), "Refused a request from 10.0.0.9 via Synapse: 404: no"),
    (
        SlateQueried(CONNECTION, PEER, (), (LeftOut("1001", "tie_odds: no number"),)),
        f"A game of validator {KNOWN} is left out: '1001': tie_odds: no number",
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
    (ValidatorsMissed("there is none", "wait for one"), "There is none (wait for one)"),
    (ValidatorsMissed(""), "There is a validator to connect to again"),
    (
        EndpointDoubted("miners look elsewhere"),
        "Miners look elsewhere (correct axon.port, axon.external_ip, axon.external_port, or the metagraph",
    ),
    (SettingsReloaded({}, (), ()), "Configuration reloaded: no key changed"),
    (ReloadFailed("a.yaml: b: no\na.yaml: c: no"), "the old one stays in force: a.yaml: b: no; a.yaml: c: no"),
    (EndpointDoubted(""), "The metagraph has the right endpoint for this validator again"),
    (SendFailed(PEER, HeartbeatMessage(), "there is no session"), f"Not sent to {KNOWN}: there is no session"),
    (ACCEPTED, f"Accepted prediction p1 of miner {KNOWN} on game {PREDICTION.game_id}"),
    (
        PredictionRejected(PEER, Uid(12), PREDICTION, VerdictCode.GAME_STARTED, "it started\n", NOW),
        f"Rejected prediction p1 of miner {KNOWN} on game {PREDICTION.game_id}: game_started: it started\\n",
    ),
    (
        PredictionRejected(STRANGER, Uid(7), UNREADABLE, VerdictCode.MISSING_DATA, "wager: no number", NOW),
        f"Rejected prediction p1 of miner {STRANGER}: missing_data: wager: no number",
    ),
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
        AnnouncementContested("1.2.3.4:5", "1.2.3.4:6", NOW, NOW, True, HOUR, 0),
        "Another process of this hotkey announces its own endpoint: the chain has 1.2.3.4:6, seen at ",
    ),
    (AnnouncementSettled("1.2.3.4:5"), "The announcement on the chain is no longer contested: the chain has 1.2.3.4:5"),
    (AnnouncementSettled(None), "The announcement on the chain is no longer contested: the settings have changed"),
    (
        RecordingResumed(),
        "The event log continues in a new file; the events in between are lost",
    ),
    (
        StateDirTightened(("the folder itself (0777)", "lock (0644)")),
        "Other users had access to the neuron's files, and no longer have: the folder itself (0777), lock (0644)",
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
    (VerifierLost(-9), "ended with exit code -9; nothing is lost"),
    (VerifierLost(1, "MemoryError"), "ended with exit code 1: MemoryError; nothing is lost"),
    (
        VerifiersFailed("exit code 1: ModuleNotFoundError"),
        "A signature verifier process cannot start: exit code 1: ModuleNotFoundError; the neuron verifies signatures",
    ),
    (VerifiersResumed(), "The signature verifier processes have started again"),
    (
        WatchRefused("Too many open files"),
        "Changed files are noticed by checking every second, because they cannot be watched: Too many open files "
        "(sysctl -w fs.inotify.max_user_instances=1024",
    ),
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


def test_that_there_is_no_room_for_further_predictions_is_told_once_a_minute_for_each_validator() -> None:
    bench = Harness(LogbookActor())
    full = PredictionDiscarded(PEER, PredictionId("p"), GameId("g"), "20000 predictions wait", is_full=True)
    bench.observe(full, full, replace(full, validator=make_hotkey("other")))
    assert len(bench.all(LineLogged)) == 2
    bench.clock.advance(Micros(60 * SECOND))
    bench.observe(full)
    assert len(bench.all(LineLogged)) == 3


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
    gone = (*games, make_game("c", active=False))
    assert bench.lines(GamesUpdated(PEER, Epoch("e" * 32), Offset(3), gone, False)) == [
        f"Received an update of 2 games from validator {KNOWN}; 1 withdrawn"
    ]


def test_the_last_line_says_how_long_a_neuron_has_run_and_why_it_has_stopped() -> None:
    bench = Bench()
    bench.advance(10_800)
    assert bench.lines(NeuronStopped("SIGTERM")) == ["Stopped after 3 h: SIGTERM"]


def test_a_miner_that_is_replaced_tells_that_two_processes_share_its_hotkey() -> None:
    assert "Another process uses this hotkey" in Bench("miner").lines(ConnectionClosed(CONNECTION, 4104, ""))[0]
    assert Bench("validator").lines(ConnectionClosed(CONNECTION, 4104, "")) == []


def test_that_the_chain_can_be_read_again_is_news_once() -> None:
    bench = Bench()
    synced = MetagraphSynced((), (), "chain", 7)
    events = (synced, ChainFailed("down", Micros(0)), synced, synced, MetagraphSynced((), (), "disk", 7), synced)
    levels = bench.during(lambda: bench.observe(*events), LineLogged)
    assert [line.level for line in levels] == ["DEBUG", "WARNING", "INFO", "DEBUG", "WARNING", "INFO"]


def test_that_files_are_not_watched_is_one_line_however_many_there_are() -> None:
    bench = Bench()
    assert len(bench.lines(WatchRefused("no"), WatchRefused("no"))) == 1
    bench.advance(60)
    assert bench.lines(WatchRefused("no")) == []


def test_an_empty_outbox_is_no_news() -> None:
    assert Bench("miner").lines(OutboxOpened((), ())) == []


def test_withheld_games_are_named_with_their_reason() -> None:
    withheld = (WithheldGame("g1", "it started"), WithheldGame("g2", "odds of 1.0"))
    lines = Bench().lines(GamesFetched("games.json", (make_game(),), withheld, Epoch("e" * 32)))
    assert lines == [
        "Read 1 game from games.json; 2 cannot be used, for the reasons below",
        "Game 'g1' is withheld: it started",
        "Game 'g2' is withheld: odds of 1.0",
    ]


def fetched(*withheld: WithheldGame) -> GamesFetched:
    return GamesFetched("games.json", (make_game(),), withheld, Epoch("e" * 32))


def test_a_game_that_stays_withheld_is_counted_and_not_told_again() -> None:
    bench = Bench()
    first, other = WithheldGame("g1", "odds of 1.0"), WithheldGame("g1", "odds of 0.5")
    told = "Read 1 game from games.json; 1 cannot be used, for the reasons below"
    assert bench.lines(fetched(first)) == [told, "Game 'g1' is withheld: odds of 1.0"]
    assert bench.lines(fetched(first)) == ["Read 1 game from games.json; 1 cannot be used, as `bettensor top` shows"]
    assert bench.lines(fetched(other)) == [told, "Game 'g1' is withheld: odds of 0.5"]
    assert bench.lines(fetched()) == ["Read 1 game from games.json"]
    assert bench.lines(fetched(other)) == [told, "Game 'g1' is withheld: odds of 0.5"]


def test_a_validator_of_0_1_0_told_each_withheld_game_with_each_slate() -> None:
    bench = Harness(LogbookActor())
    bench.observe(NeuronStarted("validator", NETUID, ME, "sr25519", 0, is_of_0_1=True))
    event = fetched(WithheldGame("g1", "odds of 1.0"))
    for _ in range(2):
        assert len(bench.during(lambda: bench.observe(event), LineLogged)) == 2


def test_a_game_that_has_started_is_no_warning() -> None:
    bench = Bench()
    event = fetched(WithheldGame("g1", "it started at noon", started=True), WithheldGame("", "games.1: no game"))
    lines = bench.during(lambda: bench.observe(event), LineLogged)
    assert [(line.level, line.text) for line in lines] == [
        ("INFO", "Read 1 game from games.json; 1 cannot be used, for the reasons below; 1 already started"),
        ("DEBUG", "Game 'g1' is withheld: it started at noon"),
        ("WARNING", "A game without an id is withheld: games.1: no game"),
    ]


def test_implausible_odds_are_told_and_that_they_are_gone() -> None:
    bench = Bench()
    doubted = WithheldGame("g1", "the odds (American odds?)")
    assert bench.lines(OddsDoubted((doubted,))) == ["Game 'g1' is withheld: the odds (American odds?)"]
    assert bench.lines(OddsDoubted((doubted, WithheldGame("g2", "odds")))) == ["Game 'g2' is withheld: odds"]
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


def test_the_failure_that_a_slate_carries_is_told_if_it_is_news_and_ends_with_one_without_it() -> None:
    bench = Bench()
    failing = replace(fetched(), fault="The Odds API: 500")
    read, told = "Read 1 game from games.json", "The games cannot be read, so the last good slate stays in force: "
    assert bench.lines(failing) == [f"{told}The Odds API: 500", read]
    assert bench.lines(failing) == [read]
    bench.advance(1)
    assert bench.lines(replace(failing, fault="401")) == [f"{told}401", read]
    assert bench.lines(fetched()) == ["The games can be read again", read]


def test_a_wrong_sport_is_told_as_a_row() -> None:
    (text,) = Bench().lines(RowsSkipped("sports", "edges.game_feed.sports", ("basebal: 404 Unknown sport",)))
    assert text == (
        "A row of the sports is wrong, so it is not used: edges.game_feed.sports: basebal: 404 Unknown sport"
    )


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
    faults = [HandlerFailed("the model Mine", "predictions_requested", f"line {n}: wager") for n in range(3)]
    assert bench.lines(*faults) == [f"The model Mine: line {n}: wager" for n in range(3)]
    (traceback,) = bench.lines(HandlerFailed("the model Mine", "predictions_requested", "Traceback:\nx"))
    assert traceback.startswith("The handler the model Mine failed on predictions_requested")


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


def test_verdicts_above_20_a_second_are_summed_up_by_verdict() -> None:
    bench = Bench()
    rejected = PredictionRejected(PEER, Uid(12), PREDICTION, VerdictCode.GAME_STARTED, "late", NOW)
    lines = bench.lines(*[ACCEPTED] * 30, *[rejected] * 25)
    assert [line.split()[0] for line in lines] == ["Accepted"] * LINES_PER_SECOND + ["Rejected"] * LINES_PER_SECOND
    late = bench.during(lambda: bench.advance(1.0), LineLogged)
    assert [line.text for line in late] == [
        "... and 10 more lines within a second (accepted predictions)",
        "... and 5 more lines within a second (rejected predictions)",
    ]


def test_a_validator_of_0_1_0_told_no_verdict() -> None:
    bench = Harness(LogbookActor())
    bench.observe(NeuronStarted("validator", NETUID, ME, "sr25519", 0, is_of_0_1=True), ACCEPTED)
    assert [line.text for line in bench.all(LineLogged)] == [f"validator started: netuid {NETUID}, hotkey {ME}"]


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


def test_requests_that_were_turned_away_are_one_line_with_their_sums() -> None:
    bench = Bench()
    turned_away = RequestsTurnedAway({"network": 1290, "hotkey": 10}, 1.002, "2001:db8::/64", 1200)
    assert bench.news(turned_away) == [
        "WARNING Turned away 1300 requests in 1 s with 429: 1290 for too many failures of their network, "
        "10 for too many requests of their hotkey; 1200 came from 2001:db8::/64"
    ]


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


# --- a validator without its metagraph, or its permit


@pytest.mark.parametrize(
    ("role", "consequence"),
    [("validator", "every miner gets 503"), ("miner", "this miner has no validator to connect to")],
)
def test_without_any_metagraph_none_is_said_to_stay_in_force(role: Role, consequence: str) -> None:
    bench = Harness(LogbookActor())
    bench.observe(NeuronStarted(role, NETUID, ME, "sr25519", 0), ChainFailed("silent", Micros(2 * SECOND)))
    text = f"The chain cannot be read and no metagraph is known yet, so {consequence}: silent; next try in 2 s"
    assert bench.last(LineLogged) == LineLogged("WARNING", text)
    bench.observe(MetagraphSynced((NeuronInfo(Uid(1), ME, validator_permit=True),), (), "disk"))
    bench.advance(2)
    bench.observe(ChainFailed("down", Micros(2 * SECOND)))
    assert "so the last metagraph stays in force: down" in bench.last(LineLogged).text


def test_a_miner_that_is_asked_to_come_again_is_no_warning_of_its_own() -> None:
    assert Bench().news(PeerRefused(CONNECTION, RefusalCode.NO_METAGRAPH, "not yet", "10.0.0.9", PEER)) == []


@pytest.mark.parametrize("failure", [DialFailed, PostFailed])
def test_a_miner_in_its_own_metagraph_is_not_told_to_register(failure: type[DialFailed | PostFailed]) -> None:
    bench = Bench("miner")
    refused = failure(CONNECTION, PEER, "403", 403, code=RefusalCode.NOT_REGISTERED)
    assert "register this hotkey" in bench.news(refused)[0]
    bench.observe(ACTIVATED, MetagraphSynced((NeuronInfo(Uid(1), ME), NeuronInfo(Uid(12), PEER))))
    assert "the validator's copy is older" in bench.news(refused)[0]


def test_a_chain_that_stays_away_is_told_once_an_hour_and_for_each_cause() -> None:
    bench = Bench()
    told: list[str] = []
    for n in range(60):
        told += bench.news(ChainFailed(f"no block after {n} in 60 s" if n % 2 else "silent", Micros(120 * SECOND)))
        bench.advance(120)
    assert [line.partition("force: ")[2].partition(";")[0] for line in told] == [
        "silent",
        "no block after 1 in 60 s",
        "no block after 31 in 60 s",
        "silent",
    ]
    bench.observe(MetagraphSynced((), (), "chain", 7))
    assert len(bench.news(ChainFailed("silent", Micros(0)))) == 1


def test_a_validator_without_a_permit_says_so_until_it_has_one() -> None:
    bench = Bench()
    without, with_one = (MetagraphSynced((NeuronInfo(Uid(1), ME, validator_permit=has),)) for has in (False, True))
    (told,) = [line for line in bench.news(without) if "permit" in line]
    assert told.startswith("WARNING This validator has no validator permit, so miners do not connect to it (stake more")
    assert not any("permit" in line for line in bench.news(without))
    assert "INFO This validator has a validator permit now, so miners connect to it" in bench.news(with_one)
    assert not any("permit" in line for line in Bench("miner").news(without))


# --- validators that a miner does not reach


def dial_failed(reason: str = "refused", status: int | None = None, code: str = "") -> DialFailed:
    return DialFailed(CONNECTION, PEER, reason, status, code=code)


def post_failed(reason: str = "no answer", status: int | None = None, code: str = "") -> PostFailed:
    return PostFailed(ConnectionId(-1), PEER, reason, status, code=code)


def fallback(cause: FallbackCause = "no_connection", reason: str = "refused") -> FallbackChosen:
    return FallbackChosen(PEER, cause, reason)


RETRY = ReconnectScheduled(PEER, Micros(2 * SECOND), "refused")
ANSWERED = PostAnswered(ConnectionId(-1), PEER)
UNSENT = SendFailed(PEER, PredictionMessage(predictions=(PREDICTION,)), "there is no session")
DEAD = (dial_failed(), RETRY, fallback(), post_failed(), UNSENT)


def test_a_validator_that_is_dead_is_one_warning_with_its_cure() -> None:
    bench = Bench("miner")
    assert bench.news(*DEAD) == [
        f"WARNING No WebSocket connection with validator {KNOWN}: refused (check that the validator is running, its "
        "address and port, and any firewall in between)",
        f"INFO Reconnecting to validator {KNOWN} in 2.0 s",
    ]
    assert bench.news(*DEAD * 10) == []
    (told, _) = bench.news(dial_failed("timed out"), RETRY)
    assert "timed out" in told


def test_the_single_tries_are_at_debug() -> None:
    bench = Bench("miner")
    bench.observe(*DEAD)
    bench.advance(2)
    lines = bench.during(lambda: bench.observe(*DEAD), LineLogged)
    assert [line.level for line in lines] == ["DEBUG"] * 5
    assert [line.text.partition(PEER)[0] for line in lines] == [
        "No WebSocket connection with validator ",
        "Reconnecting to validator ",
        "Using HTTP with validator ",
        "An HTTP request to validator ",
        "Not sent to ",
    ]


def test_the_end_of_an_outage_says_how_long_it_was() -> None:
    bench = Bench("miner")
    bench.observe(*DEAD)
    bench.advance(720)
    assert bench.news(ACTIVATED) == [
        f"INFO WebSocket connection established with validator {KNOWN}",
        f"INFO Validator {KNOWN} answers by WebSocket again after 12 min",
    ]
    assert bench.news(dial_failed())[0].startswith("WARNING")


def test_an_answer_by_http_is_told_once_and_what_the_websocket_then_says_is_another_cause() -> None:
    bench = Bench("miner")
    bench.observe(*DEAD)
    bench.advance(120)
    assert bench.news(ANSWERED, ANSWERED) == [f"INFO Validator {KNOWN} answers by HTTP again after 2 min"]
    disabled = dial_failed("404 websocket_disabled", 404, RefusalCode.WEBSOCKET_DISABLED)
    assert len(bench.news(disabled, RETRY, disabled, RETRY)) == 2


def test_a_websocket_that_is_refused_while_http_works_is_one_warning() -> None:
    bench = Bench("miner")
    refused = dial_failed("400 no_upgrade: ...", 400, RefusalCode.NO_UPGRADE)
    (told, _) = bench.news(refused, RETRY, fallback(), ANSWERED, UNSENT, ANSWERED)
    assert (
        "400 no_upgrade: ... (ask the validator's operator to have the proxy pass them on; for nginx: proxy_http"
        in told
    )
    bench.advance(300)
    assert bench.news(refused) == []
    (summary,) = bench.later(3300)
    assert summary == f"INFO 1 validator has answered by HTTP alone for 60 min: {NAMED}; `bettensor peers` says why"


def test_a_miner_that_uses_http_alone_has_no_warning_while_all_is_accepted() -> None:
    bench = Bench("miner")
    assert bench.news(fallback("disabled", "the WebSocket is disabled here")) == [
        f"INFO Using HTTP with validator {KNOWN} because its WebSocket does not work: the WebSocket is disabled here "
        "(set websocket.enabled: true on this miner to use the WebSocket again)"
    ]
    assert bench.news(*[UNSENT, ANSWERED] * 10) == []
    (told,) = bench.news(post_failed(), post_failed(), UNSENT)
    assert told.startswith(f"WARNING An HTTP request to validator {KNOWN} failed: no answer (check that the validator")
    bench.advance(60)
    assert bench.news(ANSWERED) == [f"INFO Validator {KNOWN} answers by HTTP again after 1 min"]
    assert bench.later(3600) == []


def test_a_session_that_was_closed_for_a_cause_with_a_cure_is_the_one_warning_of_it() -> None:
    bench = Bench("miner")
    bench.observe(ACTIVATED)
    blacklisted = "403", 403, RefusalCode.BLACKLISTED
    told = bench.news(
        ConnectionClosed(CONNECTION, 4003, "blacklisted here"),
        RETRY,
        fallback(reason="closed with 4003"),
        post_failed(*blacklisted),
        dial_failed(*blacklisted),
        RETRY,
    )
    assert told == [
        f"WARNING WebSocket connection with {KNOWN} closed: 4003 blacklisted here (the validator's operator has "
        "blacklisted this hotkey: ask them)",
        f"INFO Reconnecting to validator {KNOWN} in 2.0 s",
    ]


def test_after_a_session_the_next_try_is_told_though_http_has_failed_before() -> None:
    bench = Bench("miner")
    bench.observe(ACTIVATED, post_failed())
    assert bench.news(ConnectionClosed(CONNECTION, 4100, "silent"), RETRY, dial_failed(), RETRY) == [
        f"INFO WebSocket connection with {KNOWN} closed: 4100 silent",
        f"INFO Reconnecting to validator {KNOWN} in 2.0 s",
    ]


def test_a_long_wait_after_a_close_is_told_once() -> None:
    bench = Bench("miner")
    bench.observe(ACTIVATED)
    (told,) = bench.news(fallback(reason="closed with 1008"), fallback(reason="closed with 1008"))
    assert told.startswith("WARNING Using HTTP with validator")


@pytest.mark.parametrize(("cause", "level"), [("no_session", "INFO"), ("no_verdict", "WARNING")])
def test_a_session_that_has_just_ended_is_no_trouble_yet_and_one_without_verdicts_is(
    cause: FallbackCause, level: str
) -> None:
    assert Bench("miner").news(fallback(cause))[0].startswith(f"{level} Using HTTP with validator")


def test_every_hour_the_validators_that_do_not_answer_are_summed_up_by_name() -> None:
    bench = Bench("miner")
    silent = [make_hotkey(f"v{n:02}") for n in range(12)]
    refusing = make_hotkey("refusing")
    neurons = tuple(NeuronInfo(Uid(n), hotkey) for n, hotkey in enumerate([*silent, refusing]))
    failures = [DialFailed(CONNECTION, hotkey, "refused") for hotkey in silent]
    failures.append(DialFailed(CONNECTION, refusing, "403", 403, code=RefusalCode.BLACKLISTED))
    bench.observe(MetagraphSynced(neurons), *failures)
    told: list[str] = []
    for _ in range(24):
        told += [line for line in bench.later(300) if not line.startswith("DEBUG")]
        bench.observe(*failures)
    assert [line.partition(":")[0] for line in told] == [
        "WARNING 12 validators have not answered for 60 min",
        "WARNING 1 validator has refused this miner for 60 min",
        "WARNING 12 validators have not answered for 2 h",
        "WARNING 1 validator has refused this miner for 2 h",
    ]
    assert told[0].startswith(f"WARNING 12 validators have not answered for 60 min: {short(silent[0])} (UID: 0), ")
    assert told[0].endswith(f"{short(silent[9])} (UID: 9) and 2 more; `bettensor peers` says why")


def test_who_has_left_the_metagraph_or_is_not_tried_any_more_is_not_summed_up() -> None:
    bench = Bench("miner")
    bench.observe(*DEAD, DialFailed(CONNECTION, STRANGER, "refused"))
    bench.advance(3599)
    assert bench.later(1) == []
    assert bench.news(dial_failed())[0].startswith("WARNING")


@pytest.mark.parametrize("event", DEAD, ids=lambda event: type(event).__name__)
def test_without_summaries_each_failure_has_its_line(event: Event) -> None:
    bench = Bench("miner", summary_interval=None)
    for _ in range(3):
        (line,) = bench.news(event)
        assert line.startswith("INFO Reconnecting" if event is RETRY else "WARNING ")
        bench.advance(2)


def test_without_summaries_each_failure_of_the_chain_has_its_line() -> None:
    bench = Bench(summary_interval=None)
    for _ in range(3):
        assert len(bench.news(ChainFailed("silent", Micros(0)))) == 1
        bench.advance(2)


def test_summaries_may_be_switched_off_in_an_outage() -> None:
    bench = Bench("miner")
    bench.observe(*DEAD, SettingsReloaded({"logbook": {"summary_interval": None}}, ("x",), ()))
    assert bench.later(3600) == []


def test_a_contested_announcement_is_told_once() -> None:
    bench = Bench("miner")
    contests = [AnnouncementContested("1.2.3.4:5", "1.2.3.4:6", NOW, NOW, False, Micros(0), n) for n in range(3)]
    (line,) = bench.news(*contests)
    assert line.startswith("WARNING Another process of this hotkey announces its own endpoint: ")
    assert line.endswith("(stop one of the two, set synapse.serve: false in one, or give both the same IP and port)")


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_the_right_endpoint_is_this_roles(role: Role) -> None:
    (line,) = Bench(role).lines(EndpointDoubted(""))
    assert line == f"The metagraph has the right endpoint for this {role} again"


def test_what_an_answer_repeats_is_told_once_and_a_rejection_without_a_code_has_its_words() -> None:
    bench = Bench("miner")
    prediction = make_prediction(prediction_id="p")
    pushed = FrameWritten(CONNECTION, PEER, PredictionMessage(predictions=(prediction,)), 300, "synapse")
    assert bench.news(pushed, pushed, pushed) == ["INFO Pushed prediction p via Synapse"]
    rejected = VerdictReceived(PEER, prediction, False, REJECTED, "odds", Micros(0))
    assert bench.news(rejected) == ["WARNING Prediction p rejected: odds"]
    assert bench.news(pushed) == ["INFO Pushed prediction p via Synapse"]


def test_a_validator_that_a_miner_refuses_each_time_is_told_once_for_each_status() -> None:
    bench = Bench("miner")
    without, late = (QueryRefused(CONNECTION, status, "no", "10.0.0.9", PEER) for status in (403, 401))
    assert [line[:7] for line in bench.news(without, without, without, late)] == ["WARNING", "WARNING"]
    stranger = QueryRefused(CONNECTION, 403, "no", "10.0.0.9", STRANGER)
    for _ in range(2):  # whom the subnet does not have
        bench.later(2)
        assert len(bench.news(stranger)) == 1
    bench.later(2)
    bench.observe(MetagraphSynced((NeuronInfo(Uid(12), STRANGER),)), MetagraphSynced((NeuronInfo(Uid(12), PEER),)))
    assert [line[:7] for line in bench.news(late)] == ["WARNING"]


def test_a_neuron_that_asks_over_synapse_is_told_once_while_it_is_in_the_subnet() -> None:
    bench = Bench()
    queries = [SynapseAsked(CONNECTION, hotkey, "1.2.3.4") for hotkey in (PEER, PEER, STRANGER, None)]
    (line,) = bench.news(*queries)
    told = "asked this validator over Synapse and got 404: validators answer no queries"
    assert line == f"INFO An existing neuron, 1.2.3.4 ({KNOWN}), {told}"
    assert bench.news(MetagraphSynced((NeuronInfo(Uid(12), PEER),)), *queries)[1:] == []
    bench.observe(MetagraphSynced((NeuronInfo(Uid(12), STRANGER),)))
    assert [line[:4] for line in bench.news(*queries)] == ["INFO"]


# --- existing miners

ASKED = AxonQueryRequested(ConnectionId(-1), PEER, "203.0.113.7:8091")
SILENT = AxonFailed(ConnectionId(-1), PEER, "203.0.113.7:8091: no answer within 12 s")


def test_a_miner_that_does_not_answer_is_told_once_for_each_cause_and_that_it_does_again() -> None:
    bench = Bench()
    assert [line.partition(" via ")[0] for line in bench.news(SILENT)] == [f"INFO Miner {KNOWN} gave no answer"]
    assert "nothing to do here" in bench.lines(replace(SILENT, reason="no answer within 13 s"))[0]  # at DEBUG
    assert bench.news(SILENT) == []
    refused = AxonFailed(ConnectionId(-2), PEER, "203.0.113.7:8091: 403 no permit", 403)
    (told,) = bench.news(refused)
    assert told.startswith(f"WARNING Miner {KNOWN} gave no answer via Synapse: 203.0.113.7:8091: 403 no permit (")
    assert bench.news(replace(refused, reason="403 other words")) == []
    bench.advance(120)
    assert bench.news(AxonAnswered(ConnectionId(-3), PEER, ())) == [
        f"INFO Miner {KNOWN} answers via Synapse after 2 min"
    ]
    assert bench.news(AxonAnswered(ConnectionId(-4), PEER, ())) == []


def test_a_miner_that_takes_no_confirmation_is_told_once_though_it_answers() -> None:
    bench = Bench()
    confirm = AxonConfirmRequested(ConnectionId(-1), PEER, "", (Result(PredictionId("p1"), True, ""),), {})
    failed = AxonFailed(ConnectionId(-1), PEER, "500 KeyError", 500)
    assert bench.news(confirm, failed) == [f"INFO Miner {KNOWN} took no confirmation via Synapse: 500 KeyError"]
    assert bench.news(AxonAnswered(ConnectionId(-1), PEER, ()), confirm, failed) == []
    assert bench.news(confirm, AxonConfirmed(ConnectionId(-1), PEER)) == [
        "INFO Sent confirmation for prediction p1 via Synapse"
    ]
    assert len(bench.news(confirm, failed)) == 1


def test_what_is_left_out_of_an_answer_and_who_is_not_asked_is_at_debug() -> None:
    bench = Bench()
    answered = AxonAnswered(ConnectionId(-1), PEER, (), (LeftOut("a b", "its prediction_id must be its key"),))
    passed_over = AxonPassedOver(PEER, "10.0.0.7:1", "10.0.0.7:1 is no public address")
    assert bench.news(answered, passed_over) == []
    assert bench.lines(answered) == [
        f"A prediction of miner {KNOWN} cannot be read, and has no verdict: 'a b': its prediction_id must be its key"
    ]
    assert bench.lines(passed_over) == [f"Miner {KNOWN} is not asked via Synapse: 10.0.0.7:1 is no public address"]


def test_an_exchange_that_fails_here_names_its_miner_and_is_no_websocket() -> None:
    bench = Bench()
    later = replace(ASKED, connection=ConnectionId(-2))
    refused = MessageRefused(ConnectionId(-2), "a" * 32, "internal", "the disk is full")
    assert bench.lines(ASKED, later, refused) == [f"Not accepted from {KNOWN}: the disk is full"]
    bench.advance(1)
    assert bench.lines(replace(refused, connection=ConnectionId(-1))) == ["Not accepted from a peer: the disk is full"]
    assert bench.lines(ConnectionClosed(ConnectionId(-2), 4000, "a bug")) == []


def test_of_existing_miners_only_those_in_the_metagraph_are_remembered() -> None:
    bench = Bench()
    bench.observe(ASKED, replace(SILENT, hotkey=STRANGER), SILENT)
    bench.observe(MetagraphSynced((NeuronInfo(Uid(12), ME),)))
    state = bench.actor.state
    assert (state.asked, state.peers, state.silent) == ({}, {}, {})


KEY = "ab" * 32


def test_the_certificate_in_force_is_told_with_its_faults_and_before_it_expires() -> None:
    bench = Bench()
    until = Micros(NOW + 20 * DAY)
    told = bench.news(CertificateLoaded(KEY, ("bets.example.org", "203.0.113.7"), until, ("chmod it",)))
    assert told == [
        f"INFO TLS certificate of this validator: key {KEY}, for bets.example.org, 203.0.113.7, valid until "
        f"{rfc3339(until)[:19]}Z",
        "WARNING TLS certificate: chmod it",
    ]
    assert bench.later(5 * 86_400) == []
    assert bench.later(2 * 86_400) == [
        f"WARNING The TLS certificate expires at {rfc3339(until)[:19]}Z (put a new one in its place, which is noticed "
        "at once)"
    ]


def test_a_certificate_that_is_replaced_in_time_does_not_expire_in_the_log() -> None:
    bench = Bench()
    bench.lines(CertificateLoaded(KEY, (), Micros(NOW + 20 * DAY)))
    bench.lines(CertificateLoaded(KEY, (), Micros(NOW + 90 * DAY)))
    assert bench.later(30 * 86_400) == []


def test_a_proxys_key_and_a_refused_certificate_are_told() -> None:
    bench = Bench()
    (told,) = bench.news(CertificateLoaded(KEY, of_proxy=True))
    assert told == f"INFO TLS certificate of the proxy, where TLS ends: key {KEY}"
    (told,) = bench.news(CertificateRefused("axon.tls.key: x is empty"))
    assert told == (
        "ERROR The new TLS certificate cannot be used, so the old one stays in force: axon.tls.key: x is empty"
    )


def test_a_miner_tells_how_it_connects_and_what_it_does_not_trust() -> None:
    bench = Bench("miner")
    peer = f"{PEER} (UID: 12)"
    assert bench.news(TlsLearned(PEER, Tls(KEY))) == [
        f"INFO Validator {peer} has TLS, and has signed for the key {KEY}: this miner connects by TLS"
    ]
    assert bench.news(TlsLearned(PEER, Tls(roots=True))) == [
        f"INFO Validator {peer} has TLS, whose key it does not sign for; the system's roots vouch for it: this miner "
        "connects by TLS"
    ]
    assert bench.news(TlsLearned(PEER, None)) == []
    assert bench.lines(TlsLearned(PEER, None)) == [f"Validator {peer} offers no TLS"]
    assert bench.news(CertificateDoubted(PEER, "it is another")) == [
        f"ERROR The TLS of validator {peer} is not trusted: it is another ({FOREIGN_CERTIFICATE})"
    ]
    assert bench.news(CloseRequested(ConnectionId(1), CloseCode.NORMAL, DIALLED_BY_TLS)) == []


@pytest.mark.parametrize(("trouble", "cure"), [("handshake", TLS_DEMANDED), ("other_key", OTHER_KEY)])
def test_trouble_with_tls_has_a_cure_of_its_own(trouble: TlsTrouble, cure: str) -> None:
    (told,) = Bench("miner").news(DialFailed(ConnectionId(1), PEER, "no", tls=trouble))
    assert told == f"WARNING No WebSocket connection with validator {PEER} (UID: 12): no ({cure})"
