"""AnnounceActor: the chain is told where the validator serves when it says something else, and not too often."""

from typing import Any

import pytest

from bettensor.actors.announce import FIRST_DELAY, LONGEST_DELAY, SETTLING
from bettensor.actors.settings import AxonSettings
from bettensor.actors.validator.announce import AnnounceActor, AnnounceSettings
from bettensor.bus.events import (
    Announced,
    AnnounceFailed,
    AnnounceRequested,
    EndpointDoubted,
    MetagraphSource,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
)
from bettensor.bus.identifiers import SECOND, Uid
from tests.support import NETUID, Harness, make_hotkey

ME = make_hotkey("me")
HERE = "203.0.113.7:8091"


class Bench(Harness):
    def __init__(self, **axon: Any) -> None:
        given: dict[str, Any] = {"external_ip": "203.0.113.7", "port": 8091} | axon
        super().__init__(AnnounceActor(AnnounceSettings(axon=AxonSettings(**given))))
        self.observe(NeuronStarted("validator", NETUID, ME, "sr25519", 0))

    def sync(self, axon: str | None, source: MetagraphSource = "chain") -> None:
        self.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, axon=axon),), (), source))

    def announced(self) -> list[str]:
        return [event.endpoint for event in self.all(AnnounceRequested)]


def test_what_the_chain_has_already_is_not_announced() -> None:
    bench = Bench()
    bench.sync(HERE)
    assert bench.announced() == []


def test_what_has_changed_is_announced_once_and_again_where_the_chain_forgets_it() -> None:
    bench = Bench()
    for _ in range(3):
        bench.sync("203.0.113.1:8091")
    assert bench.announced() == [HERE]
    bench.observe(Announced(HERE))
    bench.sync("203.0.113.1:8091")  # a reading that lags behind
    assert bench.announced() == [HERE]
    bench.sync(HERE)
    bench.advance(SETTLING / SECOND)
    assert bench.announced() == [HERE]
    bench.sync(None)
    assert bench.announced() == [HERE, HERE]


def test_a_refusal_is_tried_again_with_back_off() -> None:
    bench = Bench()
    bench.sync(None)
    waits = []
    for _ in range(9):
        before = bench.clock.mono()
        bench.observe(AnnounceFailed(HERE, "ServingRateLimitExceeded"))
        count = len(bench.announced())
        while len(bench.announced()) == count:
            bench.advance(1)
        waits.append(bench.clock.mono() - before)
    assert waits == [min(FIRST_DELAY * 2**i, LONGEST_DELAY) for i in range(9)]
    bench.observe(Announced(HERE), AnnounceFailed(HERE, ""))
    bench.sync(HERE)
    bench.advance(LONGEST_DELAY / SECOND)
    assert len(bench.announced()) == 10


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ({}, HERE),
        ({"external_port": 443}, "203.0.113.7:443"),
        ({"external_ip": "2001:db8:0::7"}, "[2001:db8::7]:8091"),
        ({"external_ip": None}, None),
        ({"serve": False}, None),
        ({"port": 0}, None),
    ],
)
def test_what_is_announced(settings: dict[str, object], endpoint: str | None) -> None:
    bench = Bench(**settings)
    bench.sync(None)
    assert bench.announced() == ([] if endpoint is None else [endpoint])


def test_a_validator_that_is_not_registered_or_has_no_chain_announces_nothing() -> None:
    bench = Bench()
    bench.sync(None, "file")
    bench.sync(None, "disk")
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), make_hotkey("other")),), (), "chain"))
    assert bench.announced() == []


def doubts(bench: Bench) -> list[str]:
    return [event.reason for event in bench.all(EndpointDoubted)]


def test_where_nothing_is_announced_a_wrong_port_is_told_once_and_so_is_that_it_is_right_again() -> None:
    bench = Bench(external_ip=None)
    for axon in (HERE, "203.0.113.7:8092", "203.0.113.7:8092", HERE, None):
        bench.sync(axon)
    wrong, right, nowhere = doubts(bench)
    assert wrong == "miners dial 203.0.113.7:8092, as the metagraph says, but this validator's port is 8091"
    assert right == ""
    assert nowhere == "no miner finds this validator: the metagraph does not say where it is"


@pytest.mark.parametrize(
    ("settings", "axon", "source", "doubted"),
    [
        ({}, "203.0.113.7:8092", "chain", False),  # it is announced, and so repaired
        ({}, "203.0.113.7:8092", "file", True),
        ({"serve": False}, "203.0.113.7:8092", "chain", True),
        ({"external_port": 8092}, "203.0.113.7:8092", "file", False),
        ({"port": 0}, "203.0.113.7:8092", "file", False),  # any that is free
        ({"port": 0}, None, "file", False),
        ({"external_ip": None}, "an address of a simulated network", "file", False),
        ({"external_ip": None}, "203.0.113.7:18091", "file", True),
    ],
)
def test_a_port_is_doubted_where_it_is_known_and_nobody_announces_it(
    settings: dict[str, object], axon: str | None, source: MetagraphSource, doubted: bool
) -> None:
    bench = Bench(**settings)
    bench.sync(axon, source)
    assert bool(doubts(bench)) is doubted


def test_a_validator_that_is_not_registered_has_no_endpoint_to_doubt() -> None:
    bench = Bench(external_ip=None)
    bench.observe(MetagraphSynced((), (), "file"))
    assert doubts(bench) == []


def test_who_is_not_registered_any_more_is_not_told_that_it_is_found() -> None:
    bench = Bench(external_ip=None)
    bench.sync("203.0.113.7:8092")
    bench.observe(MetagraphSynced((), (), "file"))
    assert len(doubts(bench)) == 1
    bench.sync(HERE)
    assert doubts(bench)[1:] == [""]
