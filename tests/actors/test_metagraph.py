"""MetagraphActor: a strange reading is believed when it comes twice; who is unknown leads to one more reading."""

from dataclasses import replace

import pytest

from bettensor.actors.metagraph import MetagraphActor, MetagraphSettings
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    MetagraphDoubted,
    MetagraphFetched,
    MetagraphSource,
    MetagraphSynced,
    NeuronInfo,
    PeerRefused,
    SyncRequested,
)
from bettensor.bus.identifiers import ConnectionId, Uid
from tests.support import Harness, make_hotkey


def neurons(*names: str, **changes: object) -> tuple[NeuronInfo, ...]:
    return tuple(NeuronInfo(Uid(i), make_hotkey(name), **changes) for i, name in enumerate(names))  # type: ignore[arg-type]


class Bench(Harness):
    def __init__(self) -> None:
        self.actor = MetagraphActor()
        super().__init__(self.actor)

    def fetch(self, *names: str, block: int = 1, source: MetagraphSource = "chain", **changes: object) -> None:
        self.observe(MetagraphFetched(neurons(*names, **changes), source, block))

    def believed(self) -> list[str]:
        return [neuron.hotkey.rstrip("x")[1:] for neuron in self.last(MetagraphSynced).neurons]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.fetch("a", "b", "c", "d")
    return bench


def test_the_first_reading_is_believed_and_everybody_in_it_is_news(bench: Bench) -> None:
    assert bench.last(MetagraphSynced).changed == tuple(map(make_hotkey, "abcd"))


def test_who_has_come_gone_or_moved_is_news_and_a_stake_is_not(bench: Bench) -> None:
    bench.fetch("a", "b", "c", "d", stake=5.0)
    assert bench.last(MetagraphSynced).changed == ()
    assert bench.last(MetagraphSynced).neurons[0].stake == 5.0
    bench.observe(MetagraphFetched((*neurons("a", "b", "c"), NeuronInfo(Uid(3), make_hotkey("e"))), "chain", 2))
    assert bench.last(MetagraphSynced).changed == tuple(map(make_hotkey, "de"))
    bench.fetch("a", "b", "c", "e", axon="1.2.3.4:5", block=3)
    assert len(bench.last(MetagraphSynced).changed) == 4


@pytest.mark.parametrize(
    ("names", "block", "doubt"),
    [
        ((), 2, "it has only 0 of 4 neurons"),
        (("a", "p", "q", "r"), 2, "it has only 1 of 4 neurons"),
        (("a", "b", "c", "d"), 0, "it is of block 0, which is older than block 1 seen before"),
    ],
)
def test_a_strange_reading_is_believed_when_it_comes_twice(
    bench: Bench, names: tuple[str, ...], block: int, doubt: str
) -> None:
    bench.fetch(*names, block=block)
    assert bench.believed() == ["a", "b", "c", "d"]
    assert bench.last(MetagraphDoubted).reason == doubt
    assert bench.all(SyncRequested) == []  # the same answer a moment later would prove nothing
    bench.advance(30)
    assert bench.last(SyncRequested).reason == "one was owed"
    bench.fetch(*names, block=block)
    assert bench.believed() == list(names)
    assert len(bench.all(MetagraphDoubted)) == 1


def test_two_strange_readings_that_disagree_are_not_believed(bench: Bench) -> None:
    bench.fetch("x", block=2)
    bench.fetch("y", block=3)
    bench.fetch("a", "b", "c", block=4)
    assert bench.believed() == ["a", "b", "c"]
    bench.fetch("x", block=5)
    assert bench.believed() == ["a", "b", "c"]
    assert len(bench.all(MetagraphDoubted)) == 3


def test_half_may_go_and_a_file_may_say_anything(bench: Bench) -> None:
    bench.fetch("a", "b", block=2)
    assert bench.believed() == ["a", "b"]
    bench.fetch(source="file", block=0)
    assert bench.believed() == []


def test_another_scheme_is_a_change_and_another_stake_is_none(bench: Bench) -> None:
    a, b, *others = neurons("a", "b", "c", "d")
    bench.observe(MetagraphFetched((replace(a, stake=5.0), replace(b, crypto="ed25519"), *others)))
    assert bench.last(MetagraphSynced).changed == (b.hotkey,)


def refuse(bench: Bench, code: RefusalCode = RefusalCode.NOT_REGISTERED) -> None:
    bench.observe(PeerRefused(ConnectionId(1), code, "", "10.0.0.1"))


def test_a_hotkey_that_is_not_known_leads_to_one_reading_in_a_while(bench: Bench) -> None:
    refuse(bench, RefusalCode.STALE)
    assert bench.all(SyncRequested) == []
    for seconds in (0, 1, 28.9):
        bench.advance(seconds)
        refuse(bench)
    assert len(bench.all(SyncRequested)) == 1
    bench.advance(0.1)
    assert len(bench.all(SyncRequested)) == 2  # who knocked meanwhile is not forgotten
    bench.advance(60)
    assert len(bench.all(SyncRequested)) == 2


def test_a_reading_that_comes_by_itself_answers_who_knocked_meanwhile(bench: Bench) -> None:
    refuse(bench)
    bench.advance(1)
    refuse(bench)
    bench.fetch("a", "b", "c", "d", block=2)
    bench.advance(60)
    assert len(bench.all(SyncRequested)) == 1


def test_who_knocks_does_not_bring_the_second_word_on_a_strange_reading_forward(bench: Bench) -> None:
    bench.fetch(block=2)
    refuse(bench)
    bench.advance(29.9)
    refuse(bench)
    assert bench.all(SyncRequested) == []
    bench.advance(0.1)
    assert len(bench.all(SyncRequested)) == 1


def test_the_state_survives_a_checkpoint(bench: Bench) -> None:
    bench.fetch(block=2)
    other = Bench()
    other.actor.restore(bench.actor.snapshot())
    other.fetch(block=2)
    assert other.believed() == []


def test_an_interval_is_above_0() -> None:
    with pytest.raises(ValueError, match=r"early_sync_interval\s+Input should be greater than or equal to 0.001"):
        MetagraphSettings(early_sync_interval=0)
