"""ValidatorSynapseActor: whom a validator asks and when, whose the answers are, and what is confirmed."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.settings import ValidatorSynapseSettings
from bettensor.actors.supervisor import SupervisorActor
from bettensor.actors.validator.connection import ValidatorConnectionActor
from bettensor.actors.validator.prediction import PredictionActor
from bettensor.actors.validator.synapse import (
    LONGEST_REST,
    MOST_SUBMITTED,
    PORTION,
    AskingSettings,
    ValidatorSynapseActor,
)
from bettensor.bus.events import (
    ActorFailed,
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonPassedOver,
    AxonQueryRequested,
    BlacklistLoaded,
    CloseRequested,
    ConnectionClosed,
    GamesUpdated,
    MetagraphSource,
    MetagraphSynced,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    PeerAuthenticated,
    PeerRefused,
    PredictionSubmitted,
    ReadingPaused,
    SessionActivated,
    SettingsReloaded,
    TimerRequested,
    WriteRequested,
)
from bettensor.bus.games import Prediction
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, Hotkey, Offset, SessionId, Uid
from bettensor.bus.synapse import STATS
from bettensor.neurons.simulation import SimulatedLedger
from tests.support import NETUID, Harness, make_game, make_hotkey, make_prediction

ME, OLD, OTHER = make_hotkey("validator"), make_hotkey("old"), make_hotkey("other")
INTERVAL = 60.0


def at(host: str, uid: int = 0, hotkey: Hotkey = OLD, **changes: Any) -> NeuronInfo:
    return NeuronInfo(Uid(uid), hotkey, axon=host, **changes)


class Bench(Harness):
    """A validator's actors and ledger, without a network: the test is the existing miners."""

    def __init__(self, *neurons: NeuronInfo, ready: bool = True, **settings: Any) -> None:
        given = ValidatorSynapseSettings(**({"enabled": True, "query_interval": INTERVAL} | settings))
        self.actor = ValidatorSynapseActor(AskingSettings(synapse=given))
        actors = PredictionActor(), ValidatorConnectionActor(), self.actor
        super().__init__(*actors, SupervisorActor(actors))
        self.ledger = SimulatedLedger(self.clock)
        self.add(self.ledger)
        self.observe(NeuronStarted("validator", NETUID, ME, "sr25519", 0))
        if ready:
            self.offer()
            self.sync(*(neurons or (at("203.0.113.7:8091"),)))

    def offer(self) -> None:
        self.observe(GamesUpdated(ME, Epoch("e" * 32), Offset(1), (make_game(),), snapshot=True))

    def sync(self, *neurons: NeuronInfo, source: MetagraphSource = "file") -> None:
        self.observe(MetagraphSynced(neurons, (), source))

    def asked(self) -> list[Hotkey]:
        return [event.hotkey for event in self.all(AxonQueryRequested)]

    def question(self) -> ConnectionId:
        """The connection of the newest question, for which time passes if there is none yet."""
        return self.last(AxonQueryRequested).connection

    def next_question(self, rounds: float = 1) -> ConnectionId:
        """Let these rounds pass, in which one question comes."""
        asked = self.during(lambda: self.advance(rounds * INTERVAL), AxonQueryRequested)
        assert len(asked) == 1
        return asked[0].connection

    def answer(self, *predictions: Prediction, hotkey: Hotkey = OLD) -> None:
        self.observe(AxonAnswered(self.question(), hotkey, predictions))

    def fail(self, status: int | None = None) -> None:
        self.observe(AxonFailed(self.question(), OLD, "no answer", status))

    def confirm(self) -> None:
        request = self.last(AxonConfirmRequested)
        self.observe(AxonConfirmed(request.connection, request.hotkey))

    def timers_set(self) -> list[TimerRequested]:
        return [event for event in self.all(TimerRequested) if event.owner == "synapse"]

    def told(self) -> list[dict[str, tuple[bool, str]]]:
        """The verdicts of each confirmation."""
        return [
            {result.prediction_id: (result.success, result.message) for result in event.results}
            for event in self.all(AxonConfirmRequested)
        ]


# --- whom


def test_an_existing_miner_is_asked_once_each_interval_in_its_slot() -> None:
    bench = Bench(at("203.0.113.7:8091", uid=30), at("203.0.113.8:8091", uid=0, hotkey=OTHER))
    asked_at = []
    for _ in range(4 * int(INTERVAL)):
        for event in bench.during(lambda: bench.advance(1), AxonQueryRequested):
            asked_at.append((event.hotkey, bench.clock.mono() / SECOND))
            bench.observe(AxonAnswered(event.connection, event.hotkey, ()))
    assert [moment for hotkey, moment in asked_at if hotkey == OLD] == [30, 90, 150, 210]
    assert [moment for hotkey, moment in asked_at if hotkey == OTHER] == [60, 120, 180, 240]


def test_a_permit_keeps_nobody_from_being_asked_but_we_are_not_asked_ourselves() -> None:
    bench = Bench(
        at("203.0.113.7:8091", validator_permit=True),
        at("203.0.113.9:8091", uid=1, hotkey=ME),
        NeuronInfo(Uid(2), OTHER),
    )
    bench.advance(INTERVAL)
    assert bench.asked() == [OLD]


def test_nobody_is_asked_before_there_are_games_and_neurons_or_if_it_is_disabled() -> None:
    bench = Bench(ready=False)
    bench.sync(at("203.0.113.7:8091"))
    bench.advance(3 * INTERVAL)
    assert bench.timers_set() == []
    bench.offer()
    bench.advance(INTERVAL)
    assert bench.asked() == [OLD]
    other = Bench(ready=False)
    other.offer()
    other.advance(3 * INTERVAL)
    other.sync(at("203.0.113.7:8091"))
    other.advance(INTERVAL)
    assert other.asked() == [OLD]
    disabled = Bench(enabled=False)
    disabled.observe(PeerAuthenticated(ConnectionId(1), OLD, Uid(0), "sr25519", "games", SessionId(""), "", ""))
    disabled.observe(SessionActivated(ConnectionId(2), OLD, Uid(0), SessionId("")))
    disabled.advance(3 * INTERVAL)
    assert disabled.timers_set() == []
    assert not disabled.actor.state.contacts
    assert not disabled.actor.state.sessions


def test_who_speaks_for_itself_is_not_asked() -> None:
    bench = Bench()
    authenticated = PeerAuthenticated(ConnectionId(1), OLD, Uid(0), "sr25519", "games", SessionId("0" * 32), "", "")
    bench.advance(INTERVAL / 2)
    bench.observe(authenticated)
    bench.advance(2 * INTERVAL)
    assert bench.asked() == []  # for two intervals after its contact
    bench.advance(INTERVAL)
    assert bench.asked() == [OLD]
    bench.answer()
    bench.observe(SessionActivated(ConnectionId(2), OLD, Uid(0), SessionId("0" * 32)))
    bench.advance(5 * INTERVAL)
    assert bench.asked() == [OLD]
    bench.observe(SessionActivated(ConnectionId(3), OLD, Uid(0), SessionId("0" * 32)))
    bench.observe(ConnectionClosed(ConnectionId(2), 1000, ""), ConnectionClosed(ConnectionId(9), 1000, ""))
    bench.advance(5 * INTERVAL)
    assert bench.asked() == [OLD]  # its newer session lasts
    bench.observe(ConnectionClosed(ConnectionId(3), 1000, ""))
    bench.advance(2 * INTERVAL)
    assert bench.asked() == [OLD]
    bench.advance(INTERVAL)
    assert bench.asked() == [OLD, OLD]


def test_who_has_left_the_metagraph_is_forgotten() -> None:
    bench = Bench()
    bench.observe(PeerAuthenticated(ConnectionId(1), OLD, Uid(0), "sr25519", "games", SessionId("0" * 32), "", ""))
    bench.sync(at("203.0.113.8:8091", hotkey=OTHER))
    bench.advance(2 * INTERVAL)
    assert set(bench.asked()) == {OTHER}
    assert OLD not in bench.actor.state.contacts


@pytest.mark.parametrize(
    "blacklist",
    [
        BlacklistLoaded((OLD,)),
        BlacklistLoaded((), ("5cold",)),
        BlacklistLoaded((), (), ("203.0.113.0/24",)),
    ],
)
def test_who_is_blacklisted_is_not_asked_and_its_answer_does_not_count(blacklist: BlacklistLoaded) -> None:
    bench = Bench(at("203.0.113.7:8091", coldkey="5cold"), at("198.51.100.7:1", uid=1, hotkey=OTHER))
    bench.observe(BlacklistLoaded((make_hotkey("x"),), ("5y",), ("10.0.0.0/8",)))
    bench.advance(INTERVAL)
    assert bench.asked() == [OTHER, OLD]
    bench.observe(blacklist)
    bench.answer(make_prediction())
    bench.advance(INTERVAL)
    assert bench.asked() == [OTHER, OLD]
    assert bench.all(PredictionSubmitted) == []


@pytest.mark.parametrize("source", ["chain", "disk"])
def test_the_chain_names_public_addresses_alone_and_others_are_passed_over_once(source: MetagraphSource) -> None:
    bench = Bench(ready=False)
    bench.offer()
    for _ in range(3):
        bench.sync(
            at("10.0.0.7:8091"),
            at("8.8.8.8:8091", uid=1, hotkey=OTHER),
            at("[::ffff:127.0.0.1]:8091", uid=2, hotkey=make_hotkey("mapped")),
            at("8.8.8.8:0", uid=3, hotkey=make_hotkey("no-port")),
            at("nowhere", uid=4, hotkey=make_hotkey("none")),
            source=source,
        )
    bench.advance(INTERVAL)
    assert bench.asked() == [OTHER]
    reasons = [event.reason for event in bench.all(AxonPassedOver)]
    assert len(reasons) == 4
    assert reasons[0] == "10.0.0.7:8091 is no public address, and the chain may name any, so it is not dialled"
    assert reasons[2] == "no neuron can serve at port 0 of 8.8.8.8:0"
    bench.sync(at("10.0.0.8:8091"), source=source)
    assert len(bench.all(AxonPassedOver)) == 5
    bench.sync(at("8.8.4.4:1"), source=source)
    bench.sync(at("10.0.0.8:8091"), source=source)
    assert len(bench.all(AxonPassedOver)) == 6


def test_a_metagraph_file_may_name_any_address() -> None:
    bench = Bench(at("127.0.0.1:8091"), at("a-simulated-one", uid=1, hotkey=OTHER))
    bench.advance(INTERVAL)
    assert bench.asked() == [OTHER, OLD]
    assert bench.all(AxonPassedOver) == []


# --- when


def test_one_question_to_a_miner_at_a_time_and_so_many_to_all() -> None:
    neurons = [at(f"203.0.113.{uid}:1", uid, make_hotkey(f"old-{uid}")) for uid in range(1, 10)]
    bench = Bench(*neurons, concurrency=4)
    bench.advance(3 * INTERVAL)
    assert len(bench.all(AxonQueryRequested)) == 4
    for event in bench.all(AxonQueryRequested):
        bench.observe(AxonFailed(event.connection, event.hotkey, "no answer"))
    assert bench.asked() == [neuron.hotkey for neuron in neurons[:8]]
    bench.observe(NeuronDraining())
    bench.observe(AxonFailed(bench.question(), bench.asked()[-1], "no answer"))
    assert len(bench.asked()) == 8


def test_who_comes_by_itself_while_it_waits_to_be_asked_is_not_asked() -> None:
    bench = Bench(at("203.0.113.7:1", 1), at("203.0.113.8:1", 2, OTHER), concurrency=1)
    bench.advance(INTERVAL)
    bench.observe(SessionActivated(ConnectionId(2), OTHER, Uid(2), SessionId("0" * 32)))
    bench.answer()
    assert bench.asked() == [OLD]


def test_a_failure_doubles_the_rounds_until_the_next_question_and_success_ends_that() -> None:
    bench = Bench()
    bench.next_question()
    for rounds in (2, 4, 8, 16, LONGEST_REST, LONGEST_REST):
        bench.fail()
        assert bench.during(lambda n=rounds: bench.advance((n - 1) * INTERVAL), AxonQueryRequested) == []  # type: ignore[misc]
        bench.next_question()
    bench.answer()
    bench.next_question()


def test_a_changed_axon_ends_a_back_off() -> None:
    bench = Bench()
    bench.next_question()
    bench.fail()
    bench.next_question(2)
    bench.fail()
    bench.sync(at("203.0.113.8:8091"))
    bench.next_question()
    assert bench.last(AxonQueryRequested).endpoint == "203.0.113.8:8091"
    bench.sync(at("203.0.113.9:8091"))
    bench.fail()  # of the former endpoint
    bench.next_question()
    bench.sync(at("203.0.113.9:8091", coldkey="5new"))
    assert bench.actor.state.existing[OLD].coldkey == "5new"


def test_who_comes_back_while_its_former_question_runs_is_not_asked_twice() -> None:
    bench = Bench()
    bench.next_question()
    bench.sync()
    bench.sync(at("203.0.113.7:8091"))
    bench.advance(3 * INTERVAL)
    assert len(bench.asked()) == 1
    bench.answer()
    bench.next_question()


def test_new_settings_are_taken_at_once() -> None:
    bench = Bench(at("203.0.113.7:1", 1), at("203.0.113.8:1", 2, OTHER), concurrency=1, query_interval=6000.0)
    bench.advance(3000)
    new = {"enabled": True, "query_interval": 60.0, "timeout": 12.0, "concurrency": 1}
    new |= {"max_answer_bytes": 4096, "max_predictions": 10}
    bench.observe(SettingsReloaded({"synapse": {"synapse": new}}, ("synapse.query_interval",), ()))
    bench.advance(INTERVAL)
    assert len(bench.asked()) == 1
    bench.observe(SettingsReloaded({"synapse": {"synapse": new | {"concurrency": 2}}}, ("synapse.concurrency",), ()))
    assert sorted(bench.asked()) == sorted((OLD, OTHER))


# --- answers


def test_predictions_belong_to_the_endpoint_that_was_dialled_and_are_confirmed_from_disk() -> None:
    bench = Bench(at("203.0.113.7:8091", uid=5))
    good, bad = make_prediction(miner_uid=77), make_prediction(wager=0.0)
    bench.ledger.held = True
    connection = bench.next_question()
    bench.answer(good, bad)
    assert bench.told() == []
    release(bench)
    submitted = bench.all(PredictionSubmitted)
    assert [(event.hotkey, event.uid, event.proof, event.connection) for event in submitted] == [
        (OLD, 5, "endpoint", connection)
    ] * 2
    assert connection < 0
    (told,) = bench.told()
    assert told[good.prediction_id] == (True, "accepted")
    assert told[bad.prediction_id][0] is False
    assert told[bad.prediction_id][1].startswith("invalid_wager: ")
    request = bench.last(AxonConfirmRequested)
    assert (request.connection, request.hotkey, request.endpoint) == (connection, OLD, "203.0.113.7:8091")
    assert set(request.stats) == set(STATS)
    assert request.stats["miner_last_prediction_date"].startswith("2026-05-28T20:")
    assert bench.all(WriteRequested) == []  # nothing went to a session
    assert {row.proof for row in bench.ledger.rows.values()} == {"endpoint"}


def test_what_was_confirmed_is_neither_judged_nor_confirmed_again_until_something_is_new() -> None:
    bench = Bench()
    first, second = make_prediction(), make_prediction()
    bench.next_question()
    bench.answer(first, second)
    bench.confirm()
    for answer in ((first, second), (second,), ()):
        bench.next_question()
        bench.answer(*answer)
    assert len(bench.told()) == 1
    assert len(bench.all(PredictionSubmitted)) == 2
    third, changed = make_prediction(), replace(second, wager=11.0)
    bench.next_question()
    bench.answer(first, third, changed)
    assert bench.told()[1][first.prediction_id] == (True, "accepted")  # the stored verdict
    assert bench.told()[1][third.prediction_id] == (True, "accepted")
    assert bench.told()[1][changed.prediction_id][1].startswith("conflict: ")


def test_a_lost_confirmation_is_made_again_when_the_predictions_are_repeated_and_is_no_failure_to_answer() -> None:
    bench = Bench()
    prediction = make_prediction()
    for _ in range(3):
        bench.next_question()
        bench.answer(prediction)
        bench.fail(500)
    assert bench.told() == [{prediction.prediction_id: (True, "accepted")}] * 3


def test_an_answer_of_one_who_left_or_moved_meanwhile_does_not_count() -> None:
    bench = Bench()
    bench.next_question()
    bench.sync(at("203.0.113.8:8091"))
    bench.answer(make_prediction())
    bench.next_question()
    bench.sync()
    bench.answer(make_prediction())
    assert bench.all(PredictionSubmitted) == []
    bench.observe(AxonAnswered(ConnectionId(-99), OLD, (make_prediction(),)))
    assert bench.all(PredictionSubmitted) == []


def test_one_who_leaves_before_its_verdicts_gets_no_confirmation() -> None:
    bench = Bench()
    bench.ledger.held = True
    bench.next_question()
    bench.answer(*(make_prediction(wager=0.01) for _ in range(PORTION + 1)))
    bench.sync()
    release(bench)
    assert bench.all(AxonConfirmRequested) == []
    assert bench.actor.state.exchanges == {}


def test_what_has_no_verdict_stays_out_and_comes_again() -> None:
    bench = Bench()
    first, second = make_prediction(), make_prediction()
    bench.ledger.held, bench.ledger.failing = True, "disk full"
    bench.next_question()
    bench.answer(first, second)
    bench.ledger.release(1)
    bench.ledger.failing = None
    release(bench)
    assert bench.told() == [{second.prediction_id: (True, "accepted")}]
    bench.confirm()
    bench.next_question()
    bench.answer(first, second)
    assert set(bench.told()[1]) == {first.prediction_id, second.prediction_id}
    assert bench.all(PeerRefused) == []


def test_an_answer_without_any_verdict_is_not_confirmed() -> None:
    bench = Bench()
    bench.next_question()
    bench.ledger.failing = "disk full"
    bench.answer(make_prediction())
    assert bench.told() == []
    bench.next_question()


def test_large_answers_take_turns_and_few_predictions_wait_for_the_ledger() -> None:
    hotkeys = [make_hotkey(f"old-{number}") for number in range(4)]
    bench = Bench(*(at(f"203.0.113.{uid}:1", uid, hotkey) for uid, hotkey in enumerate(hotkeys)))
    bench.advance(INTERVAL)
    bench.ledger.held = True
    for event in bench.all(AxonQueryRequested):
        count = 1 if event.hotkey == hotkeys[-1] else 1000
        predictions = tuple(make_prediction(wager=0.001) for _ in range(count))
        bench.observe(AxonAnswered(event.connection, event.hotkey, predictions))
    assert len(bench.all(PredictionSubmitted)) == MOST_SUBMITTED
    assert bench.all(ReadingPaused) == []
    release(bench)
    assert [len(told) for told in bench.told()] == [1, 1000, 1000, 1000]


# --- ends


@pytest.mark.parametrize("end", [NeuronDraining(), NeuronStopping("")])
def test_a_validator_that_stops_asks_nobody_and_takes_no_answer(end: Any) -> None:
    bench = Bench(at("203.0.113.7:1", 0), at("203.0.113.8:1", 30, OTHER))
    bench.advance(INTERVAL / 2)
    bench.observe(end)
    bench.observe(AxonAnswered(bench.question(), OTHER, (make_prediction(),)))
    bench.advance(5 * INTERVAL)
    assert bench.asked() == [OTHER]
    assert bench.all(PredictionSubmitted) == []


def test_a_failure_of_ours_ends_the_exchange_in_good_order(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    bench.next_question()
    with monkeypatch.context() as patch:
        patch.setattr(PredictionActor, "judge", fail)
        bench.answer(make_prediction(), make_prediction())
    assert {failed.connection for failed in bench.all(ActorFailed)} == {bench.question()}
    closed = bench.all(CloseRequested)
    assert {close.connection for close in closed} == {bench.question()}
    bench.observe(ConnectionClosed(bench.question(), 4000, ""))
    assert bench.actor.state.exchanges == {}
    bench.next_question()
    prediction = make_prediction()
    bench.answer(prediction)
    assert set(bench.told()[-1]) == {prediction.prediction_id}


def test_state_survives_a_snapshot() -> None:
    bench = Bench()
    prediction = make_prediction()
    bench.ledger.held = True
    bench.next_question()
    bench.answer(prediction, *(make_prediction(wager=0.001) for _ in range(MOST_SUBMITTED)))
    state = json.loads(json.dumps(bench.actor.snapshot()))
    before = bench.actor.state
    bench.actor.restore(state)
    assert bench.actor.state == before
    release(bench)
    assert len(bench.told()[0]) == MOST_SUBMITTED + 1


def release(bench: Bench) -> None:
    """The disk works again."""
    bench.ledger.held = False
    bench.ledger.release()
