"""When the model is asked, and about which games."""

import pytest

from bettensor.actors.miner.model import ModelActor, ModelSettings
from bettensor.bus.events import (
    GamesUpdated,
    KnownSlate,
    MessageAccepted,
    MetagraphSynced,
    ModelChanged,
    NeuronInfo,
    NeuronStarted,
    OutboxEntry,
    OutboxOpened,
    PredictionExpired,
    PredictionMade,
    PredictionsRequested,
    VerdictReceived,
)
from bettensor.bus.identifiers import SECOND, GameId, Micros, Offset, Uid
from tests.actors.miner.messages import CONNECTION, EPOCH, OTHER, VALIDATOR, welcome
from tests.support import NETUID, NOW, Harness, make_game, make_hotkey, make_prediction


def test_the_model_is_asked_when_the_slate_changes_and_every_interval() -> None:
    bench = Harness(ModelActor(ModelSettings(interval=10.0)))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (make_game("a"), make_game("b", active=False)), True))
    bench.advance(25)
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(2), (make_game("c"),), False))
    bench.advance(2)
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(3), (make_game("a", active=False),), False))
    asked = [[game.game_id for game in event.games] for event in bench.all(PredictionsRequested)]
    assert asked == [["a"], ["a"], ["a"], ["a", "c"], ["c"]]


def test_what_changes_nothing_is_no_reason_to_ask() -> None:
    bench = Harness(ModelActor(ModelSettings(interval=3600.0)))
    games = (make_game("a"), make_game("b"), make_game("gone", active=False))
    for offset in range(1, 100):
        bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(offset), games, snapshot=True))
        bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(offset), games, snapshot=False))
        bench.advance(2)
    assert len(bench.all(PredictionsRequested)) == 1
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(100), games[:1], snapshot=True))
    assert [game.game_id for game in bench.last(PredictionsRequested).games] == ["a"]


def test_of_a_flood_of_changes_the_model_is_asked_once_a_second_about_the_last_and_nobody_else_waits() -> None:
    bench = Harness(ModelActor())
    for offset in range(1, 101):
        bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(offset), (make_game("a", tie_odds=3.0 + offset),), False))
        bench.advance(0.1)
    asked = [event.games[0].tie_odds for event in bench.all(PredictionsRequested)]
    assert asked == [4.0, *(13.0 + 10 * second for second in range(10))]
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(101), (make_game("a"),), False))
    bench.observe(GamesUpdated(OTHER, EPOCH, Offset(1), (make_game("b"),), snapshot=True))
    assert bench.last(PredictionsRequested).validator == OTHER


def test_while_too_many_predictions_wait_for_its_verdicts_nothing_is_asked_about_a_validator() -> None:
    bench = Harness(ModelActor(ModelSettings(max_waiting=4, interval=10.0)))
    waiting = (OutboxEntry(VALIDATOR, make_prediction(prediction_id="before")),)
    bench.observe(OutboxOpened(waiting, ()))
    made = [make_prediction(prediction_id=f"p{number}") for number in range(3)]
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (make_game("a"),), snapshot=True))
    bench.observe(*(PredictionMade(VALIDATOR, prediction) for prediction in made))
    bench.advance(60)
    bench.observe(GamesUpdated(OTHER, EPOCH, Offset(1), (make_game("b"),), snapshot=True))
    assert [event.validator for event in bench.all(PredictionsRequested)] == [VALIDATOR, OTHER]
    bench.observe(VerdictReceived(VALIDATOR, made[0], True, "accepted", "", Micros(0)))
    bench.advance(10)
    assert len(bench.all(PredictionsRequested)) == 3, "of OTHER alone: half must have their verdict"
    bench.observe(PredictionExpired(VALIDATOR, made[1]))
    bench.advance(10)
    assert bench.all(PredictionsRequested)[3:].count(bench.all(PredictionsRequested)[0]) == 1


def test_a_run_of_0_1_0_asked_at_every_update() -> None:
    bench = Harness(ModelActor())
    bench.observe(NeuronStarted("miner", NETUID, make_hotkey("me"), "sr25519", 0, is_of_0_1=True))
    for offset in (1, 2):
        bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(offset), (make_game("a"),), snapshot=True))
    assert len(bench.all(PredictionsRequested)) == 2


def test_a_start_that_changes_is_read_again() -> None:
    bench = Harness(ModelActor())
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (make_game("a", event_start_date="some day"),), True))
    assert bench.all(PredictionsRequested) == []
    bench.advance(2)
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(2), (make_game("a"),), False))
    assert len(bench.all(PredictionsRequested)) == 1


def test_about_an_empty_slate_the_model_is_not_asked() -> None:
    bench = Harness(ModelActor())
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), (), snapshot=True))
    bench.advance(120)
    assert bench.all(PredictionsRequested) == []
    with pytest.raises(ValueError, match=r"should be greater than or equal to 0\.001"):
        ModelSettings(interval=0.0)


def test_games_that_have_started_or_whose_start_cannot_be_read_are_not_asked_about() -> None:
    bench = Harness(ModelActor(ModelSettings(interval=600.0)))
    soon = make_game("soon", starts_at=Micros(NOW + 300 * SECOND))
    games = (soon, make_game("later"), make_game("never", event_start_date="some day"))
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(1), games, snapshot=True))
    bench.advance(600)
    asked = [[game.game_id for game in event.games] for event in bench.all(PredictionsRequested)]
    assert asked == [["soon", "later"], ["later"]]


def test_the_model_does_not_bet_again_on_a_game_that_an_existing_miner_has_bet_on() -> None:
    bench = Harness(ModelActor())
    bench.observe(OutboxOpened((), (), imported=((VALIDATOR, GameId("a")), (OTHER, GameId("b")))))
    games = (make_game("a"), make_game("b"))
    for validator in (VALIDATOR, OTHER):
        bench.observe(GamesUpdated(validator, EPOCH, Offset(1), games, snapshot=True))
    asked = {event.validator: [game.game_id for game in event.games] for event in bench.all(PredictionsRequested)}
    assert asked == {VALIDATOR: ["b"], OTHER: ["a"]}
    bench.observe(GamesUpdated(VALIDATOR, EPOCH, Offset(2), (make_game("b", active=False),), snapshot=False))
    assert len(bench.all(PredictionsRequested)) == 2, "no game is left"


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
