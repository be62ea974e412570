"""Existing validators and miners among themselves: what was measured of the real ones, bad habits included."""

import itertools
from dataclasses import replace

import msgspec
import pytest

from bettensor.bus import synapse
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import DAY
from bettensor.neurons.simulation import (
    ExistingMiner,
    ExistingValidator,
    SimulatedNetwork,
    SimulatedValidator,
    make_game,
    make_hotkey,
    make_soccer_game,
)
from bettensor.neurons.simulation.existing import MODEL_INTERVAL
from bettensor.neurons.simulation.synapse import SimulatedDendrite, SynapseAnswer, SynapseRequest
from tests.support import NOW

GAME = make_game("101", starts_at=Micros(NOW + 3 * DAY))
SOCCER = make_soccer_game("102", starts_at=Micros(NOW + 3 * DAY))
ROUND = 480
"""Seconds."""


class Pair(SimulatedNetwork):
    """An existing validator that offers two games, and an existing miner."""

    def __init__(self, *games: TeamGame) -> None:
        super().__init__()
        self.validator, self.miner = ExistingValidator(clock=self.clock), ExistingMiner(clock=self.clock)
        self.add(self.validator, self.miner)
        self.validator.offer(*(games or (GAME, SOCCER)))

    def told(self) -> list[list[str]]:
        """Of each prediction, in the order in which they were made."""
        return [list(bet.told.get(self.validator.hotkey, ())) for bet in self.miner.database.bets.values()]


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_the_miner_is_asked_each_8_minutes_and_its_predictions_are_booked(pair: Pair) -> None:
    pair.advance(ROUND + 1)
    assert sorted(pair.miner.database.games) == ["101", "102"]
    made = [pair.miner.predict(GAME), pair.miner.predict(SOCCER, predicted_outcome="tie", predicted_odds=3.3)]
    pair.advance(ROUND)
    booked = pair.validator.database.accepted
    assert [booked[bet.prediction_id].hotkey for bet in made] == [pair.miner.hotkey] * 2
    assert booked[made[1].prediction_id].prediction.predicted_outcome == "Tie"
    assert sum(pair.validator.database.totals.values()) == sum(bet.wager for bet in made)


def test_an_id_that_was_accepted_is_told_a_failure_in_each_later_round(pair: Pair) -> None:
    prediction = pair.miner.predict(GAME)
    pair.advance(3 * ROUND + 1)
    [told] = pair.told()
    assert told[-1] == f"False Prediction {prediction.prediction_id} already exists in database"
    assert len(pair.validator.database.accepted) == 1


def test_the_first_confirmation_of_a_new_miner_has_no_figures_and_fails(pair: Pair) -> None:
    pair.miner.predict(GAME)
    pair.advance(ROUND + 1)
    assert pair.told() == [[]]
    assert not next(iter(pair.miner.database.bets.values())).confirmed
    pair.advance(ROUND)
    assert len(pair.told()[0]) == 1
    assert set(pair.miner.database.stats) == set(synapse.STATS)


def test_the_miner_marks_every_id_as_confirmed_whatever_success_says(pair: Pair) -> None:
    pair.miner.predict(GAME)
    bad = pair.miner.predict(GAME, team_a_odds=9.0)
    pair.advance(2 * ROUND + 1)
    bet = pair.miner.database.bets[bad.prediction_id]
    assert (bet.confirmed, list(bet.told[pair.validator.hotkey])) == (True, ["False Team odds do not match the game"])
    assert bad.prediction_id in {prediction.prediction_id for prediction in pair.miner.unfinished()}


def test_the_miner_answers_with_the_unfinished_ones_of_its_newest_hundred(pair: Pair) -> None:
    made = [pair.miner.predict(GAME) for _ in range(105)]
    assert pair.miner.unfinished() == made[5:]
    pair.miner.database.bets[made[50].prediction_id].finished = True
    assert len(pair.miner.unfinished()) == 99


def test_its_models_bet_each_3_hours_on_games_that_it_was_sent(pair: Pair) -> None:
    pair.advance(MODEL_INTERVAL - 1)
    assert pair.miner.unfinished() == []
    pair.advance(2)
    assert sorted(bet.game_id for bet in pair.miner.unfinished()) == ["101", "102"]
    pair.advance(MODEL_INTERVAL)
    assert len(pair.miner.database.bets) == 2


def test_games_that_have_started_are_sent_too_and_those_that_ended_finish_predictions() -> None:
    pair = Pair(make_game("soon", starts_at=Micros(NOW + ROUND * SECOND // 2)))
    [game] = pair.validator.database.games.values()
    bet = pair.miner.predict(game)
    pair.advance(ROUND + 1)
    assert pair.miner.database.games["soon"].outcome == "3"
    assert pair.validator.database.rejected == {bet.prediction_id: "Game soon has already started"}
    pair.advance(4 * 3600)
    assert pair.miner.unfinished() == []
    pair.advance(5 * 86_400)
    assert len(pair.miner.database.games) == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"wager": 0.0}, "Wager must be positive"),
        ({"wager": 1000.5}, "Total daily wager of 1000.5 exceeds the limit of 1000"),
        ({"game_id": "404"}, "No game found"),
        ({"team_a": "Nobody"}, "Teams do not match the game"),
        ({"team_b_odds": 2.2}, "Team odds do not match the game"),
        ({"tie_odds": 2.2}, "Tie odds do not match the game"),
        ({"predicted_outcome": "Nobody"}, "Invalid predicted outcome: Nobody"),
        ({"predicted_odds": 9.0}, "Predicted odds do not match the game"),
        ({"confidence_score": None}, "Confidence score must be between 0 and 1"),
    ],
)
def test_the_validators_rules(pair: Pair, changes: dict[str, object], fault: str) -> None:
    prediction = pair.miner.predict(GAME, **changes)
    pair.advance(ROUND + 1)
    assert pair.validator.database.rejected[prediction.prediction_id].startswith(fault)


def test_odds_within_a_hundredth_are_the_same(pair: Pair) -> None:
    pair.miner.predict(GAME, team_a_odds=1.809, predicted_outcome=GAME.team_b, predicted_odds=2.11)
    pair.advance(ROUND + 1)
    assert len(pair.validator.database.accepted) == 1


# --- who is asked, and who answers


def test_the_validator_asks_every_axon_its_own_too_and_nothing_listens_there(pair: Pair) -> None:
    ours = SimulatedValidator("ours", clock=pair.clock)
    pair.add(ours, ExistingValidator("other", clock=pair.clock))
    pair.miner.predict(GAME)
    pair.advance(ROUND + 1)
    assert pair.validator.answered == 2  # of the miner, and of our validator, which serves something else
    assert pair.validator.database.accepted


def test_a_round_goes_through_more_axons_than_are_asked_at_once(pair: Pair) -> None:
    miners = [ExistingMiner(f"m{letter}", clock=pair.clock) for letter in map(chr, range(97, 97 + 25))]
    pair.add(*miners, *(ExistingMiner(f"n{letter}", clock=pair.clock) for letter in map(chr, range(97, 97 + 25))))
    for miner in miners:
        miner.predict(GAME)
    pair.advance(ROUND + 5)
    assert {booked.hotkey for booked in pair.validator.database.accepted.values()} == {m.hotkey for m in miners}
    assert {miner.asked for miner in miners} == {2}  # with the confirmation


def test_a_miner_that_does_not_answer_costs_20_s_and_a_round_waits_for_it(pair: Pair) -> None:
    pair.miner.predict(GAME)
    pair.advance(ROUND)
    pair.freeze(pair.miner)
    pair.advance(19)
    assert pair.validator.answered == 0
    pair.advance(2)
    assert not pair.validator.database.accepted
    pair.advance(ROUND)
    assert len(pair.validator.database.accepted) == 1


@pytest.mark.parametrize("trouble", ["unreachable", "cut"])
def test_a_round_that_fails_is_followed_by_the_next(pair: Pair, trouble: str) -> None:
    pair.miner.predict(GAME)
    if trouble == "unreachable":
        pair.unreachable.add(pair.miner.hotkey)
        pair.advance(ROUND + 1)
        pair.unreachable.clear()
    else:
        pair.advance(ROUND)
        pair.cut(pair.miner)
        pair.advance(1)
    assert not pair.validator.database.accepted
    pair.advance(ROUND)
    assert len(pair.validator.database.accepted) == 1


def test_restarted_neurons_have_their_databases(pair: Pair) -> None:
    pair.miner.predict(GAME)
    pair.advance(ROUND + 1)
    pair.remove(pair.validator, pair.miner)
    pair.advance(ROUND)
    before = pair.validator.answered
    validator = ExistingValidator(clock=pair.clock, restarted=pair.validator)
    miner = ExistingMiner(clock=pair.clock, restarted=pair.miner)
    pair.add(validator, miner)
    pair.advance(2 * ROUND + 1)
    assert pair.validator.answered == before
    assert len(validator.database.accepted) == len(miner.database.bets) == 1
    assert "already exists" in pair.told()[0][0]


class Strange(ExistingMiner):
    """Answers anything."""

    def serve(self, request: SynapseRequest) -> SynapseAnswer:
        honest = super().serve(request)
        return honest if honest.status != 200 else SynapseAnswer(200, self.change(honest.body))

    def change(self, body: bytes) -> bytes:
        raise NotImplementedError


class WithoutHotkey(Strange):
    def change(self, body: bytes) -> bytes:
        return msgspec.json.encode(msgspec.json.decode(body) | {"axon": {}})


class WithoutMetadata(Strange):
    def change(self, body: bytes) -> bytes:
        return msgspec.json.encode(msgspec.json.decode(body) | {"metadata": None})


class WithUidZero(Strange):
    def change(self, body: bytes) -> bytes:
        return body.replace(b'"neuron_uid":"2"', b'"neuron_uid":"zero"')


class WithNonsense(Strange):
    def change(self, body: bytes) -> bytes:
        return body[:-1]


class WithNullOutcome(Strange):
    def change(self, body: bytes) -> bytes:
        return body.replace(b'"Unfinished"', b"null")


@pytest.mark.parametrize(
    ("kind", "others"),
    [(WithoutHotkey, 1), (WithNonsense, 1), (WithNullOutcome, 1), (WithoutMetadata, 0), (WithUidZero, 0)],
)
def test_what_one_answer_may_cost_the_others(pair: Pair, kind: type[Strange], others: int) -> None:
    strange = kind("strange", clock=pair.clock)
    pair.add(strange)
    assert [row.uid for row in pair.metagraph if row.hotkey == strange.hotkey] == [2]
    strange.predict(GAME)
    pair.miner.predict(GAME)
    pair.advance(ROUND + 1)
    assert [booked.hotkey for booked in pair.validator.database.accepted.values()] == [pair.miner.hotkey] * others


# --- the miner's axon


_runs = itertools.count(1000)


def dendrite(pair: Pair) -> SimulatedDendrite:
    """It signs in the name of the pair's validator."""
    return SimulatedDendrite(pair.validator.hotkey, pair.clock, next(_runs))


def ask(pair: Pair, miner: ExistingMiner, **changes: object) -> tuple[int, str]:
    """Ask in the name of the pair's validator; ``changes`` are headers or parts of the body."""
    request = dendrite(pair).query(miner.hotkey, None, 20.0, {})
    headers = {name: str(changes.pop(name, value)) for name, value in request.headers}
    body = msgspec.json.encode(msgspec.json.decode(request.body) | changes)
    answer = miner.serve(SynapseRequest(tuple(headers.items()), body))
    return answer.status, msgspec.json.decode(answer.body).get("message", "")


def test_what_the_miners_axon_refuses(pair: Pair) -> None:
    assert ask(pair, pair.miner) == (200, "")
    assert ask(pair, pair.miner, bt_header_dendrite_hotkey=pair.miner.hotkey)[0] == 403
    assert ask(pair, pair.miner, bt_header_dendrite_signature="0x00") == (401, "Not Verified: Signature mismatch")
    assert ask(pair, pair.miner, metadata=None)[0] == 500
    assert ask(pair, pair.miner, metadata={"synapse_type": "nonsense"})[0] == 500
    assert ask(pair, pair.miner, gamedata_dict={"1": {"game_id": "1"}})[0] == 500
    wealthy = ExistingMiner("wealthy", clock=pair.clock, min_stake=1000.0)
    pair.add(wealthy)
    assert ask(pair, wealthy)[0] == 403


def test_a_request_that_is_repeated_or_17_s_older_than_its_timeout_is_refused(pair: Pair) -> None:
    request, late = (dendrite(pair).query(pair.miner.hotkey, None, 12.0, {}) for _ in range(2))
    assert [pair.miner.serve(request).status for _ in range(2)] == [200, 401]
    pair.clock.advance(Micros(17 * SECOND))
    assert pair.miner.serve(late).status == 401


@pytest.mark.parametrize("missing", ["miner_rank", "miner_win_loss_ratio"])
def test_a_confirmation_without_one_of_the_16_figures_fails(pair: Pair, missing: str) -> None:
    prediction = pair.miner.predict(GAME)
    result = synapse.Result(prediction.prediction_id, success=True, message="")
    for stats, status in ((synapse.stats_form(None), 200), (figures_without(missing), 500), (figures("1.5"), 500)):
        request = dendrite(pair).confirmation(pair.miner.hotkey, None, 20.0, [result], stats)
        assert pair.miner.serve(request).status == status


def figures_without(missing: str) -> dict[str, str]:
    return {key: value for key, value in synapse.stats_form(None).items() if key != missing}


def figures(rank: str) -> dict[str, str]:
    return synapse.stats_form(None) | {"miner_rank": rank}


def test_games_are_sent_with_a_space_in_their_dates_and_odds_of_a_tie_that_cannot_be(pair: Pair) -> None:
    pair.advance(ROUND + 1)
    game = pair.miner.database.games["101"]
    assert game.event_start_date == "2026-05-31 20:26:40+00:00"
    assert (game.tie_odds, game.can_tie, game.outcome) == (0.0, False, "3")
    assert synapse.read_game("101", msgspec.to_builtins(game)) == replace(
        GAME,
        create_date="2026-05-28T20:26:40.000000Z",
        last_update_date="2026-05-28T20:26:40.000000Z",
        event_start_date="2026-05-31T20:26:40.000000Z",
    )


def test_what_existing_neurons_announce() -> None:
    network = SimulatedNetwork()
    network.add(
        ExistingValidator(clock=network.clock, stake=5.0), ExistingMiner(clock=network.clock, permit=True, stake=3.0)
    )
    miner, validator = network.metagraph
    assert (miner.hotkey, miner.validator_permit, miner.stake) == (make_hotkey("existingminer"), True, 3.0)
    assert (validator.hotkey, validator.validator_permit, validator.stake) == (
        make_hotkey("existingvalidator"),
        True,
        5.0,
    )
    assert miner.axon is not None
    assert validator.axon is not None
