"""Which neurons speak Synapse alone, and how a miner treats them on its other roads."""

import pytest

from bettensor.actors.existing import LATELY, LONGEST_WAIT
from bettensor.actors.logbook import LogbookActor
from bettensor.actors.miner.http_fallback import HttpFallbackActor, HttpFallbackSettings
from bettensor.actors.miner.reconnect import ReconnectActor
from bettensor.actors.monitor import MonitorActor
from bettensor.actors.settings import WebSocketSettings
from bettensor.bus.codes import AXON, CloseCode, RefusalCode
from bettensor.bus.events import (
    ConnectionClosed,
    DialFailed,
    DialRequested,
    FallbackChosen,
    GamesRequested,
    KnownSlate,
    LineLogged,
    ListeningBegun,
    MetagraphFetched,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    OutboxOpened,
    PostAnswered,
    PostFailed,
    PostRequested,
    QueryAdmitted,
    ReconnectScheduled,
    SendFailed,
    SessionActivated,
    SlateQueried,
    StatusReported,
    StatusRequested,
    TlsLearned,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, LedgerId, Offset, Uid
from bettensor.bus.messages import PredictionMessage
from bettensor.bus.synapse import SYNAPSE_EPOCH, LeftOut
from tests.actors.miner.messages import ME, OTHER, SESSION, VALIDATOR
from tests.support import NETUID, Harness, make_game, make_prediction

QUESTION = ConnectionId(1 << 40)
HOUR = LATELY / SECOND
REFUSED = "203.0.113.7:8091: Connection refused"


class Bench(Harness):
    """A miner's actors that deal with a validator which may speak Synapse alone."""

    def __init__(self, fallback: HttpFallbackSettings | None = None) -> None:
        self.logbook = LogbookActor()
        super().__init__(ReconnectActor(), HttpFallbackActor(fallback), MonitorActor(), self.logbook)
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", seed=1))
        neurons = (
            NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, axon="203.0.113.7:8091"),
            NeuronInfo(Uid(1), ME),
        )
        self.observe(MetagraphFetched(neurons), MetagraphSynced(neurons))

    def ask(self) -> None:
        self.observe(QueryAdmitted(QUESTION, VALIDATOR))

    def fail_dial(self, status: int | None = None, code: str = "") -> None:
        self.observe(DialFailed(self.last(DialRequested).connection, VALIDATOR, REFUSED, status, code=code))
        self.advance(0)  # the fallback polls by a timer that is due at once

    def fail_poll(self, status: int | None = None, code: str = "") -> None:
        self.observe(PostFailed(self.last(GamesRequested).connection, VALIDATOR, REFUSED, status, code=code))

    def lines(self, level: str) -> list[str]:
        return [line.text for line in self.all(LineLogged) if line.level == level]

    def peer(self) -> dict[str, object]:
        self.observe(StatusRequested(1))
        (peer,) = [peer for peer in self.last(StatusReported).status["peers"] if peer["hotkey"] == VALIDATOR]
        return dict(peer)

    def keep_failing(self, hours: int) -> None:
        """Its endpoint stays dead, while it asks every 8 minutes."""
        for _ in range(hours * 60 // 8):
            self.ask()
            dialled = len(self.all(DialRequested))
            self.advance(480)
            if len(self.all(DialRequested)) > dialled:
                self.fail_dial()


def test_a_dead_endpoint_of_a_validator_that_asks_is_told_once_and_is_no_fault() -> None:
    bench = Bench()
    bench.ask()
    bench.fail_dial()
    bench.keep_failing(hours=24)
    assert bench.lines("WARNING") == []
    told = [line for line in bench.lines("INFO") if "speaks Synapse" in line]
    assert told == [
        f"Validator {VALIDATOR} (UID: 0) speaks Synapse: it asks this miner, and its endpoint is silent; "
        "this miner tries that once an hour"
    ]
    assert len(bench.all(DialRequested)) < 24 * 4  # with full jitter, every half hour on average
    assert bench.all(FallbackChosen) == []
    assert bench.all(GamesRequested) == []
    assert not any("Reconnecting" in line for line in bench.lines("INFO"))


def test_peers_shows_how_it_is_heard() -> None:
    bench = Bench()
    bench.fail_dial()
    assert bench.peer()["state"] == "not connected"
    bench.ask()
    bench.advance(180)
    bench.fail_dial()
    peer = bench.peer()
    assert (peer["state"], peer["transport"]) == ("by Synapse", "synapse")
    assert (peer["trouble"], peer["cure"], peer["asked_s"]) == ("", "", 180)
    bench.advance(HOUR)
    bench.fail_dial()
    assert (bench.peer()["state"], bench.peer()["trouble"]) == ("not connected", REFUSED)


def test_an_outage_that_began_before_its_first_question_ends_with_it() -> None:
    bench = Bench()
    bench.fail_dial()
    bench.fail_poll()
    assert len(bench.lines("WARNING")) == 1
    assert VALIDATOR in bench.logbook.state.outages
    bench.ask()
    assert bench.logbook.state.outages == {}
    assert "speaks Synapse" in bench.lines("INFO")[-1]
    polls = len(bench.all(GamesRequested))
    bench.keep_failing(hours=3)
    assert len(bench.lines("WARNING")) == 1  # no summary either
    assert len(bench.all(GamesRequested)) == polls


def test_its_predictions_wait_for_its_next_question() -> None:
    bench = Bench()
    bench.ask()
    bench.fail_dial()
    message = PredictionMessage(predictions=(make_prediction(),))
    bench.observe(SendFailed(VALIDATOR, message, "there is no session"))
    bench.advance(60)
    assert bench.all(PostRequested) == []


def test_a_post_that_failed_is_not_repeated_once_it_asks() -> None:
    bench = Bench()
    bench.fail_dial()
    message = PredictionMessage(predictions=(make_prediction(),))
    bench.observe(TlsLearned(VALIDATOR, None))
    for _ in range(2):  # the first one only has the outbox say what it has
        bench.observe(SendFailed(VALIDATOR, message, "there is no session"))
    posted = bench.last(PostRequested)
    bench.ask()
    bench.observe(PostFailed(posted.connection, VALIDATOR, REFUSED))
    bench.advance(600)
    assert len(bench.all(PostRequested)) == 1


def test_a_websocket_wins_as_soon_as_it_opens() -> None:
    bench = Bench()
    bench.ask()
    bench.fail_dial()
    bench.advance(LONGEST_WAIT)
    bench.observe(SessionActivated(bench.last(DialRequested).connection, VALIDATOR, Uid(0), SESSION))
    peer = bench.peer()
    assert (peer["state"], peer["transport"], peer["trouble"]) == ("connected", "websocket", "")
    bench.observe(DialFailed(bench.last(DialRequested).connection, VALIDATOR, REFUSED))
    assert len(bench.lines("WARNING")) == 1  # an outage from now on: it is a new validator


def test_what_answers_in_our_protocol_is_no_existing_validator() -> None:
    bench = Bench()
    bench.ask()
    bench.fail_dial(403, RefusalCode.NOT_REGISTERED)
    assert bench.last(ReconnectScheduled).delay <= 300 * SECOND
    assert len(bench.lines("WARNING")) == 1
    bench.observe(PostAnswered(bench.last(GamesRequested).connection, VALIDATOR))
    bench.ask()
    bench.advance(30)
    assert len(bench.all(GamesRequested)) > 1  # HTTP works, and goes on


def test_one_that_answers_by_http_after_all_is_dialled_as_any_other_validator() -> None:
    bench = Bench()
    bench.ask()
    bench.fail_dial()
    bench.keep_failing(hours=6)
    assert max(scheduled.delay for scheduled in bench.all(ReconnectScheduled)[-3:]) > 300 * SECOND
    bench.observe(PostAnswered(ConnectionId(-1), VALIDATOR))
    scheduled = bench.all(ReconnectScheduled)
    assert scheduled[-1].delay <= 5 * SECOND
    dialled = len(bench.all(DialRequested))
    bench.advance(5)
    assert len(bench.all(DialRequested)) == dialled + 1
    bench.observe(PostAnswered(ConnectionId(-1), VALIDATOR))  # while it is dialled
    assert bench.all(ReconnectScheduled) == scheduled


@pytest.mark.parametrize("is_recalled", [False, True])
def test_a_validator_of_ours_that_asks_too_is_dialled_as_ever(is_recalled: bool) -> None:
    """It asks because its session broke: its WebSocket must be back within minutes, and not within an hour."""
    bench = Bench()
    if is_recalled:
        bench.observe(OutboxOpened((), (), ledgers=((VALIDATOR, LedgerId("1" * 32)),)))
        bench.ask()
        bench.fail_dial()
    else:
        bench.observe(SessionActivated(bench.last(DialRequested).connection, VALIDATOR, Uid(0), SESSION))
        bench.observe(ConnectionClosed(bench.last(DialRequested).connection, CloseCode.ABNORMAL, ""))
        bench.ask()
    bench.keep_failing(hours=3)
    assert max(scheduled.delay for scheduled in bench.all(ReconnectScheduled)) <= 300 * SECOND
    assert bench.all(GamesRequested)


def test_an_axon_in_the_place_of_a_validator_of_ours_is_an_existing_neuron_again() -> None:
    bench = Bench()
    bench.observe(OutboxOpened((), (), ledgers=((VALIDATOR, LedgerId("1" * 32)),)))
    bench.fail_dial(404, AXON)
    bench.ask()
    bench.keep_failing(hours=6)
    assert max(scheduled.delay for scheduled in bench.all(ReconnectScheduled)[-3:]) > 300 * SECOND


def test_where_nothing_is_dialled_http_finds_a_validator_that_has_migrated() -> None:
    bench = Bench(HttpFallbackSettings(websocket=WebSocketSettings(enabled=False)))
    bench.ask()
    bench.advance(0)
    bench.fail_poll()
    bench.ask()
    polled = len(bench.all(GamesRequested))
    bench.advance(300)
    assert len(bench.all(GamesRequested)) > polled


def test_when_it_has_stopped_asking_its_outage_counts_again() -> None:
    bench = Bench()
    bench.ask()
    bench.fail_dial()
    assert bench.lines("WARNING") == []
    bench.advance(HOUR + LONGEST_WAIT)
    bench.fail_dial()
    assert len(bench.lines("WARNING")) == 1
    bench.ask()
    assert sum("speaks Synapse" in line for line in bench.lines("INFO")) == 2


def test_after_a_restart_its_last_slate_says_that_it_will_ask() -> None:
    bench = Bench()
    bench.observe(OutboxOpened((), (KnownSlate(VALIDATOR, SYNAPSE_EPOCH, Offset(3), (make_game(),)),)))
    bench.fail_dial()
    assert bench.lines("WARNING") == []
    assert bench.all(GamesRequested) == []
    assert bench.last(ReconnectScheduled).hotkey == VALIDATOR


@pytest.mark.parametrize("status", [None, 403])
def test_an_existing_miner_with_a_permit_is_told_once_and_dialled_once_an_hour(status: int | None) -> None:
    """Its Axon refuses a WebSocket without a word, and HTTP in its own form."""
    bench = Bench()
    bench.fail_dial(403)
    bench.fail_poll(404, AXON)
    for _ in range(48):
        bench.advance(LONGEST_WAIT / 2)
        bench.fail_dial(status)
    told = [line for line in bench.lines("INFO") if "speaks Synapse" in line]
    assert told == [
        f"{VALIDATOR} (UID: 0) has an Axon where a validator would listen: it speaks Synapse alone; "
        "this miner tries that once an hour"
    ]
    assert len(bench.lines("WARNING")) == 1  # the first dial, before it was known
    assert len(bench.all(GamesRequested)) == 1
    assert "an existing neuron listens there" in str(bench.peer()["cure"]) or status is None


def test_a_validator_of_which_nothing_is_known_is_treated_as_before() -> None:
    bench = Bench()
    bench.observe(QueryAdmitted(QUESTION, OTHER))
    bench.fail_dial()
    assert len(bench.lines("WARNING")) == 1
    assert bench.all(GamesRequested)


def test_what_never_answered_is_no_warning_an_hour_of_a_miner_that_existing_neurons_ask() -> None:
    """It may be an existing miner with a permit whose port is closed."""
    for listens, level in ((True, "INFO"), (False, "WARNING")):
        bench = Bench()
        if listens:
            bench.observe(ListeningBegun("0.0.0.0:8091"))
        for _ in range(10):
            bench.advance(500)
            bench.fail_dial()
        told = [(line.level, line.text) for line in bench.all(LineLogged) if "answered for" in line.text]
        assert [line for line, _ in told] == [level]


def test_a_validator_that_answered_before_is_missed_each_hour() -> None:
    bench = Bench()
    bench.observe(ListeningBegun("0.0.0.0:8091"))
    bench.observe(SessionActivated(bench.last(DialRequested).connection, VALIDATOR, Uid(0), SESSION))
    for _ in range(10):
        bench.fail_dial()
        bench.advance(500)
    assert sum("has not answered for" in line for line in bench.lines("WARNING")) == 1


def test_an_unreadable_game_is_told_once() -> None:
    bench = Bench()
    for reason in ("odds", "odds", "teams"):
        bench.observe(SlateQueried(QUESTION, VALIDATOR, (), (LeftOut("1001", reason),)))
    assert [line.rpartition(" ")[2] for line in bench.lines("WARNING")] == ["odds", "teams"]
