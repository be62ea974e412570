"""The simulated network as Dendrite and Axon: what comes over Synapse, and the faults on its way."""

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
)
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.synapse import Result, stats_form
from bettensor.neurons.simulation import (
    ExistingMiner,
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedValidator,
    make_game,
    make_hotkey,
    make_soccer_game,
)
from bettensor.neurons.simulation.synapse import SynapseAnswer, SynapseRequest, endpoint_of
from tests.support import Injected

FIRST = ConnectionId(-1)
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
