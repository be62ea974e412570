"""The simulated network and the faults in it. That it is like a real one is shown in ``tests/contracts``."""

import pytest

from bettensor.bus.codes import AXON, CloseCode, VerdictCode
from bettensor.bus.events import (
    BroadcastWritten,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    FrameReceived,
    FrameWritten,
    MetagraphFetched,
    Observed,
    PostAnswered,
    PostFailed,
    SessionActivated,
    VerdictReceived,
)
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.simulation import (
    ExistingMiner,
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedValidator,
    make_game,
    make_hotkey,
)
from tests.stories import Subnet


@pytest.fixture
def subnet() -> Subnet:
    """A session is open between the validator and its miner."""
    subnet = Subnet()
    assert len(subnet.miner.all(SessionActivated)) == 1
    return subnet


def test_a_message_takes_its_latency_each_way() -> None:
    network = SimulatedNetwork(latency=Micros(50_000))
    validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(clock=network.clock)
    network.add(validator, miner)
    validator.offer(make_game())
    network.advance(1)
    miner.predict("p", validator.hotkey)
    network.advance(0.099)
    assert miner.all(VerdictReceived) == []
    network.advance(0.001)
    assert miner.last(VerdictReceived).latency == 100_000


def test_with_jitter_no_message_overtakes_another() -> None:
    network = SimulatedNetwork(jitter=Micros(2 * SECOND), seed=3)
    validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(clock=network.clock)
    network.add(validator, miner)
    validator.offer(make_game())
    network.advance(10)
    for odds in range(30):
        validator.offer(make_game(team_a_odds=1.5 + odds / 50))
        network.advance(0.1)
    network.advance(10)
    written = [
        event.message.message_id.encode()
        for event in validator.all(Observed)
        if isinstance(event, FrameWritten | BroadcastWritten)
    ]
    came = [event.data for event in miner.all(FrameReceived) if b'"previous":null' not in event.data]
    assert len(written) == len(came) > 30  # and the snapshot, which SlateWritten tells
    assert all(message_id in data for message_id, data in zip(written, came, strict=True))


def day(seed: int) -> list[tuple[str, int]]:
    network = SimulatedNetwork(jitter=Micros(500_000), seed=seed)
    validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(clock=network.clock)
    network.add(validator, miner)
    network.advance(600)
    return [(envelope.event.topic, envelope.mono) for envelope in miner.envelopes]


def test_the_same_seed_has_the_same_weather() -> None:
    assert day(1) == day(1) != day(2)


# --- faults


def test_a_session_that_is_cut_ends_without_a_close_and_the_miner_comes_back(subnet: Subnet) -> None:
    subnet.cut(subnet.miner)
    subnet.advance(0.01)
    for end in (subnet.miner, subnet.validator):
        assert end.last(ConnectionClosed).code == CloseCode.ABNORMAL
    subnet.advance(60)
    assert len(subnet.miner.all(SessionActivated)) == 2


def test_a_session_that_is_frozen_loses_what_is_written_and_nobody_is_told(subnet: Subnet) -> None:
    subnet.freeze(subnet.miner)
    before = len(subnet.validator.all(FrameReceived))
    subnet.miner.predict("p", subnet.validator.hotkey)
    subnet.advance(5)
    assert subnet.miner.all(ConnectionClosed) == []
    assert len(subnet.validator.all(FrameReceived)) == before
    subnet.advance(600)
    assert subnet.miner.last(VerdictReceived).code == VerdictCode.ACCEPTED


def test_a_miner_whose_handshakes_are_blocked_predicts_by_http(subnet: Subnet) -> None:
    subnet.blocked.add(subnet.miner.hotkey)
    subnet.cut(subnet.miner)
    subnet.advance(30)
    assert "connection refused" in subnet.miner.last(DialFailed).reason
    subnet.miner.predict("p", subnet.validator.hotkey)
    subnet.advance(30)
    assert subnet.miner.last(VerdictReceived).code == VerdictCode.ACCEPTED
    assert subnet.miner.all(PostAnswered)
    assert len(subnet.miner.all(SessionActivated)) == 1


@pytest.mark.parametrize("which", ["miner", "validator"])
def test_a_neuron_that_is_unreachable_is_so_by_either_road(subnet: Subnet, which: str) -> None:
    neuron = subnet.miner if which == "miner" else subnet.validator
    subnet.unreachable.add(neuron.hotkey)
    subnet.cut(subnet.miner)
    subnet.miner.predict("p", subnet.validator.hotkey)
    subnet.advance(60)
    assert subnet.miner.all(VerdictReceived) == []
    assert "connection refused" in subnet.miner.last(PostFailed).reason
    subnet.unreachable.clear()
    subnet.advance(600)
    assert subnet.miner.last(VerdictReceived).code == VerdictCode.ACCEPTED


def test_a_validator_that_died_answers_no_more_and_its_next_one_knows_what_it_stored(subnet: Subnet) -> None:
    subnet.predict("before", wager=1.0)
    subnet.remove(subnet.validator)
    subnet.advance(1)
    assert subnet.miner.last(ConnectionClosed).code == CloseCode.ABNORMAL
    heard = len(subnet.validator.envelopes)
    again = SimulatedValidator(clock=subnet.clock, restarted=subnet.validator)
    subnet.add(again)
    subnet.advance(120)
    assert len(subnet.validator.envelopes) == heard
    assert [key[1] for key in again.ledger.rows] == ["before"]
    assert len(subnet.miner.all(SessionActivated)) == 2


# --- the metagraph


def test_everybody_is_told_of_a_hotkey_that_is_new_and_of_none_that_comes_back(subnet: Subnet) -> None:
    readings = len(subnet.validator.all(MetagraphFetched))
    subnet.add(SimulatedMiner("another", clock=subnet.clock))
    assert len(subnet.validator.all(MetagraphFetched)) == readings + 1
    assert [row.uid for row in subnet.metagraph] == [0, 1, 2]
    assert [row.hotkey for row in subnet.metagraph] == sorted(neuron.hotkey for neuron in subnet.neurons)
    subnet.remove(subnet.miner)
    subnet.add(SimulatedMiner(clock=subnet.clock, restarted=subnet.miner))
    assert len(subnet.validator.all(MetagraphFetched)) == readings + 1


def test_validators_have_a_permit_and_an_endpoint_and_miners_have_neither(subnet: Subnet) -> None:
    rows = {row.hotkey: row for row in subnet.metagraph}
    validator, miner = rows[subnet.validator.hotkey], rows[subnet.miner.hotkey]
    assert (validator.validator_permit, miner.validator_permit) == (True, False)
    assert (validator.axon is None, miner.axon is None) == (False, True)


def test_a_miner_that_dials_an_existing_one_hears_its_axon_by_either_road(subnet: Subnet) -> None:
    """Stake gives a permit to miners too."""
    subnet.add(ExistingMiner(clock=subnet.clock, permit=True))
    subnet.miner.predict("p", make_hotkey("existingminer"))
    subnet.advance(60)
    for failed in (subnet.miner.last(DialFailed), subnet.miner.last(PostFailed)):
        assert (failed.hotkey, failed.status, failed.code) == (make_hotkey("existingminer"), 404, AXON)


# --- what waits for an answer that does not come


def test_an_exchange_without_a_verdict_is_refused_as_over_http_and_tried_again(subnet: Subnet) -> None:
    subnet.validator.ledger.held = True
    subnet.blocked.add(subnet.miner.hotkey)
    subnet.cut(subnet.miner)
    subnet.miner.predict("p", subnet.validator.hotkey)
    subnet.advance(60)
    assert (subnet.miner.last(PostFailed).status, subnet.miner.all(VerdictReceived)) == (503, [])
    subnet.validator.ledger.held = False
    subnet.validator.ledger.release()
    subnet.advance(60)
    assert subnet.miner.last(VerdictReceived).code == VerdictCode.ACCEPTED


def test_a_dial_whose_validator_dies_before_it_answers_is_given_up_after_15_s() -> None:
    network = SimulatedNetwork(latency=SECOND)
    validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(clock=network.clock)
    network.add(validator, miner)
    network.advance(0.5)
    network.remove(validator)
    network.advance(14)
    assert miner.all(DialFailed) == []
    network.advance(1)
    assert "no answer within 15 s" in miner.last(DialFailed).reason
    assert miner.all(ConnectionOpened) == []


def test_a_simulated_validator_has_no_tls_and_a_miner_that_demands_it_reaches_none(subnet: Subnet) -> None:
    miner = SimulatedMiner("careful", subnet.clock, {"tls": {"mode": "required"}})
    subnet.add(miner)
    miner.predict("p", subnet.validator.hotkey)
    subnet.advance(60)
    assert {failed.tls for failed in miner.all(DialFailed)} == {"handshake"}
    assert {failed.tls for failed in miner.all(PostFailed)} == {"handshake"}
    assert miner.all(SessionActivated) == []
