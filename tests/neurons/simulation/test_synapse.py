"""The simulated network as Dendrite and Axon: what comes over Synapse, and the faults on its way."""

import msgspec
import pytest

from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonQueryRequested,
    CloseRequested,
    ConnectionClosed,
    FrameWritten,
    QueryAdmitted,
    QueryEnded,
    QueryReceived,
    QueryUnreadable,
    VerdictReceived,
    VerdictsConfirmed,
)
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.synapse import Result, game_form, read_answer, stats_form
from bettensor.neurons.simulation import (
    ExistingMiner,
    ExistingValidator,
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedValidator,
    make_game,
    make_hotkey,
    make_soccer_game,
)
from bettensor.neurons.simulation.synapse import (
    FIRST_QUERY,
    SimulatedDendrite,
    SynapseAnswer,
    SynapseRequest,
    endpoint_of,
)
from tests.support import Injected

FIRST = ConnectionId(-1)
ROUND = 480
GAME, SOCCER = make_game(), make_soccer_game()


class Asking(SimulatedNetwork):
    """A validator whose dendrite is told what to ask, an existing miner, and a miner of ours."""

    def __init__(self, miner: ExistingMiner | None = None) -> None:
        super().__init__()
        self.validator = SimulatedValidator(clock=self.clock)
        self.miner = miner or ExistingMiner(clock=self.clock)
        self.add(self.validator, self.miner)
        self.validator.bus.subscribe(Injected, lambda event, _: self.validator.bus.publish(event.decision), "test")
        self.validator.offer(GAME, SOCCER)

    def ask(self, hotkey: Hotkey | None = None) -> None:
        hotkey = hotkey or self.miner.hotkey
        self.validator.bus.publish(Injected(AxonQueryRequested(FIRST, hotkey, endpoint_of(hotkey))))

    def confirm(self, *results: Result) -> None:
        hotkey = self.miner.hotkey
        stats = stats_form(None)
        requested = AxonConfirmRequested(FIRST, hotkey, endpoint_of(hotkey), results, stats)
        self.validator.bus.publish(Injected(requested))

    def failure(self) -> AxonFailed:
        return self.validator.last(AxonFailed)


@pytest.fixture
def asking() -> Asking:
    return Asking()


def test_a_question_carries_the_open_slate_and_its_answer_the_predictions(asking: Asking) -> None:
    made = asking.miner.predict(SOCCER, predicted_outcome="Tie", predicted_odds=3.3)
    asking.ask()
    asking.advance(1)
    assert sorted(asking.miner.database.games) == [SOCCER.game_id, GAME.game_id]
    answered = asking.validator.last(AxonAnswered)
    assert (answered.connection, answered.hotkey, answered.left_out) == (FIRST, asking.miner.hotkey, ())
    [prediction] = answered.predictions
    assert isinstance(prediction, TeamGamePrediction)
    assert (prediction.prediction_id, prediction.predicted_outcome) == (made.prediction_id, "Tie")
    assert prediction.miner_uid == 0


def test_a_game_that_has_started_is_no_part_of_a_question(asking: Asking) -> None:
    asking.advance(2 * 86_400)
    asking.ask()
    asking.advance(1)
    assert asking.miner.database.games == {}
    assert asking.validator.last(AxonAnswered).predictions == ()


def test_a_confirmation_reaches_the_miner(asking: Asking) -> None:
    made = asking.miner.predict(GAME)
    asking.confirm(Result(made.prediction_id, success=True, message="accepted"))
    asking.advance(1)
    assert asking.validator.last(AxonConfirmed) == AxonConfirmed(FIRST, asking.miner.hotkey)
    told = asking.miner.database.bets[made.prediction_id].told
    assert told == {asking.validator.hotkey: {"True accepted": None}}


def test_each_way_takes_its_time(asking: Asking) -> None:
    asking.ask()
    asking.advance(0.0015)
    assert asking.miner.asked == 1
    assert asking.validator.all(AxonAnswered) == []
    asking.advance(0.001)
    assert asking.validator.all(AxonAnswered)


def test_who_serves_no_synapse_refuses_the_connection(asking: Asking) -> None:
    asking.add(SimulatedMiner("ours", clock=asking.clock))
    for hotkey in (make_hotkey("ours"), make_hotkey("nobody")):
        asking.ask(hotkey)
        asking.advance(1)
        assert asking.failure() == AxonFailed(FIRST, hotkey, f"{endpoint_of(hotkey)}: connection refused")


@pytest.mark.parametrize("end", ["miner", "validator"])
def test_an_end_that_is_unreachable_is_not_asked(asking: Asking, end: str) -> None:
    asking.unreachable.add(asking.miner.hotkey if end == "miner" else asking.validator.hotkey)
    asking.ask()
    asking.advance(1)
    assert "connection refused" in asking.failure().reason
    assert asking.miner.asked == 0


def test_a_request_that_is_cut_fails_and_its_answer_is_lost(asking: Asking) -> None:
    asking.ask()
    asking.advance(0.0015)
    asking.cut(asking.miner)
    asking.advance(30)
    assert [failed.reason for failed in asking.validator.all(AxonFailed)] == ["the connection was lost"]
    assert asking.validator.all(AxonAnswered) == []


def test_a_request_that_is_cut_on_its_way_there_never_arrives(asking: Asking, answering: "Answering") -> None:
    asking.ask()
    asking.cut(asking.miner)
    asking.advance(30)
    assert asking.miner.asked == 0
    answering.ask()
    answering.cut(answering.miner)
    answering.advance(30)
    assert answering.miner.all(QueryReceived) == []


@pytest.mark.parametrize("asked", [0, 1], ids=["on its way there", "on its way back"])
def test_what_is_frozen_ends_by_the_timeout(asking: Asking, asked: int) -> None:
    asking.ask()
    asking.advance(0.0015 * asked)
    asking.freeze(asking.validator)
    asking.advance(11.9)
    assert (asking.miner.asked, asking.validator.all(AxonFailed)) == (asked, [])
    asking.advance(0.2)
    assert "no answer within 12 s" in asking.failure().reason


def test_a_miner_that_dies_on_the_way_answers_nothing(asking: Asking) -> None:
    asking.ask()
    asking.remove(asking.miner)
    asking.advance(1)
    assert asking.failure().reason == "the connection was lost"


def test_a_validator_that_died_hears_nothing(asking: Asking) -> None:
    asking.ask()
    asking.remove(asking.validator)
    heard = len(asking.validator.envelopes)
    asking.advance(30)
    assert len(asking.validator.envelopes) == heard


class Odd(ExistingMiner):
    """Answers something else."""

    answer = SynapseAnswer(200, b"{}")

    def serve(self, _: SynapseRequest) -> SynapseAnswer:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (SynapseAnswer(403, b'{"message": "no stake"}'), "403 no stake", 403),
        (SynapseAnswer(200, b"{}"), "metadata must be an object", None),
    ],
)
def test_an_answer_of_another_kind_is_a_failure(answer: SynapseAnswer, reason: str, status: int | None) -> None:
    odd = Odd()
    odd.answer = answer
    asking = Asking(odd)
    asking.ask()
    asking.advance(1)
    assert asking.failure().reason == f"{endpoint_of(odd.hotkey)}: {reason}"
    assert asking.failure().status == status


def test_an_exchange_that_an_actor_closes_is_over(asking: Asking) -> None:
    asking.validator.bus.publish(Injected(CloseRequested(FIRST, CloseCode.INTERNAL_ERROR, "why")))
    asking.advance(0)
    assert asking.validator.last(ConnectionClosed) == ConnectionClosed(FIRST, CloseCode.INTERNAL_ERROR, "why")


# --- a miner of ours is asked


class Answering(SimulatedNetwork):
    """An existing validator, and a miner of ours that has its slate."""

    def __init__(self) -> None:
        super().__init__()
        self.validator = ExistingValidator(clock=self.clock)
        self.miner = SimulatedMiner(clock=self.clock, settings={"synapse": {"enabled": True}})
        self.add(self.validator, self.miner)
        self.validator.offer(GAME)
        self.heard: list[SynapseAnswer | str] = []

    def ask(self, **changes: str) -> None:
        """``changes`` are of headers; ``body`` is of the request."""
        dendrite = SimulatedDendrite(self.validator.hotkey, self.clock, 99)
        body, miner = changes.pop("body", None), self.miner.hotkey
        request = dendrite.query(miner, None, 12.0, {GAME.game_id: game_form(GAME)})
        headers = tuple((dict(request.headers) | changes).items())
        request = SynapseRequest(headers, request.body if body is None else body.encode())
        self.validator.road.ask(self.validator, endpoint_of(miner), request, 12.0, self.heard.append)

    def topics(self) -> list[str]:
        topics = [envelope.event.topic for envelope in self.miner.envelopes]
        return topics[topics.index("query_received") :]

    def status(self) -> int:
        [answer] = self.heard
        assert isinstance(answer, SynapseAnswer)
        return answer.status


@pytest.fixture
def answering() -> Answering:
    return Answering()


def test_a_miner_is_listed_with_an_endpoint_only_if_it_answers_existing_validators(answering: Answering) -> None:
    answering.add(SimulatedMiner("silent", clock=answering.clock))
    axons = {row.hotkey: row.axon for row in answering.metagraph}
    assert axons[answering.miner.hotkey] == endpoint_of(answering.miner.hotkey)
    assert axons[make_hotkey("silent")] is None


def test_a_question_is_judged_by_its_head_then_read_then_answered(answering: Answering) -> None:
    answering.miner.predict("p", answering.validator.hotkey, GAME)
    answering.ask()
    answering.advance(10)
    received = answering.miner.last(QueryReceived)
    assert (received.method, received.target, received.connection) == ("POST", "/GameData", FIRST_QUERY)
    assert [topic for topic in answering.topics() if topic in ORDER] == list(ORDER)
    written = answering.miner.last(FrameWritten)
    assert (written.road, written.hotkey) == ("synapse", answering.validator.hotkey)
    [answer] = answering.heard
    assert isinstance(answer, SynapseAnswer)
    assert [entry.prediction_id for entry in read_answer(answer.body, 10).predictions] == ["p"]


ORDER = (
    "query_received",
    "query_verification_requested",
    "signature_checked",
    "query_admitted",
    "slate_queried",
    "pending_requested",
    "query_answered",
    "frame_written",
    "query_ended",
)


def test_verdicts_reach_the_miner(answering: Answering) -> None:
    answering.miner.predict("p", answering.validator.hotkey, GAME)
    answering.advance(ROUND + 10)
    assert answering.miner.last(VerdictsConfirmed).results[0].success
    assert answering.miner.last(VerdictReceived).code == "accepted"


def test_only_its_own_key_signs_for_a_validator(answering: Answering) -> None:
    answering.ask(bt_header_dendrite_signature="0x" + "00" * 64)
    answering.advance(1)
    assert (answering.status(), answering.miner.all(QueryAdmitted)) == (401, [])


def test_a_body_that_is_unreadable_is_refused(answering: Answering) -> None:
    answering.ask(body="{")
    answering.advance(1)
    assert answering.status() == 400
    assert len(answering.miner.all(QueryUnreadable)) == len(answering.miner.all(QueryEnded)) == 1


def test_a_validator_that_leaves_before_the_answer_gets_none_and_the_miner_is_told_once(answering: Answering) -> None:
    answering.miner.predict("p", answering.validator.hotkey, GAME)
    answering.ask()  # the model has 5 s
    answering.advance(1)
    answering.cut(answering.validator)
    answering.advance(30)
    assert answering.heard == ["the connection was lost"]
    assert len(answering.miner.all(QueryEnded)) == 1
    assert answering.miner.all(FrameWritten) == []


def test_a_miner_that_dies_while_it_is_asked_is_told_nothing(answering: Answering) -> None:
    answering.ask()
    answering.advance(1)
    answering.remove(answering.miner)
    answering.advance(30)
    assert answering.heard == ["the connection was lost"]
    assert answering.miner.all(QueryEnded) == []


# --- a validator of ours is asked


def test_a_validator_has_no_such_path_and_says_so_as_existing_neurons_do(answering: Answering) -> None:
    ours = SimulatedValidator("ours", clock=answering.clock)
    answering.add(ours)
    dendrite = SimulatedDendrite(answering.validator.hotkey, answering.clock, 99)
    request = dendrite.query(ours.hotkey, None, 12.0, {})
    answering.validator.road.ask(answering.validator, endpoint_of(ours.hotkey), request, 12.0, answering.heard.append)
    answering.advance(1)
    assert answering.status() == 404
    [answer] = answering.heard
    assert isinstance(answer, SynapseAnswer)
    assert "message" in msgspec.json.decode(answer.body)
