"""A simulated neuron has all actors of a real one, keeps its disk, and its recording replays."""

from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    GamesUpdated,
    LedgerOpened,
    NeuronStarted,
    OutboxOpened,
    PredictionMade,
    SessionActivated,
    StreamOpened,
)
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.composition import ACTORS
from bettensor.neurons.recordings.recording import Recording
from bettensor.neurons.simulation import (
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedNeuron,
    SimulatedValidator,
    make_game,
    make_hotkey,
)
from tests.stories import Subnet
from tests.support import NETUID, NOW


@pytest.mark.parametrize("neuron", [SimulatedValidator(), SimulatedMiner()], ids=["validator", "miner"])
def test_it_has_every_actor_of_its_role(neuron: SimulatedNeuron) -> None:
    assert [actor.name for actor in neuron.actors] == [*(actor.name for actor in ACTORS[neuron.role]), "supervisor"]


def test_it_begins_with_who_it_is_and_then_reads_its_disk() -> None:
    validator, miner = SimulatedValidator("v"), SimulatedMiner("m", seed=9)
    validator.start()
    miner.start()
    assert validator.envelopes[0].event == NeuronStarted("validator", NETUID, make_hotkey("v"), "sr25519", 0)
    assert miner.last(NeuronStarted).seed == 9
    assert (validator.clock.wall(), len(validator.all(LedgerOpened)), len(miner.all(OutboxOpened))) == (NOW, 1, 1)


def test_its_settings_are_keys_of_the_file_and_a_wrong_one_is_refused() -> None:
    validator = SimulatedValidator(settings={"actors": {"prediction": {"daily_wager_limit": 7.0}}})
    prediction = next(actor for actor in validator.actors if actor.name == "prediction")
    assert prediction.settings.daily_wager_limit == 7.0
    with pytest.raises(ConfigurationError, match="daily_wager_limits"):
        SimulatedValidator(settings={"actors": {"prediction": {"daily_wager_limits": 7.0}}})


def test_it_verifies_by_itself_whatever_processes_a_real_one_would_have() -> None:
    network = SimulatedNetwork()
    validator = SimulatedValidator(clock=network.clock, settings={"auth": {"verify_workers": 2}})
    network.add(validator, SimulatedMiner(clock=network.clock))
    network.advance(5)
    assert validator.all(SessionActivated)


def test_a_restarted_one_has_the_disk_of_the_one_before_and_nothing_else() -> None:
    subnet = Subnet()
    subnet.predict("p", wager=1.0)
    validator = SimulatedValidator(clock=subnet.clock, restarted=subnet.validator)
    validator.start()
    assert validator.ledger is subnet.validator.ledger
    assert validator.last(StreamOpened).offset == subnet.validator.last(GamesUpdated).offset
    assert len(validator.last(LedgerOpened).days) == 1
    miner = SimulatedMiner(clock=subnet.clock, restarted=subnet.miner)
    miner.start()
    assert len(miner.last(OutboxOpened).slates) == 1


def test_two_slates_never_have_one_epoch() -> None:
    validator = SimulatedValidator()
    validator.start()
    validator.offer(make_game())
    validator.stream.forget()
    validator.advance(1)
    again = SimulatedValidator(clock=validator.clock, restarted=validator)
    again.start()
    again.offer(make_game())
    assert validator.last(GamesUpdated).epoch != again.last(GamesUpdated).epoch


def test_two_validators_have_their_own_epochs_at_one_instant() -> None:
    first = SimulatedValidator()
    second = SimulatedValidator("another", clock=first.clock)
    for validator in (first, second):
        validator.start()
        validator.offer(make_game())
    assert len(first.envelopes) == len(second.envelopes)
    assert first.last(GamesUpdated).epoch != second.last(GamesUpdated).epoch


def test_a_prediction_is_made_now() -> None:
    miner = SimulatedMiner()
    miner.start()
    miner.advance(90)
    made = miner.predict("p", make_hotkey("validator"), wager=3.0)
    assert miner.last(PredictionMade).prediction == made
    assert parse_rfc3339(made.prediction_date) == miner.clock.wall() == NOW + 90_000_000


def test_what_it_lived_through_can_be_saved_and_decided_again(tmp_path: Path) -> None:
    subnet = Subnet()
    subnet.validator.reload("prediction", daily_wager_limit=5.0)
    subnet.predict("p", wager=6.0)
    subnet.validator.stop()
    subnet.validator.save(tmp_path / "log.jsonl")
    replayed = Recording(tmp_path / "log.jsonl").replay()
    assert (replayed.equal, replayed.events) == (True, len(subnet.validator.envelopes))
